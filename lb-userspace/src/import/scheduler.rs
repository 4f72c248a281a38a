//! IPVS's schedulers, and what comes nearest; docs/import.md has the same table.

use super::report::Outcome;

/// What a scheduler of IPVS is here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// The scheduler here; `None`: backends have a priority each, by their weights (`fo`, `ovf`).
    pub(super) name: Option<&'static str>,
    pub(super) outcome: Outcome,
    pub(super) note: &'static str,
}

/// The options of `-b` that matter: `sh-fallback` and `mh-fallback` are what every table does here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    /// `sh-port`, `mh-port`: the client's port counts as well.
    pub(super) port: bool,
}

/// Names that IPVS has, for messages.
pub(super) const NAMES: &str = "rr, wrr, lc, wlc, lblc, lblcr, dh, sh, mh, sed, nq, fo, ovf, twos";

const TAKEN: Outcome = Outcome::Taken;
const CHANGED: Outcome = Outcome::Changed;

/// Looks a scheduler up; with persistence none that goes by the client's address is needed.
pub(super) fn find(name: &str, flags: Flags, is_persistent: bool) -> Option<Choice> {
    let by_client = if is_persistent { "least-connections" } else { "source-hash" };
    let (name, outcome, note) = match name {
        "rr" => (Some("round-robin"), TAKEN, ""),
        "wrr" => (Some("weighted-round-robin"), TAKEN, ""),
        "wlc" => (Some("least-connections"), TAKEN, ""),
        "lc" => (Some("least-connections"), CHANGED, "least-connections goes by weights as well, as wlc does"),
        "sed" => (Some("least-connections"), TAKEN, "least-connections counts the new flow, which is sed"),
        "nq" => (Some("least-connections"), CHANGED, "an idle backend goes first only among those of one weight"),
        "twos" => (Some("power-of-two"), TAKEN, ""),
        "sh" | "mh" if flags.port => (Some("maglev"), TAKEN, ""),
        "sh" | "mh" => (Some("source-hash"), TAKEN, ""),
        "dh" => (Some("source-hash"), CHANGED, "hashes the client's address, as all packets of a service have one VIP"),
        "lblc" | "lblcr" => (Some(by_client), CHANGED, "nothing goes by the destination, which is the VIP here"),
        "fo" => (None, TAKEN, "a priority for each backend, the heaviest first, and `overflow_threshold: 0`"),
        "ovf" => (
            None,
            CHANGED,
            "as fo: the next backend takes over when one is down, not when it has as many connections as its weight",
        ),
        _ => return None,
    };
    Some(Choice { name, outcome, note })
}

impl Choice {
    /// What IPVS does when nobody says.
    pub(super) fn usual() -> Self {
        Self { name: Some("least-connections"), outcome: TAKEN, note: "" }
    }
}
