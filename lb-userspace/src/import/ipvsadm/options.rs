//! The options of `ipvsadm`, as popt reads them: short ones together or apart, long ones with `=` or without.

use std::{net::IpAddr, time::Duration};

use super::super::{
    Context,
    model::{Method, Transport},
    report::Place,
    scheduler::{self, Flags},
    values,
};

/// What is done with a service or a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Add,
    Edit,
    Delete,
}

/// What a line does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Clear,
    /// Nothing that could be done here.
    Nothing(&'static str),
    Zero,
    /// TCP, TCP after FIN, UDP, in seconds; 0: as before.
    Timeouts([u64; 3]),
    Service(Kind),
    Server(Kind),
}

/// A service, or why there is none of the kind here.
#[derive(Clone, Copy, Debug)]
pub(super) enum Service {
    Known(Transport, IpAddr, u16),
    None(&'static str),
}

/// A line, with what it says.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) action: Action,
    pub(super) service: Option<Service>,
    pub(super) server: Option<(IpAddr, u16)>,
    pub(super) scheduler: Option<String>,
    pub(super) flags: Flags,
    pub(super) persistence: Option<Duration>,
    pub(super) mask: Option<u8>,
    pub(super) method: Option<Method>,
    pub(super) weight: Option<u64>,
    pub(super) most: Option<u32>,
    /// Why packets could not get to its real server.
    pub(super) unreachable: Option<&'static str>,
}

const FWMARK: &str = "services of firewall marks; write one with the VIP, protocol and ports that are marked (`port` may be a range or any)";
const SCTP: &str = "only TCP and UDP are balanced; leave SCTP to IPVS";
const SYNC: &str = "flows are not copied to other nodes; with maglev they find the same backends there";

/// Option, short name, and whether it has a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    None,
    One,
    /// One, unless an option follows.
    Maybe,
    Three,
}

const OPTIONS: &[(&str, char, Value)] = &[
    ("add-service", 'A', Value::None),
    ("edit-service", 'E', Value::None),
    ("delete-service", 'D', Value::None),
    ("add-server", 'a', Value::None),
    ("edit-server", 'e', Value::None),
    ("delete-server", 'd', Value::None),
    ("clear", 'C', Value::None),
    ("zero", 'Z', Value::None),
    ("restore", 'R', Value::None),
    ("save", 'S', Value::None),
    ("list", 'L', Value::None),
    ("list", 'l', Value::None),
    ("set", '\0', Value::Three),
    ("start-daemon", '\0', Value::One),
    ("stop-daemon", '\0', Value::One),
    ("mcast-interface", '\0', Value::One),
    ("mcast-group", '\0', Value::One),
    ("mcast-port", '\0', Value::One),
    ("mcast-ttl", '\0', Value::One),
    ("sync-maxlen", '\0', Value::One),
    ("syncid", '\0', Value::One),
    ("tcp-service", 't', Value::One),
    ("udp-service", 'u', Value::One),
    ("sctp-service", '\0', Value::One),
    ("fwmark-service", 'f', Value::One),
    ("ipv6", '6', Value::None),
    ("scheduler", 's', Value::One),
    ("sched-flags", 'b', Value::One),
    ("persistent", 'p', Value::Maybe),
    ("netmask", 'M', Value::One),
    ("pe", '\0', Value::One),
    ("ops", 'o', Value::None),
    ("real-server", 'r', Value::One),
    ("gatewaying", 'g', Value::None),
    ("ipip", 'i', Value::None),
    ("masquerading", 'm', Value::None),
    ("weight", 'w', Value::One),
    ("u-threshold", 'x', Value::One),
    ("l-threshold", 'y', Value::One),
    ("tun-type", '\0', Value::One),
    ("tun-port", '\0', Value::One),
    ("tun-nocsum", '\0', Value::None),
    ("tun-csum", '\0', Value::None),
    ("tun-remcsum", '\0', Value::None),
    ("numeric", 'n', Value::None),
    ("exact", '\0', Value::None),
];

