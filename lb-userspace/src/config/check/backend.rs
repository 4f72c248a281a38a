//! Backends, of a file or of a request.

use std::{collections::HashSet, net::IpAddr};

use ipnet::IpNet;

use super::{
    super::{
        field::{Field, Whole},
        model::{AdminState, Backend, ForwardingMode, PoolFamilies, Ports, Service, TunnelSources},
        problem::{Findings, Position, Problem},
        raw,
    },
    address, limits, options, quic, values,
};

/// What a backend is checked against; unknown parts of its service are not checked.
pub(super) struct Surroundings {
    pub(super) vip: Option<IpNet>,
    pub(super) ports: Option<Ports>,
    pub(super) mode: ForwardingMode,
    tunnel: TunnelSources,
    pool: PoolFamilies,
    names: HashSet<String>,
    addresses: HashSet<IpAddr>,
}

impl Surroundings {
    pub(super) fn new(
        vip: Option<IpNet>,
        ports: Option<Ports>,
        mode: ForwardingMode,
        (tunnel, pool): (TunnelSources, PoolFamilies),
    ) -> Self {
        Self { vip, ports, mode, tunnel, pool, names: HashSet::new(), addresses: HashSet::new() }
    }

    /// Notes a backend that the next ones must differ from.
    pub(super) fn add(&mut self, backend: &Backend) {
        self.names.insert(backend.name.clone());
        self.addresses.insert(backend.address);
    }
}

/// Checks a backend that is to be added to a service, by the rules of the file.
///
/// One that the service has already, by its address, may be given again; what comes of that is the caller's.
///
/// Rules across services, such as limits and probes of the same address, are [`super::check_all`]'s.
///
/// # Errors
///
/// All that is wrong with it; the problems have no place.
pub fn check_backend(service: &Service, backend: &raw::Backend) -> Result<Backend, Vec<Problem>> {
    let mut around =
        Surroundings::new(Some(service.vip), Some(service.ports), service.mode, (service.tunnel, service.pool));
    let address = backend.address.get().and_then(|text| text.parse().ok());
    let others = service.backends.iter().filter(|present| Some(present.address) != address);
    others.for_each(|present| around.add(present));
    let mut findings = Findings::default();
    let checked = check(&mut findings, &around, backend, Position::default());
    let problems = findings.into_problems();
    checked.filter(|_| problems.is_empty()).ok_or(problems)
}

/// Checks a backend that stands at `at`.
pub(super) fn check(
    findings: &mut Findings,
    around: &Surroundings,
    raw: &raw::Backend,
    at: Position,
) -> Option<Backend> {
    let weight = values::whole(findings, &raw.weight, "weight", 0..=65_535).unwrap_or(1);
    let mode = options::given_mode(findings, &raw.mode);
    let port = port(findings, around, mode.unwrap_or(around.mode), &raw.port);
    let address = own_address(findings, around, &raw.address, at)?;
    tunnel_source(findings, around, mode.unwrap_or(around.mode), address, raw.mode.at().or(at));
    nat_source(findings, around, mode.unwrap_or(around.mode), address, raw.mode.at().or(at));
    let name = match raw.name.get() {
        Some(given) => values::name(findings, given, raw.name.at().or(at), "name")?,
        None => address.to_string(),
    };
    if around.names.contains(&name) {
        let remedy = "give one of them another `name`";
        findings.add(raw.name.at().or(at), format!("two backends of the service are named `{name}`"), remedy);
    }
    Some(Backend {
        name,
        address,
        mode,
        port: port.unwrap_or(0),
        weight,
        max_connections: limits::connections(findings, &raw.max_connections),
        priority: priority(findings, raw),
        backup: is_backup(raw),
        admin_state: raw.admin_state.get().copied().unwrap_or(AdminState::Enabled),
        quic_server_id: quic::server_id(findings, &raw.quic_server_id),
    })
}

fn is_backup(raw: &raw::Backend) -> bool {
    raw.backup.get().copied().unwrap_or(false)
}

