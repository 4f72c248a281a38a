//! The table of shares, as text.

/// The longest bar, in characters.
const BAR: u64 = 14;

/// What is known of a backend.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) name: String,
    /// Its weight.
    pub(crate) weight: u64,
    /// Connections that it answered in the last second.
    pub(crate) last_second: u64,
    /// Connections that it answered since the start.
    pub(crate) total: u64,
    /// Its part of all those, 0 to 1.
    pub(crate) share: f64,
    /// Live flows in the balancer's table.
    pub(crate) flows: u64,
    /// `up`, `down` or `unknown`.
    pub(crate) health: String,
    /// `enabled`, `draining` or `disabled`.
    pub(crate) state: String,
}

/// The table for a terminal, with its heading; no line is longer than 80 characters.
pub(crate) fn table(rows: &[Row], failed: u64) -> Vec<String> {
    let heading = format!(
        "  {:<7} {:>6} {:>6}  {:<14} {:>7} {:>7} {:>5}  {:<7} {}",
        "BACKEND", "WEIGHT", "CONN/S", "LAST SECOND", "TOTAL", "SHARE", "FLOWS", "HEALTH", "STATE"
    );
    let sum = rows.iter().map(|row| row.last_second).sum();
    let body = rows.iter().map(|row| {
        format!(
            "  {:<7} {:>6} {:>6}  {:<14} {:>7} {:>5.1} % {:>5}  {:<7} {}",
            row.name,
            row.weight,
            row.last_second,
            bar(row.last_second, sum),
            row.total,
            100.0 * row.share,
            row.flows,
            row.health,
            row.state
        )
    });
    let foot = format!("  failed connections so far: {failed}");
    std::iter::once(heading).chain(body).chain([foot]).collect()
}

/// The same in one line, for files: who got how many in the last second, and what is unusual about whom.
pub(crate) fn line(seconds: u64, rows: &[Row]) -> String {
    let cell = |row: &Row| {
        let unusual = match (row.state.as_str(), row.health.as_str()) {
            ("enabled", "up") => "",
            ("enabled", health) => health,
            (state, _) => state,
        };
        format!("{} {:>4}/s {:<8}", row.name, row.last_second, unusual)
    };
    let line = format!("  {seconds:>4} s   {}", rows.iter().map(cell).collect::<Vec<_>>().join("  "));
    line.trim_end().to_owned()
}

/// A part of a whole; something, however little, is seen.
fn bar(part: u64, sum: u64) -> String {
    if part == 0 {
        return String::new();
    }
    let length = (part * BAR + sum / 2) / sum.max(1);
    "█".repeat(length.clamp(1, BAR) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, last_second: u64, health: &str, state: &str) -> Row {
        let (health, state) = (health.into(), state.into());
        Row { name: name.into(), weight: 2, last_second, total: 1234, share: 0.5, flows: 1, health, state }
    }

    #[test]
    fn columns_stand_under_their_headings() {
        let lines = table(&[row("b1", 500, "up", "enabled"), row("b2", 0, "down", "draining")], 7);
        assert_eq!(
            lines,
            [
                "  BACKEND WEIGHT CONN/S  LAST SECOND      TOTAL   SHARE FLOWS  HEALTH  STATE",
                "  b1           2    500  ██████████████    1234  50.0 %     1  up      enabled",
                "  b2           2      0                    1234  50.0 %     1  down    draining",
                "  failed connections so far: 7",
            ]
        );
    }

    #[test]
    fn the_widest_table_and_line_fit_eighty_columns() {
        let mut widest = row("b200", 99_999, "unknown", "draining");
        (widest.weight, widest.total, widest.share, widest.flows) = (65_535, 9_999_999, 1.0, 65_536);
        let rows = [widest.clone(), widest.clone(), widest];
        let lines = table(&rows, u64::MAX).into_iter().chain([line(9999, &rows)]);
        for text in lines {
            assert!(text.chars().count() <= 80, "{text}");
        }
    }

    #[test]
    fn bars_show_parts_and_never_hide_a_backend() {
        let length = |part, sum| bar(part, sum).chars().count();
        assert_eq!([length(0, 0), length(0, 9), length(1, 1000), length(1, 2), length(9, 9)], [0, 0, 1, 7, 14]);
    }

    #[test]
    fn a_line_names_only_what_is_unusual() {
        let rows = [row("b1", 500, "up", "enabled"), row("b2", 0, "down", "enabled"), row("b3", 1, "up", "draining")];
        assert_eq!(line(12, &rows), "    12 s   b1  500/s           b2    0/s down      b3    1/s draining");
    }
}
