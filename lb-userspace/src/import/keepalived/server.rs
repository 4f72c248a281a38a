//! `virtual_server`, with its `real_server`s.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use ipnet::IpNet;

use super::{
    super::{
        Context,
        model::{At, Method, Persistence, RealServer, Transport, VirtualServer},
        report::{Outcome, Place},
        scheduler::{self, Choice, Flags},
        values,
    },
    checker::{self, Candidate, Surroundings},
    group::{FWMARK, Group},
    hooks::Hooks,
    probe,
    settings::{self, Settings},
    tree::Statement,
};

/// What its lines say, and where.
struct Said {
    transport: Transport,
    scheduler: Option<At<String>>,
    flags: Flags,
    /// `None`: by a tunnel that there is not here.
    method: Option<Method>,
    persistence: Option<At<Duration>>,
    mask: Option<At<String>>,
    settings: Settings,
    hooks: Hooks,
    sorry: Option<At<(IpAddr, u16)>>,
    sorry_method: Option<Option<Method>>,
}

/// A service for each address that it names; none if it cannot be.
pub(super) fn read(
    context: &mut Context,
    statement: &Statement,
    groups: &HashMap<String, Group>,
    services: &str,
) -> Vec<VirtualServer> {
    if let Some(why) = elsewhere(statement) {
        statement.cover(context, Outcome::NoCounterpart, why);
        return Vec::new();
    }
    let at = statement.at();
    statement.taken(context);
    let vips = vips(context, statement, groups, services);
    let mut said = said(context, statement, services);
    let port = vips.first().map_or(0, |(_, _, port)| *port);
    let is_one_port = vips.iter().all(|(_, _, other)| *other == port);
    let mut servers = Servers { port: if is_one_port { port } else { 0 }, services, ..Servers::default() };
    for line in statement.block.iter().filter(|line| line.name() == "real_server") {
        servers.read(context, line, &mut said);
    }
    let probe = probe::of_all(context, at, &servers.candidates, servers.without);
    let mut keys = said.hooks.keys(context, &servers.all);
    keys.extend(inhibited(context, &servers));
    let sorry = said.sorry(context);
    let (scheduler, persistence) =
        said.scheduling(context, at, vips.first().is_none_or(|(_, vip, _)| vip.addr().is_ipv4()));
    let server = |(at, vip, port)| VirtualServer {
        at,
        vip,
        port,
        transport: said.transport,
        scheduler,
        persistence,
        servers: servers.all.clone(),
        sorry: sorry.clone(),
        probe: probe.clone(),
        keys: keys.clone(),
    };
    vips.into_iter().map(server).collect()
}

/// Why there is no service of this kind here.
fn elsewhere(statement: &Statement) -> Option<&'static str> {
    let protocol = statement.block.iter().find(|line| line.name() == "protocol");
    if statement.text(0) == "fwmark" {
        return Some(FWMARK);
    }
    protocol.filter(|line| line.text(0) == "SCTP").map(|_| "only TCP and UDP are balanced; leave SCTP to keepalived")
}

fn vips(
    context: &mut Context,
    statement: &Statement,
    groups: &HashMap<String, Group>,
    services: &str,
) -> Vec<(Place, IpNet, u16)> {
    let at = statement.at();
    if statement.text(0) != "group" {
        let found = endpoint(context, statement, services);
        return found.map(|(address, port)| (at, address.into(), port)).into_iter().collect();
    }
    let name = statement.text(1);
    let Some(group) = groups.get(name) else {
        context.fault(at, format!("there is no virtual_server_group `{name}`"), "define it, or correct the name");
        return Vec::new();
    };
    if group.members.is_empty() {
        context.ledger.no_counterpart(at, "no address is left in its group: the service is not written");
    }
    let vips = |member: &super::group::Member| {
        let (at, port) = (member.at, member.port);
        member.vips.iter().map(move |vip| (at, *vip, port)).collect::<Vec<_>>()
    };
    group.members.iter().flat_map(vips).collect()
}

/// The address and the port behind the name of a block or a line.
fn endpoint(context: &mut Context, line: &Statement, services: &str) -> Option<(IpAddr, u16)> {
    let Ok(address) = line.text(0).parse::<IpAddr>() else {
        let at = line.argument(0).map_or(line.at(), |word| word.at);
        let reason = format!("`{}` of `{}` is no address", line.text(0), line.name());
        context.fault(at, reason, format!("write `{} ADDRESS PORT`", line.name()));
        return None;
    };
    let Some(word) = line.argument(1) else { return Some((address, 0)) };
    let port = values::port(&word.text, services, "tcp");
    if port.is_none() {
        context.fault(word.at, format!("`{}` is no port", word.text), "use 1 to 65535");
    }
    Some((address, port?))
}

