//! The addresses of interfaces: tunnels end there unless the command line says otherwise.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
};

use anyhow::{Context, Result, ensure};
use nix::{ifaddrs::getifaddrs, net::if_::if_nametoindex, sys::socket::SockaddrStorage};

/// Sees to it that interfaces exist.
///
/// # Errors
///
/// If one does not.
pub fn check_interfaces(names: &[String]) -> Result<()> {
    names.iter().try_for_each(|name| {
        if_nametoindex(name.as_str()).with_context(|| format!("interface {name} does not exist; see `ip link`"))?;
        Ok(())
    })
}

/// All addresses of some interfaces that other hosts can send to, in order.
///
/// # Errors
///
/// If none of them has such an address.
pub fn of(interfaces: &[String]) -> Result<Vec<IpAddr>> {
    let found: BTreeSet<IpAddr> = getifaddrs()
        .context("the interfaces' addresses cannot be listed")?
        .filter(|entry| interfaces.iter().any(|name| name == device(&entry.interface_name)))
        .filter_map(|entry| address(&entry.address?))
        .filter(|address| is_global(*address))
        .collect();
    ensure!(
        !found.is_empty(),
        "{} has no address that a tunnel could end at; give it one with `ip address add`, or name one of this host's \
         with `--local`",
        interfaces.join(", ")
    );
    Ok(found.into_iter().collect())
}

/// An IPv4 address may have a label, `DEVICE:ANYTHING`, in place of its device's name.
fn device(label: &str) -> &str {
    label.split(':').next().unwrap_or(label)
}

fn address(storage: &SockaddrStorage) -> Option<IpAddr> {
    match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
        (Some(v4), _) => Some(v4.ip().into()),
        (_, Some(v6)) => Some(v6.ip().into()),
        _ => None,
    }
}

fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()),
        IpAddr::V6(v6) => !(v6.is_loopback() || is_link_local(v6) || v6.is_unspecified()),
    }
}

fn is_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_others_reach_count() {
        for (text, counts) in [
            ("10.0.0.1", true),
            ("127.0.0.1", false),
            ("169.254.7.7", false),
            ("2001:db8::1", true),
            ("fd00::1", true),
            ("fe80::1", false),
            ("febf::1", false),
            ("::1", false),
        ] {
            assert_eq!(is_global(text.parse().expect("an address")), counts, "{text}");
        }
        assert_eq!(device("eth0:vip"), "eth0");
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = check_interfaces(&["ek-none".to_owned()]).expect_err("no such interface");
        assert!(format!("{missing:#}").contains("ek-none does not exist"), "{missing:#}");
        let bare = of(&["lo".to_owned()]).expect_err("nothing but loopback addresses");
        assert!(format!("{bare:#}").contains("`--local`"), "{bare:#}");
    }
}
