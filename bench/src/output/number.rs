//! How figures are written.

/// To four digits at least unless it is whole, with `_` between thousands; what is no number as a dash.
pub(super) fn figure(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let decimals = match value.abs() {
        magnitude if magnitude >= 1000.0 || magnitude.fract() == 0.0 => 0,
        magnitude if magnitude >= 100.0 => 1,
        magnitude if magnitude >= 1.0 => 2,
        _ => 4,
    };
    grouped(&format!("{value:.decimals$}"))
}

/// A number of things.
pub(super) fn count(value: u64) -> String {
    grouped(&value.to_string())
}

/// Nothing where a number of flows means nothing.
pub(super) fn flows(value: Option<u64>) -> String {
    value.map(count).unwrap_or_default()
}

/// Of numbers in binary thousands the short form, for plots: `64 k`, `1 M`.
pub(super) fn binary(value: u64) -> String {
    match value {
        0..1024 => value.to_string(),
        1024..1_048_576 => format!("{} k", value >> 10),
        _ => format!("{} M", value >> 20),
    }
}

fn grouped(digits: &str) -> String {
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let (sign, whole) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut out = sign.to_owned();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push('_');
        }
        out.push(digit);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_digits_enough_to_be_compared_and_no_more() {
        let cases = [
            (f64::NAN, "–"),
            (0.0, "0"),
            (16.0, "16"),
            (0.1234, "0.1234"),
            (-7.5, "-7.50"),
            (41.237, "41.24"),
            (999.96, "1_000.0"),
            (-123_456.7, "-123_457"),
            (1_048_576.0, "1_048_576"),
        ];
        for (value, expected) in cases {
            assert_eq!(figure(value), expected);
        }
    }

    #[test]
    fn flows_are_counted_in_binary_thousands_on_plots() {
        assert_eq!([1, 1024, 65_536, 1 << 22].map(binary), ["1", "1 k", "64 k", "4 M"]);
    }
}