/// An option of a line with its values, and where it stands.
struct Given<'a> {
    name: &'static str,
    values: Vec<&'a str>,
    at: Place,
}

/// Reads a line; `None` if it says nothing, or if it is wrong, which was noted.
pub(super) fn read(context: &mut Context, line: &str, at: Place, services: &str) -> Option<Line> {
    let mut words = words(line, at);
    if words.first().is_some_and(|(word, _)| word.starts_with('#')) {
        words.clear();
    }
    if words.first().is_some_and(|(word, _)| *word == "ipvsadm" || word.ends_with("/ipvsadm")) {
        words.remove(0);
    }
    let first = words.first().map(|(_, place)| *place)?;
    let given = split(context, &words)?;
    let mut line = Line {
        action: Action::Nothing("it lists or saves, and changes nothing"),
        service: None,
        server: None,
        scheduler: None,
        flags: Flags::default(),
        persistence: None,
        mask: None,
        method: None,
        weight: None,
        most: None,
        unreachable: None,
    };
    let faults = context.faults.len();
    let mut command = None;
    let (mut tunnel, mut tunnel_port, mut mask) = (None, None, None);
    for option in &given {
        if let Some(action) = action(context, option) {
            if command.replace(action).is_some() {
                context.fault(
                    option.at,
                    format!("`{}` is a second command", option.name),
                    "write one command in a line",
                );
            }
            continue;
        }
        match option.name {
            "tun-type" => tunnel = Some((option.values[0], option.at)),
            "tun-port" => tunnel_port = number(context, option, 1, 65_535),
            "netmask" => mask = Some((option.values[0], option.at)),
            _ => one(context, &mut line, option, services),
        }
    }
    match command {
        Some(action) => line.action = action,
        None => context.fault(first, "no command", "begin the line with -A, -a, -E, -e, -D, -d, -C or --set"),
    }
    if let Some((mask, at)) = mask {
        let is_ipv4 = !matches!(line.service, Some(Service::Known(_, address, _)) if address.is_ipv6());
        line.mask = values::prefix_length(mask, is_ipv4);
        if line.mask.is_none() {
            context.fault(
                at,
                format!("`{mask}` is no mask of a prefix"),
                "use one such as 255.255.255.0, or 64 for IPv6",
            );
        }
    }
    tunnelled(context, &mut line, tunnel, tunnel_port.and_then(|port| u16::try_from(port).ok()));
    (context.faults.len() == faults).then_some(line)
}

/// The words and where they stand.
fn words(line: &str, at: Place) -> Vec<(&str, Place)> {
    line.split_whitespace()
        .map(|word| {
            // A word is a part of the line.
            let start = word.as_ptr() as usize - line.as_ptr() as usize;
            (word, Place { column: line[..start].chars().count() as u32 + 1, ..at })
        })
        .collect()
}

fn split<'a>(context: &mut Context, words: &[(&'a str, Place)]) -> Option<Vec<Given<'a>>> {
    let mut given = Vec::new();
    let mut words = words.iter().copied().peekable();
    while let Some((word, at)) = words.next() {
        if let Some(long) = word.strip_prefix("--") {
            let (name, inline) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let Some(&(name, _, value)) = OPTIONS.iter().find(|option| option.0 == name) else {
                return unknown(context, word, at);
            };
            given.push(Given { name, values: take(context, value, inline, word, at, &mut words)?, at });
            continue;
        }
        let Some(short) = word.strip_prefix('-').filter(|short| !short.is_empty()) else {
            context.fault(
                at,
                format!("`{word}` is no option"),
                "lines are as `ipvsadm -S -n` prints them: -A -t ADDRESS:PORT -s wlc",
            );
            return None;
        };
        for (index, letter) in short.char_indices() {
            let Some(&(name, _, value)) = OPTIONS.iter().find(|option| option.1 == letter && letter != '\0') else {
                return unknown(context, word, at);
            };
            let rest = &short[index + letter.len_utf8()..];
            if value == Value::None {
                given.push(Given { name, values: Vec::new(), at });
                continue;
            }
            let inline = (!rest.is_empty()).then_some(rest.strip_prefix('=').unwrap_or(rest));
            given.push(Given { name, values: take(context, value, inline, word, at, &mut words)?, at });
            break;
        }
    }
    Some(given)
}

