//! Virtual servers as services of ours.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    time::Duration,
};

use super::{
    Context, ImportError, Imported, Options,
    model::{At, Method, Persistence, RealServer, VirtualServer},
    output::{self, Document, Entry},
    probes, tunnel_source,
    values::{scalar, time},
};

/// The longest time of `affinity`.
const LONGEST_AFFINITY: Duration = Duration::from_secs(18 * 3600);
const HEAVIEST: u64 = 65_535;
const LAST_PRIORITY: usize = 127;

/// Makes a configuration of virtual servers.
///
/// # Errors
///
/// What the reader found, and tunnels without a source.
pub(super) fn finish(
    mut context: Context,
    source: &str,
    timeouts: Vec<At<(&'static str, String)>>,
    mut servers: Vec<VirtualServer>,
    options: &Options,
) -> Result<Imported, ImportError> {
    let methods = servers.iter().flat_map(|server| server.servers.iter().chain(&server.sorry));
    for server in methods.filter(|server| server.method.is_tunnel()) {
        if tunnel_source(options, server.address).is_none() {
            let family = if server.address.is_ipv4() { "IPv4" } else { "IPv6" };
            let reason = format!("tunnels to {} need an outer source address of this node", server.address);
            context.faults.push((server.at, reason, format!("give an {family} one with --tunnel-source")));
        }
    }
    if let Some(error) = context.error() {
        return Err(error);
    }
    probes::share_times(&mut context, &mut servers);
    let mut names = HashSet::new();
    let services = servers.iter().map(|server| entry(&mut context, server, &mut names)).collect();
    output::finish(context, Document { source: source.to_owned(), timeouts, services }, options)
}

fn entry(context: &mut Context, server: &VirtualServer, names: &mut HashSet<String>) -> Entry {
    let mode = usual_method(server);
    let mut keys = vec![
        At(server.at, ("vip", scalar(&vip(server)))),
        At(server.at, ("port", if server.port == 0 { "any".to_owned() } else { server.port.to_string() })),
        At(server.at, ("protocol", server.transport.to_string())),
        At(server.at, ("mode", mode.mode())),
    ];
    scheduling(context, server, &mut keys);
    let probe = server
        .probe
        .as_ref()
        .map_or(At(server.at, ("probe", "none".to_owned())), |At(at, probe)| At(*at, ("probe", probe.render())));
    keys.push(probe);
    keys.extend(server.keys.iter().cloned());
    let ranks = ranks(server);
    let mut backends = Vec::new();
    for (index, backend) in server.servers.iter().enumerate() {
        let rank = ranks.get(&index).copied().unwrap_or(0);
        backends.push(At(backend.at, render(context, server, backend, mode, Turn::Priority(rank))));
    }
    if let Some(sorry) = &server.sorry {
        keys.push(At(sorry.at, ("on_no_backend", "backup".to_owned())));
        backends.push(At(sorry.at, render(context, server, sorry, mode, Turn::Backup)));
    }
    Entry { at: server.at, name: unique(names, name(server)), keys, backends }
}

/// The mode of most of its servers.
fn usual_method(server: &VirtualServer) -> Method {
    let count = |method| server.servers.iter().filter(|server| server.method == method).count();
    let methods = server.servers.iter().chain(&server.sorry).map(|server| server.method);
    // Of several with as many servers the last of these, so the first from the end.
    let methods: Vec<Method> = methods.collect();
    methods.into_iter().rev().max_by_key(|method| count(*method)).unwrap_or(Method::Masquerade)
}

fn vip(server: &VirtualServer) -> String {
    let vip = server.vip;
    if vip.prefix_len() == vip.max_prefix_len() { vip.addr().to_string() } else { vip.to_string() }
}

fn name(server: &VirtualServer) -> String {
    let port = if server.port == 0 { "any".to_owned() } else { server.port.to_string() };
    format!("{}-{}-{port}", server.transport, vip(server).replace([':', '/'], "-"))
}

/// Two services of one name would be refused for it, and not for what makes them the same.
fn unique(names: &mut HashSet<String>, name: String) -> String {
    let again = (2..).map(|number| format!("{name}-{number}"));
    let free = std::iter::once(name.clone()).chain(again).find(|name| !names.contains(name)).expect("numbers go on");
    names.insert(free.clone());
    free
}

fn scheduling(context: &mut Context, server: &VirtualServer, keys: &mut Vec<At<(&'static str, String)>>) {
    let At(at, choice) = server.scheduler;
    context.ledger.note(at, choice.outcome, choice.note);
    let name = choice.name.unwrap_or("weighted-round-robin");
    if choice.name.is_none() {
        keys.push(At(at, ("overflow_threshold", "0".to_owned())));
    }
    let family = if server.vip.addr().is_ipv4() { "prefix_ipv4" } else { "prefix_ipv6" };
    let prefix =
        |persistence: Persistence| persistence.prefix.map(|length| format!(", {family}: {length}")).unwrap_or_default();
    let persistence = match server.persistence {
        Some(At(at, persistence)) if name == "source-hash" => {
            context.ledger.changed(at, "source-hash holds a client's flows together by itself, for any time");
            keys.push(At(at, ("scheduler", format!("{{type: source-hash{}}}", prefix(persistence)))));
            return;
        }
        other => other,
    };
    keys.push(At(at, ("scheduler", name.to_owned())));
    let Some(At(at, persistence)) = persistence else { return };
    let timeout = persistence.timeout.clamp(Duration::from_secs(1), LONGEST_AFFINITY);
    if timeout == persistence.timeout {
        context.ledger.taken(at);
    } else {
        context.ledger.changed(at, format!("affinity lasts {}: 1s to 18h are possible", time(timeout)));
    }
    let value = format!("{{type: client-ip, timeout: {}{}}}", time(timeout), prefix(persistence));
    keys.push(At(at, ("affinity", value)));
}

/// The turn of each server if the heaviest goes first; of equal ones the first.
fn ranks(server: &VirtualServer) -> HashMap<usize, usize> {
    if server.scheduler.1.name.is_some() {
        return HashMap::new();
    }
    let mut order: Vec<usize> = (0..server.servers.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(server.servers[index].weight));
    order.into_iter().enumerate().map(|(rank, index)| (index, rank)).collect()
}

/// When a backend takes flows.
#[derive(Clone, Copy)]
enum Turn {
    Priority(usize),
    Backup,
}

fn render(context: &mut Context, server: &VirtualServer, backend: &RealServer, mode: Method, turn: Turn) -> String {
    let mut keys = vec![("address", scalar(&address(backend.address)))];
    if backend.port != 0 && backend.port != server.port {
        if backend.method == Method::Masquerade {
            keys.push(("port", backend.port.to_string()));
        } else {
            let mode = backend.method.mode();
            context
                .ledger
                .changed(backend.at, format!("{mode} leaves the port as it is, as IPVS does: the virtual server's"));
        }
    }
    if backend.weight != 1 && matches!(turn, Turn::Priority(_)) {
        if backend.weight > HEAVIEST {
            context.ledger.changed(backend.at, format!("weight {HEAVIEST}, the heaviest"));
        }
        keys.push(("weight", backend.weight.min(HEAVIEST).to_string()));
    }
    if backend.method != mode {
        keys.push(("mode", backend.method.mode()));
    }
    if backend.max_connections != 0 {
        keys.push(("max_connections", backend.max_connections.to_string()));
    }
    match turn {
        Turn::Priority(0) => {}
        Turn::Priority(rank) => {
            if rank > LAST_PRIORITY {
                context.ledger.changed(backend.at, format!("priority {LAST_PRIORITY}, the last, with others"));
            }
            keys.push(("priority", rank.min(LAST_PRIORITY).to_string()));
        }
        Turn::Backup => keys.push(("backup", "true".to_owned())),
    }
    context.ledger.taken(backend.at);
    match &keys[..] {
        [(_, address)] => address.clone(),
        keys => {
            format!("{{{}}}", keys.iter().map(|(key, value)| format!("{key}: {value}")).collect::<Vec<_>>().join(", "))
        }
    }
}

fn address(address: IpAddr) -> String {
    address.to_string()
}
