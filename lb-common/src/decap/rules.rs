//! What a backend is told: its tunnel ends, who may send, and the port of GUE.

use core::net::IpAddr;

use super::record::{Entry, MAX_PREFIXES, Role, Tunnels};
use crate::parse::Family;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// A prefix of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    /// An address in it.
    pub address: IpAddr,
    /// Bits that count, at most 32 or 128.
    pub bits: u8,
}

/// What is in force, or shall be.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Our own addresses, [`MAX_PREFIXES`] at most of each family.
    pub ends: &'a [Network],
    /// Who may send, [`MAX_PREFIXES`] at most of each family.
    pub sources: &'a [Network],
    /// UDP destination port of GUE.
    pub gue_port: u16,
}

/// More prefixes of one family than the record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// How many there are.
    pub count: usize,
}

impl Network {
    /// A single address.
    #[must_use]
    pub const fn host(address: IpAddr) -> Self {
        Self { address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }

    const fn family(self) -> Family {
        if self.address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    fn write(self, entry: &Entry) {
        let (address, mask) = (words(self.address), mask(self.bits));
        for i in 0..4 {
            entry.mask[i].store(mask[i]);
            entry.address[i].store(address[i] & mask[i]);
        }
    }

    fn read(family: Family, entry: &Entry) -> Self {
        let mut octets = [0; 16];
        for (bytes, word) in octets.chunks_mut(4).zip(&entry.address) {
            bytes.copy_from_slice(&word.load().to_ne_bytes());
        }
        let address = match family {
            Family::V4 => IpAddr::from([octets[0], octets[1], octets[2], octets[3]]),
            Family::V6 => IpAddr::from(octets),
        };
        Self { address, bits: entry.mask.iter().map(|word| word.load().count_ones()).sum::<u32>() as u8 }
    }
}

fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(address) => [u32::from_ne_bytes(address.octets()), 0, 0, 0],
        IpAddr::V6(address) => {
            let octets = address.octets();
            core::array::from_fn(|i| {
                u32::from_ne_bytes([octets[4 * i], octets[4 * i + 1], octets[4 * i + 2], octets[4 * i + 3]])
            })
        }
    }
}

fn mask(bits: u8) -> [u32; 4] {
    let all = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    words(IpAddr::from(all.to_be_bytes()))
}

impl Rules<'_> {
    /// Writes them into a record that is not in force.
    ///
    /// # Errors
    ///
    /// If there are too many of a family; nothing is written then.
    pub fn write(&self, tunnels: &Tunnels) -> Result<(), TooMany> {
        let roles = [(self.ends, Role::Ends), (self.sources, Role::Sources)];
        for (networks, _) in roles {
            for family in FAMILIES {
                let count = of(networks, family).count();
                if count > MAX_PREFIXES {
                    return Err(TooMany { count });
                }
            }
        }
        for (networks, role) in roles {
            for family in FAMILIES {
                let entries = tunnels.list(role, family).resize(of(networks, family).count());
                of(networks, family).zip(entries).for_each(|(network, entry)| network.write(entry));
            }
        }
        tunnels.set_gue_port(self.gue_port);
        Ok(())
    }
}

fn of(networks: &[Network], family: Family) -> impl Iterator<Item = Network> {
    networks.iter().copied().filter(move |network| network.family() == family)
}

impl Tunnels {
    /// Our own addresses.
    pub fn ends(&self) -> impl Iterator<Item = Network> {
        self.read(Role::Ends)
    }

    /// Who may send.
    pub fn sources(&self) -> impl Iterator<Item = Network> {
        self.read(Role::Sources)
    }

    fn read(&self, role: Role) -> impl Iterator<Item = Network> {
        let of = move |family| self.list(role, family).entries().iter().map(move |entry| Network::read(family, entry));
        FAMILIES.into_iter().flat_map(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        let (address, bits) = text.split_once('/').expect("a prefix");
        Network { address: address.parse().expect("an address"), bits: bits.parse().expect("a number") }
    }

    #[test]
    fn what_is_written_is_read_and_replaced() {
        let tunnels = Tunnels::default();
        let sources = ["192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32", "::/0", "2001:db8::1/128"].map(network);
        let ends = [Network::host("198.51.100.7".parse().expect("an address"))];
        Rules { ends: &ends, sources: &sources, gue_port: 6080 }.write(&tunnels).expect("few");
        assert!(tunnels.sources().eq(sources));
        assert!(tunnels.ends().eq(ends));
        assert_eq!(tunnels.gue_port(), 6080);
        Rules { ends: &[], sources: &sources[..1], gue_port: 1 }.write(&tunnels).expect("few");
        assert!(tunnels.sources().eq([sources[0]]) && tunnels.ends().next().is_none());
    }

    #[test]
    fn prefixes_contain_what_they_should() {
        let tunnels = Tunnels::default();
        let sources = ["192.0.2.128/25", "2001:db8:0:8000::/49"].map(network);
        Rules { ends: &[], sources: &sources, gue_port: 1 }.write(&tunnels).expect("few");
        for (address, inside) in [
            ("192.0.2.128", true),
            ("192.0.2.255", true),
            ("192.0.2.127", false),
            ("192.0.3.128", false),
            ("2001:db8:0:8000::", true),
            ("2001:db8:0:ffff:ffff::", true),
            ("2001:db8:0:7fff::", false),
            ("2001:db8:1:8000::", false),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            let family = Network::host(address).family();
            assert_eq!(tunnels.list(Role::Sources, family).contain(&words(address)), inside, "{address}");
        }
    }

    #[test]
    fn too_many_are_refused_as_a_whole() {
        let tunnels = Tunnels::default();
        let many = [network("192.0.2.0/24"); MAX_PREFIXES + 1];
        let rules = Rules { ends: &[], sources: &many, gue_port: 6080 };
        assert_eq!(rules.write(&tunnels), Err(TooMany { count: MAX_PREFIXES + 1 }));
        assert_eq!((tunnels.sources().count(), tunnels.gue_port()), (0, 0));
        Rules { sources: &many[1..], ..rules }.write(&tunnels).expect("just as many as there is room for");
        assert_eq!(tunnels.sources().count(), MAX_PREFIXES);
    }
}