fn said(context: &mut Context, statement: &Statement, services: &str) -> Said {
    let mut said = Said {
        transport: Transport::Tcp,
        scheduler: None,
        flags: Flags::default(),
        method: Some(Method::Masquerade),
        persistence: None,
        mask: None,
        settings: Settings::default(),
        hooks: Hooks::default(),
        sorry: None,
        sorry_method: None,
    };
    for line in statement.block.iter().filter(|line| line.name() != "real_server") {
        let known = said.settings.take(context, line) || said.hooks.take(context, line);
        if !known {
            said.line(context, line, services);
        }
    }
    said
}

impl Said {
    fn line(&mut self, context: &mut Context, line: &Statement, services: &str) {
        let at = line.at();
        let ledger = &mut context.ledger;
        match line.name() {
            "protocol" => {
                ledger.taken(at);
                match line.text(0).to_ascii_uppercase().as_str() {
                    "TCP" => self.transport = Transport::Tcp,
                    "UDP" => self.transport = Transport::Udp,
                    _ => context.fault(at, format!("`{}` is no protocol", line.text(0)), "use TCP or UDP"),
                }
            }
            "lb_algo" | "lvs_sched" => {
                let name = line.text(0).to_owned();
                if scheduler::find(&name, Flags::default(), false).is_none() {
                    let remedy = format!("use one of {}", scheduler::NAMES);
                    context.fault(at, format!("`{name}` is no scheduler of IPVS"), remedy);
                }
                self.scheduler = Some(At(at, name));
            }
            "lb_kind" | "lvs_method" => self.method = method(context, line),
            "sh-port" | "mh-port" | "flag-2" => {
                ledger.taken(at);
                self.flags.port = true;
            }
            "sh-fallback" | "mh-fallback" | "flag-1" | "hashed" => ledger.taken(at),
            "flag-3" => ledger.no_counterpart(at, "no scheduler has it"),
            "persistence_timeout" => {
                let seconds = match line.argument(0) {
                    Some(_) => settings::number(context, line, 0, 31 * 24 * 3600),
                    None => Some(360),
                };
                // 0 is none.
                context.ledger.taken(at);
                self.persistence =
                    seconds.filter(|seconds| *seconds > 0).map(|seconds| At(at, Duration::from_secs(seconds)));
            }
            "persistence_granularity" => self.mask = settings::text(context, line).map(|mask| At(at, mask)),
            "persistence_engine" => {
                ledger.no_counterpart(at, "clients are told apart by address, not by what they say")
            }
            "ops" => ledger
                .no_counterpart(at, "packets of a UDP flow stay together; `timeouts.udp_single` says for how long"),
            "ha_suspend" => ledger.no_counterpart(at, "probes go on whoever has the VIP"),
            "omega" => ledger.no_counterpart(at, "hooks are not run when the daemon stops: forwarding goes on"),
            "ip_family" => ledger.taken(at),
            "sorry_server" => {
                ledger.taken(at);
                self.sorry = endpoint(context, line, services).map(|found| At(at, found));
            }
            "sorry_server_inhibit" => {
                ledger.no_counterpart(at, "a backup takes flows while nobody else can, and keeps them")
            }
            "sorry_server_lvs_method" => self.sorry_method = Some(method(context, line)),
            other => {
                let note = format!("`{other}` is not known here; look whether it matters");
                line.cover(context, Outcome::NoCounterpart, &note);
            }
        }
    }

    fn sorry(&self, context: &mut Context) -> Option<RealServer> {
        let &At(at, (address, port)) = self.sorry.as_ref()?;
        let Some(method) = self.sorry_method.unwrap_or(self.method) else {
            context.ledger.no_counterpart(at, GRE);
            return None;
        };
        if !self.hooks.is_first_server() {
            context.ledger.changed(at, "it takes over when no other backend is left, not when the quorum is lost");
        }
        Some(RealServer { at, address, port, weight: 1, method, max_connections: 0 })
    }

    fn scheduling(&self, context: &mut Context, at: Place, is_ipv4: bool) -> (At<Choice>, Option<At<Persistence>>) {
        let mut prefix = None;
        if let Some(At(at, mask)) = &self.mask {
            prefix = values::prefix_length(mask, is_ipv4);
            match (prefix, &self.persistence) {
                (None, _) => context.fault(
                    *at,
                    format!("`{mask}` is no mask of a prefix"),
                    "use one such as 255.255.255.0, or 64 for IPv6",
                ),
                (_, None) => context.ledger.changed(*at, "there is no persistence_timeout"),
                _ => context.ledger.taken(*at),
            }
        }
        let persistence =
            self.persistence.as_ref().map(|At(at, timeout)| At(*at, Persistence { timeout: *timeout, prefix }));
        let chosen = self
            .scheduler
            .as_ref()
            .and_then(|At(at, name)| Some(At(*at, scheduler::find(name, self.flags, persistence.is_some())?)));
        (chosen.unwrap_or(At(at, Choice::usual())), persistence)
    }
}