fn unknown<T>(context: &mut Context, word: &str, at: Place) -> Option<T> {
    context.fault(
        at,
        format!("`{word}` is no option of ipvsadm"),
        "see ipvsadm(8), or write what `ipvsadm -S -n` prints",
    );
    None
}

/// The values of an option.
fn take<'a>(
    context: &mut Context,
    value: Value,
    inline: Option<&'a str>,
    word: &str,
    at: Place,
    words: &mut std::iter::Peekable<impl Iterator<Item = (&'a str, Place)>>,
) -> Option<Vec<&'a str>> {
    let wanted = match value {
        Value::None if inline.is_some() => {
            context.fault(at, format!("`{word}` has a value, and the option takes none"), "remove it");
            return None;
        }
        Value::None => return Some(Vec::new()),
        Value::Maybe => 0,
        Value::One => 1,
        Value::Three => 3,
    };
    let mut values: Vec<&str> = inline.into_iter().collect();
    // No value begins with `-`, so what does is the next option.
    while values.len() < wanted.max(1) && words.peek().is_some_and(|(word, _)| !word.starts_with('-')) {
        values.extend(words.next().map(|(word, _)| word));
    }
    if values.len() < wanted {
        context.fault(at, format!("`{word}` has too few values"), format!("give {wanted}"));
        return None;
    }
    Some(values)
}

fn action(context: &mut Context, option: &Given<'_>) -> Option<Action> {
    Some(match option.name {
        "add-service" => Action::Service(Kind::Add),
        "edit-service" => Action::Service(Kind::Edit),
        "delete-service" => Action::Service(Kind::Delete),
        "add-server" => Action::Server(Kind::Add),
        "edit-server" => Action::Server(Kind::Edit),
        "delete-server" => Action::Server(Kind::Delete),
        "clear" => Action::Clear,
        "zero" => Action::Zero,
        "restore" | "save" | "list" => Action::Nothing("it lists, saves or restores; give what it printed"),
        "start-daemon" | "stop-daemon" => Action::Nothing(SYNC),
        "set" => {
            let mut seconds = [0; 3];
            for (value, second) in option.values.iter().zip(&mut seconds) {
                match value.parse() {
                    Ok(value) => *second = value,
                    Err(_) => context.fault(
                        option.at,
                        format!("`{value}` is no number of seconds"),
                        "give three, such as `--set 900 120 300`",
                    ),
                }
            }
            Action::Timeouts(seconds)
        }
        _ => return None,
    })
}

/// What is neither a command nor about tunnels.
fn one(context: &mut Context, line: &mut Line, option: &Given<'_>, services: &str) {
    let at = option.at;
    let value = option.values.first().copied().unwrap_or_default();
    match option.name {
        "tcp-service" | "udp-service" => {
            let transport = if option.name == "tcp-service" { Transport::Tcp } else { Transport::Udp };
            if let Some((address, port)) = endpoint(context, value, at, &transport.to_string(), services) {
                line.service = Some(Service::Known(transport, address, port));
            } else {
                // The fault was noted; a second one would not help.
                line.service = Some(Service::None(""));
            }
        }
        "sctp-service" => line.service = Some(Service::None(SCTP)),
        "fwmark-service" => line.service = Some(Service::None(FWMARK)),
        "real-server" => {
            let protocol = match line.service {
                Some(Service::Known(Transport::Udp, ..)) => "udp",
                _ => "tcp",
            };
            line.server = endpoint(context, value, at, protocol, services);
        }
        "scheduler" => {
            if scheduler::find(value, Flags::default(), false).is_none() {
                context.fault(
                    at,
                    format!("`{value}` is no scheduler of IPVS"),
                    format!("use one of {}", scheduler::NAMES),
                );
            }
            line.scheduler = Some(value.to_owned());
        }
        "sched-flags" => flags(context, &mut line.flags, value, at),
        "persistent" => {
            let seconds = if value.is_empty() { Some(300) } else { number(context, option, 1, 31 * 24 * 3600) };
            line.persistence = seconds.map(Duration::from_secs);
        }
        "gatewaying" => line.method = Some(Method::Direct),
        "ipip" => line.method = Some(Method::Ipip),
        "masquerading" => line.method = Some(Method::Masquerade),
        "weight" => line.weight = number(context, option, 0, 1 << 31),
        "u-threshold" => {
            line.most = number(context, option, 0, 2_147_483_647).and_then(|most| u32::try_from(most).ok())
        }
        "l-threshold" => least(context, option),
        "ops" => context
            .ledger
            .changed(at, "-o: packets of a UDP flow stay together; a flow is forgotten after timeouts.udp_single"),
        "pe" => {
            context.ledger.changed(at, format!("--pe {value}: clients are told apart by address, not by what they say"))
        }
        "tun-csum" | "tun-remcsum" => context.ledger.changed(at, format!("--{}: gue has no options", option.name)),
        _ => {}
    }
}

