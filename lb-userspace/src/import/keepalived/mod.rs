//! keepalived's configuration (keepalived.conf(5) of 2.2): what is for IPVS; VRRP stays with keepalived.

mod checker;
mod command;
mod group;
mod hooks;
mod probe;
mod server;
mod settings;
mod source;
mod tree;

use std::{collections::HashMap, path::Path};

use self::{
    group::Group,
    source::{Disk, Files, Reader},
    tree::Statement,
};
use super::{
    Context, ImportError, Imported, Options, Problem, map,
    model::{At, VirtualServer},
    report::Outcome,
};

/// Reads a file and those that it includes.
///
/// # Errors
///
/// All that is wrong with them, with their places; a file that cannot be read.
pub fn import(path: &Path, options: &Options) -> Result<Imported, ImportError> {
    from(&Disk, path, options)
}

/// Reads one text without files beside it; what it includes is missing.
///
/// # Errors
///
/// As [`import`].
pub fn import_text(text: &str, options: &Options) -> Result<Imported, ImportError> {
    from(&Alone(text), Path::new("keepalived.conf"), options)
}

/// A text that is the only file.
struct Alone<'a>(&'a str);

impl Files for Alone<'_> {
    fn read(&self, path: &Path, _: u64) -> Result<String, String> {
        let is_it = path == Path::new("keepalived.conf");
        is_it.then(|| self.0.to_owned()).ok_or_else(|| "there are no other files".to_owned())
    }

    fn matching(&self, _: &str) -> Result<Vec<std::path::PathBuf>, String> {
        Ok(Vec::new())
    }
}

fn from(files: &dyn Files, path: &Path, options: &Options) -> Result<Imported, ImportError> {
    let mut reader = Reader::new(files, options.config_id.as_deref());
    if let Err((reason, remedy)) = reader.file(path) {
        let (file, remedy) = (path.display().to_string(), remedy.to_owned());
        return Err(ImportError { problems: vec![Problem { file, line: 0, column: 0, reason, remedy }] });
    }
    let Reader { mut context, lines, .. } = reader;
    let statements = tree::read(&mut context, &lines);
    let mut file = Contents { services: &options.services, ..Contents::default() };
    for statement in statements.iter().filter(|statement| statement.name() == "virtual_server_group") {
        file.group(&mut context, statement);
    }
    for statement in &statements {
        file.statement(&mut context, statement);
    }
    map::finish(context, &path.display().to_string(), file.timeouts, file.servers, options)
}

/// What was found so far.
#[derive(Default)]
struct Contents<'a> {
    groups: HashMap<String, Group>,
    servers: Vec<VirtualServer>,
    timeouts: Vec<At<(&'static str, String)>>,
    /// `/etc/services`.
    services: &'a str,
}

const VRRP: &str = "VRRP: keep keepalived for it, without its virtual_servers";
const MACHINE: &str = "for keepalived itself: keep it there";
const SYNC: &str = "flows are not copied to other nodes; with maglev they find the same backends there";

/// What is for VRRP, routes and rules.
const VRRP_NAMES: [&str; 17] = [
    "vrrp_instance",
    "vrrp_sync_group",
    "vrrp_script",
    "vrrp_track_process",
    "vrrp_track_file",
    "track_process",
    "track_file",
    "track_bfd",
    "bfd_instance",
    "static_ipaddress",
    "static_routes",
    "static_rules",
    "static_track_group",
    "garp_group",
    "linkbeat_interfaces",
    "interface_up_down_delays",
    "linkbeat_use_polling",
];
/// What is for the process.
const MACHINE_NAMES: [&str; 11] = [
    "net_namespace",
    "net_namespace_ipvs",
    "namespace_with_ipsets",
    "instance",
    "use_pid_dir",
    "child_wait_time",
    "include_check",
    "random_seed",
    "reload_time_file",
    "reload_repeat",
    "reload_file",
];

impl Contents<'_> {
    fn statement(&mut self, context: &mut Context, statement: &Statement) {
        match statement.name() {
            "virtual_server_group" => {}
            "virtual_server" => {
                let servers = server::read(context, statement, &self.groups, self.services);
                self.servers.extend(servers);
            }
            "global_defs" => self.global(context, statement),
            "SSL" => statement.cover(
                context,
                Outcome::NoCounterpart,
                "certificates of SSL_GET; give `client_certificate` and `client_key` in `probe`",
            ),
            name if VRRP_NAMES.contains(&name) => statement.cover(context, Outcome::NotOurs, VRRP),
            name if MACHINE_NAMES.contains(&name) => statement.cover(context, Outcome::NotOurs, MACHINE),
            name => {
                let note = format!("`{name}` is not known here; look whether it matters");
                statement.cover(context, Outcome::NoCounterpart, &note);
            }
        }
    }

    fn group(&mut self, context: &mut Context, statement: &Statement) {
        let Some(name) = statement.argument(0) else {
            return context.fault(statement.at(), "the group has no name", "write `virtual_server_group NAME {`");
        };
        let group = group::read(context, statement, self.services);
        if self.groups.insert(name.text.clone(), group).is_some() {
            context.fault(name.at, format!("group `{}` is there already", name.text), "give one of them another name");
        }
    }

    fn global(&mut self, context: &mut Context, statement: &Statement) {
        statement.frame(context, Outcome::NotOurs, MACHINE);
        for inner in &statement.block {
            match inner.name() {
                "lvs_timeouts" => self.lvs_timeouts(context, inner),
                "lvs_sync_daemon" => inner.cover(context, Outcome::NoCounterpart, SYNC),
                _ => inner.cover(context, Outcome::NotOurs, MACHINE),
            }
        }
    }

    fn lvs_timeouts(&mut self, context: &mut Context, statement: &Statement) {
        context.ledger.taken(statement.at());
        for pair in statement.words[1..].chunks(2) {
            let key = match pair[0].text.as_str() {
                "tcp" => "tcp_established",
                "tcpfin" => "tcp_closing",
                "udp" => "udp",
                other => {
                    let reason = format!("`{other}` is none of the times of lvs_timeouts");
                    context.fault(pair[0].at, reason, "use tcp, tcpfin and udp, each with seconds");
                    continue;
                }
            };
            match pair.get(1).and_then(|word| word.text.parse::<u64>().ok()) {
                Some(seconds) => {
                    self.timeouts.retain(|At(_, (other, _))| *other != key);
                    self.timeouts.push(At(statement.at(), (key, format!("{seconds}s"))));
                }
                None => context.fault(pair[0].at, format!("`{}` has no seconds", pair[0].text), "add a number"),
            }
        }
    }
}