const GRE: &str = "tunnels are ipip or gue here; use one of them";

/// How packets get to servers; `None` if not by anything that there is here.
fn method(context: &mut Context, line: &Statement) -> Option<Method> {
    let at = line.at();
    context.ledger.taken(at);
    let words: Vec<&str> = line.words[1..].iter().map(|word| word.text.as_str()).collect();
    for option in ["csum", "remcsum"].into_iter().filter(|option| words.contains(option)) {
        context.ledger.changed(at, format!("{option}: gue has no options"));
    }
    let after =
        |name: &str| words.iter().position(|word| *word == name).and_then(|index| words.get(index + 1)).copied();
    match (words.first().copied().unwrap_or_default().to_ascii_uppercase().as_str(), after("type")) {
        ("NAT", _) => Some(Method::Masquerade),
        ("DR", _) => Some(Method::Direct),
        ("TUN", None | Some("ipip")) => Some(Method::Ipip),
        ("TUN", Some("gre")) => {
            context.ledger.no_counterpart(at, GRE);
            None
        }
        ("TUN", Some("gue")) => match after("port").and_then(|port| port.parse().ok()).filter(|port| *port > 0) {
            Some(port) => Some(Method::Gue(port)),
            None => {
                context.fault(at, "a tunnel of type gue without its port", "add it, such as `port 6080`");
                None
            }
        },
        _ => {
            let reason = format!("`{}` is no way to real servers", words.join(" "));
            context.fault(at, reason, "use NAT, DR, TUN, or TUN type gue port 6080");
            None
        }
    }
}

/// The real servers of a virtual server.
#[derive(Default)]
struct Servers<'a> {
    /// The virtual server's port; 0: any, or several.
    port: u16,
    services: &'a str,
    all: Vec<RealServer>,
    candidates: Vec<(IpAddr, Candidate)>,
    /// The first that has no checker, while others have.
    without: Option<Place>,
    /// Which say `inhibit_on_failure`.
    inhibited: Vec<Place>,
}

impl Servers<'_> {
    fn read(&mut self, context: &mut Context, statement: &Statement, said: &mut Said) {
        let at = statement.at();
        statement.taken(context);
        let Some((address, port)) = endpoint(context, statement, self.services) else { return };
        let mut own = Settings::default();
        let mut server = RealServer { at, address, port, weight: 1, method: Method::Masquerade, max_connections: 0 };
        let mut method_of = said.method;
        let mut checkers = Vec::new();
        for line in &statement.block {
            let inner = line.at();
            if own.take(context, line) || said.hooks.take_of_backend(context, line, &address.to_string()) {
                continue;
            }
            match line.name() {
                "weight" => {
                    context.ledger.taken(inner);
                    server.weight = settings::number(context, line, 0, 1 << 31).unwrap_or(1);
                }
                "lb_kind" | "lvs_method" => method_of = method(context, line),
                "uthreshold" => {
                    context.ledger.note(inner, Outcome::Taken, "max_connections");
                    let most = settings::number(context, line, 0, 2_147_483_647);
                    server.max_connections = most.and_then(|most| u32::try_from(most).ok()).unwrap_or(0);
                }
                "lthreshold" => context
                    .ledger
                    .no_counterpart(inner, "a backend takes flows again as soon as it has fewer than max_connections"),
                name if checker::is_one(name) => checkers.push(line),
                other => {
                    let note = format!("`{other}` is not known here; look whether it matters");
                    line.cover(context, Outcome::NoCounterpart, &note);
                }
            }
        }
        let settings = own.over(&said.settings);
        if settings.is_inhibited == Some(true) {
            self.inhibited.push(at);
        }
        let Some(method) = method_of else {
            statement.cover(context, Outcome::NoCounterpart, GRE);
            return;
        };
        let port = if port == 0 { self.port } else { port };
        let around = Surroundings { address, port, transport: said.transport, settings: &settings };
        match checker::best(context, &checkers, &around) {
            Some(candidate) => self.candidates.push((address, candidate)),
            None => self.without = self.without.or(Some(at)),
        }
        self.all.push(RealServer { method, ..server });
    }
}

/// `inhibit_on_failure` leaves flows where they are.
fn inhibited(context: &mut Context, servers: &Servers<'_>) -> Option<At<(&'static str, String)>> {
    let at = *servers.inhibited.first()?;
    if servers.inhibited.len() == servers.all.len() {
        return Some(At(at, ("on_backend_down", "keep".to_owned())));
    }
    for at in &servers.inhibited {
        context
            .ledger
            .changed(*at, "inhibit_on_failure is for all backends of a service (`on_backend_down: keep`), or for none");
    }
    None
}
