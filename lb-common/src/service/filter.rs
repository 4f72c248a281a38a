//! Which addresses may be VIPs: one byte for each value of a 16-bit hash.
//!
//! Most packets that are for no service are found out by this one byte. A byte that is set proves nothing: the service
//! table decides then.

#[cfg(feature = "std")]
use super::builder::Rule;
#[cfg(feature = "std")]
use crate::abi::{Destination, Service, Word8};
use crate::parse::Family;

/// Bytes of the filter.
pub const FILTER_BYTES: usize = 1 << 16;

/// In a byte: a VIP may have it.
pub const VIP: u8 = 1;
/// In a byte: a backend whose replies are translated may have it.
pub const BACKEND: u8 = 2;

/// The golden ratio's multiplier for 32 bits (Knuth, TAOCP vol. 3, 6.4).
const MULTIPLIER: u32 = 0x9e37_79b1;

/// The byte of an address.
#[inline(always)]
#[must_use]
pub const fn place(family: Family, address: &[u32; 4]) -> u32 {
    let folded = match family {
        Family::V4 => address[0],
        Family::V6 => address[0] ^ address[1] ^ address[2] ^ address[3],
    };
    folded.wrapping_mul(MULTIPLIER) >> 16
}

/// Host bits up to which the addresses of a prefix are marked one by one; above, every byte is set.
#[cfg(feature = "std")]
const MAX_HOST_BITS: u8 = 12;

/// Sets the bytes of all VIPs, before a service table that has them comes into force.
#[cfg(feature = "std")]
pub fn widen(filter: &[Word8], rules: &[Rule]) {
    for rule in rules {
        mark(rule.family, rule.prefix, rule.prefix_length, |place| set(filter, place, VIP));
    }
}

/// Clears the bytes that no VIP has, after a service table has come into force.
#[cfg(feature = "std")]
pub fn narrow(filter: &[Word8], rules: &[Rule]) {
    let mut wanted = vec![false; FILTER_BYTES];
    for rule in rules {
        mark(rule.family, rule.prefix, rule.prefix_length, |place| wanted[place] = true);
    }
    clear_others(filter, &wanted, VIP);
}

/// Sets the bytes of the VIPs of services that are in their table already.
#[cfg(feature = "std")]
pub fn admit(filter: &[Word8], services: &[Service]) {
    for (prefix, identity) in services.iter().filter_map(Service::identity) {
        mark(identity.family, prefix, identity.prefix_length, |place| set(filter, place, VIP));
    }
}

/// Sets the bytes of a backend's address, as [`Destination::address`](crate::abi::Destination::address) has it, before any packet gets there.
#[cfg(feature = "std")]
pub fn admit_backend(filter: &[Word8], address: &[u32; 4]) {
    set(filter, place_of_backend(address), BACKEND);
}

/// Sets the bytes of the backends whose replies are translated, and clears those that no such backend has any more.
#[cfg(feature = "std")]
pub fn refresh_backends(filter: &[Word8], destinations: &[Destination]) {
    let mut wanted = vec![false; FILTER_BYTES];
    for destination in destinations.iter().filter(|destination| destination.state().mode.is_nat()) {
        let place = place_of_backend(&destination.address().0);
        wanted[place] = true;
        set(filter, place, BACKEND);
    }
    clear_others(filter, &wanted, BACKEND);
}

#[cfg(feature = "std")]
fn place_of_backend(address: &[u32; 4]) -> usize {
    let is_mapped = address[0] | address[1] == 0 && u32::from_be(address[2]) == 0xffff;
    let place = if is_mapped { place(Family::V4, &[address[3], 0, 0, 0]) } else { place(Family::V6, address) };
    place as usize
}

#[cfg(feature = "std")]
fn set(filter: &[Word8], place: usize, bit: u8) {
    filter[place].store(filter[place].load() | bit);
}

#[cfg(feature = "std")]
fn clear_others(filter: &[Word8], wanted: &[bool], bit: u8) {
    for (byte, _) in filter.iter().zip(wanted).filter(|(_, wanted)| !**wanted) {
        byte.store(byte.load() & !bit);
    }
}

/// Names the bytes of all addresses of a prefix.
#[cfg(feature = "std")]
fn mark(family: Family, prefix: [u32; 4], prefix_length: u8, mut set: impl FnMut(usize)) {
    // Host bits are in the last word of an address, which is in network byte order.
    let (width, last) = if family == Family::V4 { (32, 0) } else { (128, 3) };
    let host_bits = width - prefix_length;
    if host_bits > MAX_HOST_BITS {
        return (0..FILTER_BYTES).for_each(set);
    }
    for host in 0..1_u32 << host_bits {
        let mut address = prefix;
        address[last] |= host.to_be();
        set(place(family, &address) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ip::Protocol;

    fn rule(family: Family, prefix: [u32; 4], prefix_length: u8) -> Rule {
        Rule {
            index: 1,
            family,
            prefix,
            prefix_length,
            protocol: Protocol::Tcp,
            first_port: 80,
            last_port: 80,
            hashes_fragments: false,
        }
    }

    fn v4(octets: [u8; 4]) -> [u32; 4] {
        [u32::from_ne_bytes(octets), 0, 0, 0]
    }

    fn filter() -> Vec<Word8> {
        std::iter::repeat_with(Word8::default).take(FILTER_BYTES).collect()
    }

    fn has(filter: &[Word8], family: Family, address: [u32; 4]) -> bool {
        filter[place(family, &address) as usize].load() != 0
    }

    #[test]
    fn every_address_of_every_vip_is_let_through_and_few_others() {
        let filter = filter();
        let v6 = [0x2001_0db8_u32.to_be(), 0, 0, 0x10_u32.to_be()];
        let rules = [rule(Family::V4, v4([192, 0, 2, 0]), 24), rule(Family::V6, v6, 128)];
        widen(&filter, &rules);
        assert!((0..=255).all(|host| has(&filter, Family::V4, v4([192, 0, 2, host]))));
        assert!(has(&filter, Family::V6, v6));
        let others = (0..=255).filter(|host| has(&filter, Family::V4, v4([198, 51, 100, *host]))).count();
        assert!(others < 16, "{others} of 256");
    }

    #[test]
    fn a_wide_prefix_lets_everything_through_until_it_is_gone() {
        let filter = filter();
        let narrow_rule = rule(Family::V4, v4([192, 0, 2, 1]), 32);
        widen(&filter, &[rule(Family::V4, v4([198, 18, 0, 0]), 15), narrow_rule.clone()]);
        assert!(filter.iter().all(|byte| byte.load() & VIP != 0));
        narrow(&filter, &[narrow_rule]);
        assert_eq!(filter.iter().filter(|byte| byte.load() & VIP != 0).count(), 1);
        assert!(has(&filter, Family::V4, v4([192, 0, 2, 1])));
    }
}
