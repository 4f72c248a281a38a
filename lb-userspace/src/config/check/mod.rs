//! All checks: the only way from what the user wrote to the model.
//!
//! A check notes what is wrong and goes on with a built-in value, so that one reading finds all problems; a
//! configuration with any problem is refused as a whole.

mod across;
mod address;
mod backend;
mod limits;
mod node;
mod options;
mod passive;
mod probe;
mod probe_kind;
mod quic;
mod service;
mod values;
mod watch;

use super::{
    field::Whole,
    model::Config,
    problem::{Findings, Position},
    raw,
};

pub(super) use self::node::ReadSecret;
pub use self::{
    across::{check_all, check_one},
    backend::check_backend,
};

/// Checks a document that stands at `at`. The model is of use only if nothing was found.
pub(super) fn document(
    findings: &mut Findings,
    raw: &raw::Document,
    at: Position,
    read_secret: Option<ReadSecret<'_>>,
) -> Option<Config> {
    if let Some(Whole(version)) = values::required(findings, &raw.version, at, "version").copied()
        && version != 1
    {
        let reason = format!("`version` {version} is not known to this release");
        findings.add(raw.version.at(), reason, "use `version: 1`");
    }
    let node = values::required(findings, &raw.node, at, "node")
        .map(|node| node::check(findings, node, raw.node.at(), read_secret));
    let services = values::required(findings, &raw.services, at, "services");

    let none = raw::Defaults::default();
    let defaults = raw.defaults.get().unwrap_or(&none).options();
    let unused = options::Use { at: raw.defaults.at(), protocol: None, ports: None, flow_entries: 0 };
    options::check(findings, defaults, none.options(), unused);

    let sources = node.as_ref().map(|node| (node.tunnel, node.nat.families())).unwrap_or_default();
    let flow_entries = node.as_ref().map_or(0, |node| node.flow_entries);
    let (services, places): (Vec<_>, Vec<_>) = services?
        .iter()
        .filter_map(|item| {
            service::check(findings, item.get()?, defaults, (sources, flow_entries), read_secret, item.at())
        })
        .unzip();
    let config = Config { node: node?, services };
    for conflict in across::check(&config.services, &config.node) {
        let at = service::Places::find(&places, conflict.place, raw.services.at());
        findings.add(at, conflict.reason, conflict.remedy);
    }
    Some(config)
}
