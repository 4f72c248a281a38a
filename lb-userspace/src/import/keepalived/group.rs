//! `virtual_server_group`: addresses, ranges of addresses, and firewall marks.

use std::net::IpAddr;

use ipnet::{IpNet, IpSubnets, Ipv4Subnets, Ipv6Subnets};

use super::{
    super::{
        Context,
        report::{Outcome, Place},
        values,
    },
    tree::Statement,
};

/// A line of a group.
pub(super) struct Member {
    pub(super) at: Place,
    /// Prefixes that together are what it says.
    pub(super) vips: Vec<IpNet>,
    /// 0: any.
    pub(super) port: u16,
}

/// A group.
pub(super) struct Group {
    pub(super) members: Vec<Member>,
}

pub(super) const FWMARK: &str =
    "firewall marks; write a service with the VIP, protocol and ports that are marked (`port` may be a range or any)";

pub(super) fn read(context: &mut Context, statement: &Statement, services: &str) -> Group {
    statement.taken(context);
    let mut members = Vec::new();
    for line in &statement.block {
        if line.name() == "fwmark" {
            line.cover(context, Outcome::NoCounterpart, FWMARK);
            continue;
        }
        let Some(vips) = addresses(line.name()) else {
            let remedy = "write 192.0.2.1, 192.0.2.1-9, 192.0.2.1-192.0.2.9, 192.0.2.0/28 or the like of IPv6";
            context.fault(line.at(), format!("`{}` is no address and no range", line.name()), remedy);
            continue;
        };
        let port = line.argument(0).map_or(Some(0), |word| values::port(&word.text, services, "tcp"));
        let Some(port) = port else {
            context.fault(line.at(), format!("`{}` is no port", line.text(0)), "use 1 to 65535");
            continue;
        };
        context.ledger.taken(line.at());
        if vips.len() > 1 {
            context.ledger.note(line.at(), Outcome::Taken, format!("the range as {} prefixes", vips.len()));
        }
        members.push(Member { at: line.at(), vips, port });
    }
    Group { members }
}

/// An address, a prefix, or a range as prefixes.
fn addresses(text: &str) -> Option<Vec<IpNet>> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(vec![address.into()]);
    }
    if let Ok(prefix) = text.parse::<IpNet>() {
        return Some(vec![prefix.trunc()]);
    }
    let (first, last) = text.split_once('-')?;
    let first: IpAddr = first.parse().ok()?;
    let last = last.parse().ok().or_else(|| last_of(first, last))?;
    let prefixes: IpSubnets = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => Ipv4Subnets::new(first, last, 0).into(),
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => Ipv6Subnets::new(first, last, 0).into(),
        _ => return None,
    };
    Some(prefixes.collect())
}

/// The end of a range that is given as its last octet, or its last group in hexadecimal digits.
fn last_of(first: IpAddr, last: &str) -> Option<IpAddr> {
    match first {
        IpAddr::V4(first) => {
            let [a, b, c, _] = first.octets();
            Some([a, b, c, last.parse().ok()?].into())
        }
        IpAddr::V6(first) => {
            let mut groups = first.segments();
            groups[7] = u16::from_str_radix(last, 16).ok()?;
            Some(groups.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_prefixes() {
        let shown = |text| addresses(text).map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1/32"),
            ("192.0.2.3-10", "192.0.2.3/32 192.0.2.4/30 192.0.2.8/31 192.0.2.10/32"),
            ("192.0.2.254-192.0.3.1", "192.0.2.254/31 192.0.3.0/31"),
            ("192.0.2.8/29", "192.0.2.8/29"),
            ("2001:db8::2-9", "2001:db8::2/127 2001:db8::4/126 2001:db8::8/127"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "a", "192.0.2.9-3", "192.0.2.1-2001:db8::1", "192.0.2.1-300", "2001:db8::1-g"] {
            assert_eq!(shown(text), None, "{text}");
        }
    }
}
