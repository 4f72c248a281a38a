//! What the command line asks for.

use std::{net::IpAddr, path::PathBuf, str::FromStr};

use ipnet::IpNet;
use lb_common::decap::Network;

use crate::config::model::AttachMode;

/// Everything that a start needs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Interfaces that tunnelled packets arrive on, at least one.
    pub interfaces: Vec<String>,
    /// Who may send.
    pub from: Vec<Network>,
    /// Tunnel ends; empty: the addresses of the interfaces.
    pub local: Vec<IpAddr>,
    /// UDP destination port of GUE.
    pub gue_port: u16,
    /// How the program is attached.
    pub mode: AttachMode,
    /// Directory of the pins, on a bpffs.
    pub pin_directory: PathBuf,
}

/// Reads an address or a prefix.
///
/// # Errors
///
/// What is wrong with it, in words.
pub fn prefix(text: &str) -> Result<Network, String> {
    if let Ok(address) = IpAddr::from_str(text) {
        return Ok(Network::host(address));
    }
    let net = IpNet::from_str(text)
        .map_err(|_| "neither an address nor a prefix such as 10.0.0.0/24 or 2001:db8::/64".to_owned())?;
    let right = net.trunc();
    if right != net {
        return Err(format!("has bits behind its length; write {right}, or {} for this address alone", net.addr()));
    }
    Ok(Network { address: net.addr(), bits: net.prefix_len() })
}

/// A network as people write it.
#[must_use]
pub fn written(network: Network) -> String {
    if network == Network::host(network.address) {
        return network.address.to_string();
    }
    format!("{}/{}", network.address, network.bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_prefixes_are_read_and_written() {
        for text in ["10.0.0.0/24", "10.0.0.7", "0.0.0.0/0", "2001:db8::/32", "2001:db8::7", "::/0"] {
            assert_eq!(prefix(text).map(written), Ok(text.to_owned()));
        }
        assert_eq!(prefix("10.0.0.7/32").map(written), Ok("10.0.0.7".to_owned()));
    }

    #[test]
    fn what_is_no_prefix_is_refused_with_a_remedy() {
        let refused = prefix("10.0.0.7/24").expect_err("bits behind the length");
        assert!(refused.contains("10.0.0.0/24") && refused.contains("or 10.0.0.7 "), "{refused}");
        for text in ["", "10.0.0.0/33", "2001:db8::/129", "balancer", "10.0.0/24"] {
            assert!(prefix(text).is_err(), "{text:?}");
        }
    }
}