/// A backup comes after all priorities.
fn priority(findings: &mut Findings, raw: &raw::Backend) -> u8 {
    let priority = values::whole(findings, &raw.priority, "priority", 0..=127).unwrap_or(0);
    if priority > 0 && is_backup(raw) {
        let reason = "a backup has no `priority`: it comes after all others";
        findings.add(raw.priority.at(), reason, "remove one of the two");
        return 0;
    }
    priority
}

fn own_address(
    findings: &mut Findings,
    around: &Surroundings,
    field: &Field<String>,
    parent: Position,
) -> Option<IpAddr> {
    let text = values::required(findings, field, parent, "address")?;
    let at = field.at().or(parent);
    let address = address::backend(findings, text, at)?;
    if around.addresses.contains(&address) {
        findings.add(at, format!("backend {address} is given twice in the service"), "remove one of the two");
        return None;
    }
    let Some(vip) = around.vip else { return Some(address) };
    if !vip.contains(&address) {
        return Some(address);
    }
    let reason = format!("backend {address} is in the service's own VIP {}", show(vip));
    findings.add(at, reason, "give the server's own address");
    None
}

/// A tunnel needs an outer source of the backend's family, which the backend can be told to trust.
fn tunnel_source(findings: &mut Findings, around: &Surroundings, mode: ForwardingMode, address: IpAddr, at: Position) {
    let is_tunnel = matches!(mode, ForwardingMode::Ipip | ForwardingMode::Gue { .. });
    if is_tunnel && around.tunnel.towards(address).is_none() {
        let key = if address.is_ipv4() { "source_ipv4" } else { "source_ipv6" };
        let reason = format!("mode `{}` to backend {address} needs an outer source address", mode.name());
        findings.add(at, reason, format!("set `node.tunnel.{key}` to an address or a prefix of this node's"));
    }
}

/// Translation leaves the family as it is, and `full-nat` needs an address of it.
fn nat_source(findings: &mut Findings, around: &Surroundings, mode: ForwardingMode, address: IpAddr, at: Position) {
    if !mode.is_nat() {
        return;
    }
    if around.vip.is_some_and(|vip| vip.addr().is_ipv4() != address.is_ipv4()) {
        let reason = format!("mode `{}` cannot change the family, and backend {address} has another", mode.name());
        findings.add(at, reason, "give an address of the VIP's family, or use `ipip` or `gue`");
    }
    let has_source = if address.is_ipv4() { around.pool.ipv4 } else { around.pool.ipv6 };
    if matches!(mode, ForwardingMode::FullNat { .. }) && !has_source {
        let reason = format!("mode `full-nat` to backend {address} needs a source address of its family");
        findings.add(at, reason, "add one of this node's to `node.nat.pool`");
    }
}

/// Only translation changes a packet's port; else that of the backend is that of the service.
fn port(findings: &mut Findings, around: &Surroundings, mode: ForwardingMode, field: &Field<Whole>) -> Option<u16> {
    let given: Option<u16> = values::whole(findings, field, "port", 1..=65_535);
    let ports = around.ports?;
    if mode.is_nat() {
        // Of several ports each stays what it is unless one is given.
        return given.or(match ports {
            Ports::Range(first, last) if first == last => Some(first),
            _ => None,
        });
    }
    let allowed = match ports {
        Ports::Any => None,
        Ports::Range(first, last) => (first == last).then_some(first),
    };
    if given.is_some() && given != allowed {
        let mode = mode.name();
        let reason = format!("`port` differs from the service's ({ports}), and `{mode}` does not translate ports");
        findings.add(field.at(), reason, "remove it");
    }
    match ports {
        Ports::Any => None,
        Ports::Range(first, _) => Some(first),
    }
}

/// A VIP as users write it: without the length where it is one address.
pub(super) fn show(vip: IpNet) -> String {
    if vip.prefix_len() == vip.max_prefix_len() { vip.addr().to_string() } else { vip.to_string() }
}