/// A lower threshold: when a server that was full is asked again.
fn least(context: &mut Context, option: &Given<'_>) {
    let note = "-y: a backend takes flows again as soon as it has fewer than max_connections";
    if number(context, option, 0, u64::from(u32::MAX)).is_some_and(|least| least > 0) {
        context.ledger.changed(option.at, note);
    }
}

/// A service is in the line before its real server, as `ipvsadm -S` writes it; an IPv6 address is in brackets.
fn endpoint(context: &mut Context, text: &str, at: Place, protocol: &str, services: &str) -> Option<(IpAddr, u16)> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or(rest))),
        None if text.parse::<IpAddr>().is_ok() => (text, None),
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let Ok(address) = host.parse::<IpAddr>() else {
        let remedy = "give addresses: write the rules with `ipvsadm -S -n`; IPv6 as [2001:db8::1]:80";
        context.fault(at, format!("`{host}` is no address"), remedy);
        return None;
    };
    let Some(port) = port else { return Some((address, 0)) };
    let number = values::port(port, services, protocol);
    if number.is_none() {
        let remedy = "give its number, 0 to 65535: write the rules with `ipvsadm -S -n`";
        context.fault(at, format!("`{port}` is no port of {protocol} that /etc/services knows"), remedy);
    }
    Some((address, number?))
}

fn number(context: &mut Context, option: &Given<'_>, least: u64, most: u64) -> Option<u64> {
    let text = option.values.first().copied().unwrap_or_default();
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    if number.is_none() {
        context.fault(
            option.at,
            format!("`{text}` is no number for --{}", option.name),
            format!("use {least} to {most}"),
        );
    }
    number
}

fn flags(context: &mut Context, flags: &mut Flags, text: &str, at: Place) {
    for flag in text.split(',') {
        match flag {
            "sh-port" | "mh-port" => flags.port = true,
            // As the kernel numbers those of sh and mh; another backend always takes over from one that cannot.
            "sh-fallback" | "mh-fallback" | "flag-1" => {}
            "flag-2" => flags.port = true,
            "flag-3" => context.ledger.changed(at, "-b flag-3: no scheduler has it"),
            _ => context.fault(
                at,
                format!("`{flag}` is no flag of a scheduler"),
                "use sh-port, sh-fallback, mh-port, mh-fallback or flag-1 to flag-3",
            ),
        }
    }
}

fn tunnelled(context: &mut Context, line: &mut Line, tunnel: Option<(&str, Place)>, port: Option<u16>) {
    let Some((kind, at)) = tunnel else { return };
    match kind {
        "ipip" => line.method = Some(Method::Ipip),
        "gue" => match port {
            Some(port) => line.method = Some(Method::Gue(port)),
            None => context.fault(at, "a tunnel of type gue without --tun-port", "add it, such as `--tun-port 6080`"),
        },
        "gre" => line.unreachable = Some("tunnels are ipip or gue here; use one of them for this server"),
        _ => context.fault(at, format!("`{kind}` is no type of tunnel"), "use ipip or gue"),
    }
}
