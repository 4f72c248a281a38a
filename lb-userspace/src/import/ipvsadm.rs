//! Rules as `ipvsadm -S` writes and `ipvsadm -R` reads them, or lines of a script with `ipvsadm` in front.
//!
//! The lines are carried out one after the other, so what a later one clears, edits or deletes is gone.

mod options;
mod thresholds;

use std::net::IpAddr;

use ipnet::IpNet;

use self::options::{Action, Kind, Line, Service};
pub use self::thresholds::with_thresholds;
use super::{
    Context, ImportError, Imported, Options, map,
    model::{At, Method, Persistence, RealServer, Transport, VirtualServer},
    report::Place,
    scheduler::{self, Choice},
};

/// Reads rules from a text, named `file` in messages.
///
/// # Errors
///
/// All that is wrong with the lines, with their places.
pub fn import(text: &str, file: &str, options: &Options) -> Result<Imported, ImportError> {
    let mut context = Context::default();
    let number = context.ledger.file(file, text, |line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    let mut table = Table::default();
    for (index, line) in text.lines().enumerate() {
        let at = Place { file: number, line: index as u32 + 1, column: 1 };
        if let Some(line) = options::read(&mut context, line, at, &options.services) {
            table.carry_out(&mut context, line, at);
        }
    }
    if !table.servers.is_empty() {
        context.ledger.added("probe: none, as IPVS probes nobody; docs/health.md has the probes that there are");
    }
    let has_thresholds =
        table.servers.iter().flat_map(|server| &server.servers).any(|server| server.max_connections > 0);
    if !table.servers.is_empty() && !has_thresholds {
        context.ledger.added(
            "no max_connections: no line has -x, which `ipvsadm -S` does not write; `ipvsadm -L -n --thresholds` tells them",
        );
    }
    map::finish(context, file, table.timeouts, table.servers, options)
}

/// IPVS's table.
#[derive(Default)]
struct Table {
    servers: Vec<VirtualServer>,
    timeouts: Vec<At<(&'static str, String)>>,
}

/// Whose remedies are the same.
const AGAIN: &str = "remove the line, or write what `ipvsadm -S -n` prints";

impl Table {
    fn carry_out(&mut self, context: &mut Context, line: Line, at: Place) {
        match line.action {
            Action::Clear => {
                for server in self.servers.drain(..) {
                    gone(context, &server, at);
                }
                context.ledger.taken(at);
            }
            Action::Timeouts([tcp, fin, udp]) => {
                let times = [("tcp_established", tcp), ("tcp_closing", fin), ("udp", udp)];
                for (key, seconds) in times.into_iter().filter(|(_, seconds)| *seconds != 0) {
                    self.timeouts.retain(|At(_, (other, _))| *other != key);
                    self.timeouts.push(At(at, (key, format!("{seconds}s"))));
                }
                context.ledger.taken(at);
            }
            Action::Nothing(why) => context.ledger.no_counterpart(at, why),
            Action::Zero => context.ledger.note(at, super::Outcome::Taken, "counters begin at 0"),
            Action::Service(kind) => self.service(context, kind, &line, at),
            Action::Server(kind) => self.server(context, kind, &line, at),
        }
    }

    fn find(&mut self, (transport, address, port): (Transport, IpAddr, u16)) -> Option<usize> {
        let vip = IpNet::from(address);
        let same = |server: &VirtualServer| (server.transport, server.vip, server.port) == (transport, vip, port);
        self.servers.iter().position(same)
    }

    fn service(&mut self, context: &mut Context, kind: Kind, line: &Line, at: Place) {
        let key = match line.service {
            Some(Service::Known(transport, address, port)) => (transport, address, port),
            Some(Service::None(why)) => return context.ledger.no_counterpart(at, why),
            None => return context.fault(at, "no service", "add `-t ADDRESS:PORT` or `-u ADDRESS:PORT`"),
        };
        let present = self.find(key);
        match (kind, present) {
            (Kind::Add, Some(_)) => context.fault(at, "this virtual server is there already", AGAIN),
            (Kind::Edit | Kind::Delete, None) => context.fault(at, "there is no such virtual server", AGAIN),
            (Kind::Delete, Some(index)) => {
                gone(context, &self.servers.remove(index), at);
                context.ledger.taken(at);
            }
            (Kind::Edit, Some(index)) => {
                let servers = std::mem::take(&mut self.servers[index].servers);
                self.servers[index] = VirtualServer { servers, ..virtual_server(context, line, key, at) };
            }
            (Kind::Add, None) => self.servers.push(virtual_server(context, line, key, at)),
        }
    }

    fn server(&mut self, context: &mut Context, kind: Kind, line: &Line, at: Place) {
        let key = match line.service {
            Some(Service::Known(transport, address, port)) => (transport, address, port),
            Some(Service::None(why)) => return context.ledger.no_counterpart(at, why),
            None => return context.fault(at, "no service", "add `-t ADDRESS:PORT` or `-u ADDRESS:PORT`"),
        };
        let Some((address, port)) = line.server else {
            return context.fault(at, "no real server", "add `-r ADDRESS:PORT`");
        };
        let Some(index) = self.find(key) else {
            return context.fault(at, "there is no such virtual server", "put its `-A` line before this one");
        };
        // IPVS takes the virtual server's port where the line has none.
        let port = if port == 0 { key.2 } else { port };
        let servers = &mut self.servers[index].servers;
        let present = servers.iter().position(|server| (server.address, server.port) == (address, port));
        match (kind, present) {
            (Kind::Add, Some(_)) => return context.fault(at, "this real server is there already", AGAIN),
            (Kind::Edit | Kind::Delete, None) => return context.fault(at, "there is no such real server", AGAIN),
            (Kind::Delete, Some(index)) => {
                let server = servers.remove(index);
                return deleted(context, server.at, at);
            }
            _ => {}
        }
        if let Some(why) = line.unreachable {
            if let Some(index) = present {
                let note = format!("replaced by line {}", at.line);
                context.ledger.note(servers.remove(index).at, super::Outcome::Taken, note);
            }
            return context.ledger.no_counterpart(at, why);
        }
        let server = RealServer {
            at,
            address,
            port,
            weight: line.weight.unwrap_or(1),
            method: line.method.unwrap_or(Method::Direct),
            max_connections: line.most.unwrap_or(0),
        };
        context.ledger.taken(at);
        match present {
            Some(index) => servers[index] = server,
            None => servers.push(server),
        }
    }
}

fn deleted(context: &mut Context, of: Place, by: Place) {
    context.ledger.note(of, super::Outcome::Taken, format!("deleted again by line {}", by.line));
    context.ledger.taken(by);
}

fn gone(context: &mut Context, server: &VirtualServer, by: Place) {
    deleted(context, server.at, by);
    for server in &server.servers {
        deleted(context, server.at, by);
    }
}

fn virtual_server(
    context: &mut Context,
    line: &Line,
    (transport, address, port): (Transport, IpAddr, u16),
    at: Place,
) -> VirtualServer {
    context.ledger.taken(at);
    let (timeout, prefix) = (line.persistence, line.mask);
    let persistence = timeout.map(|timeout| At(at, Persistence { timeout, prefix }));
    let choice = line
        .scheduler
        .as_ref()
        .map_or_else(|| Some(Choice::usual()), |name| scheduler::find(name, line.flags, persistence.is_some()));
    VirtualServer {
        at,
        vip: address.into(),
        port,
        transport,
        // A name that is none was a fault.
        scheduler: At(at, choice.unwrap_or_else(Choice::usual)),
        persistence,
        servers: Vec::new(),
        sorry: None,
        probe: None,
        keys: Vec::new(),
    }
}
