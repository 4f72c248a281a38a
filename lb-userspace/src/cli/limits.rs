//! Limits of a service in `evenkeel status`.

use super::output::number;
use crate::api::model::LimitStatus;

/// What is limited, and what was refused; nothing where nothing is limited.
pub(super) fn lines(limits: &LimitStatus) -> Vec<String> {
    let mut parts = Vec::new();
    let rate = |rate: u32, burst: Option<u32>| {
        format!("{} new flows/s, {} at once", number(rate.into()), number(burst.unwrap_or(rate).into()))
    };
    parts.extend(limits.new_per_second.map(|new| rate(new, limits.burst)));
    parts.extend(limits.client_new_per_second.map(|new| {
        let prefix = limits.client_prefix.unwrap_or_default();
        format!("per client /{prefix}: {}", rate(new, limits.client_burst))
    }));
    parts.extend(limits.flood.map(|flood| format!("not remembered above {}/s", number(flood.into()))));
    if limits.allowed + limits.denied > 0 {
        parts.push(format!("{} prefixes allowed, {} denied", number(limits.allowed), number(limits.denied)));
    }
    let mut lines = Vec::new();
    if !parts.is_empty() {
        lines.push(format!("limits: {}", parts.join("; ")));
    }
    if !limits.refused.is_empty() {
        let refused = limits.refused.iter().map(|(reason, count)| format!("{} {reason}", number(*count)));
        lines.push(format!("refused: {}", refused.collect::<Vec<_>>().join(", ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_in_words_and_none_in_none() {
        assert_eq!(lines(&LimitStatus::default()), Vec::<String>::new());
        let limits = LimitStatus {
            new_per_second: Some(1000),
            burst: Some(2000),
            client_new_per_second: Some(10),
            client_burst: Some(20),
            client_prefix: Some(64),
            flood: Some(5000),
            denied: 2,
            refused: [("limit-client".to_owned(), 7)].into(),
            ..LimitStatus::default()
        };
        assert_eq!(
            lines(&limits),
            [
                "limits: 1_000 new flows/s, 2_000 at once; per client /64: 10 new flows/s, 20 at once; not remembered \
                 above 5_000/s; 0 prefixes allowed, 2 denied",
                "refused: 7 limit-client",
            ]
        );
    }
}
