//! Whose packet is it: from address, protocol and port to a service.
//!
//! All services are in one table of 64-byte buckets that user space builds ([`builder`]) so that no bucket overflows. An
//! entry is found by the keyed hash of (masked address, protocol, masked port, shape) and proven by the service's own
//! record. A single address with a single port is tried first: one cache line, and for most packets the answer. Prefixes
//! and ranges of ports are found by trying the *shapes* in use (tuple space search; Srinivasan et al., SIGCOMM 1999),
//! longest prefix first, then the fewest ports. A configuration without them does not pay for them.

#[cfg(feature = "std")]
pub mod builder;
pub mod filter;
pub mod key;

pub use key::Key;

use crate::{
    abi::{AddressKind, Entry, Service, Shape, TableHeader},
    environment::Environment,
    features::Features,
    parse::{Family, Parsed},
    wire::ip::Protocol,
};

/// Finds the service of a packet, and its index.
#[inline(always)]
pub fn find<'a, E: Environment>(env: &'a E, packet: &Parsed) -> Option<(u32, &'a Service)> {
    let header = env.control()?.active();
    let family = packet.family;
    let key = Key {
        family,
        address: packet.destination,
        protocol: packet.protocol as u8,
        port: packet.destination_port,
        shape: key::single(family, AddressKind::Service),
    };
    let mut index = look_up(env, header, &key);
    if index == Entry::NONE && env.features().has(Features::SHAPES) && header.has_shapes() {
        index = env.find_by_shape(&key);
    }
    if index == Entry::NONE { None } else { Some((index, env.service(index)?)) }
}

/// Whether an address is a VIP, of any service or of one with the given protocol.
#[inline(always)]
pub fn is_vip<E: Environment>(env: &E, family: Family, address: &[u32; 4], protocol: Option<Protocol>) -> bool {
    let Some(control) = env.control() else { return false };
    let key = address_key(family, address, protocol);
    look_up(env, control.active(), &key) != Entry::NONE
        || env.features().has(Features::SHAPES) && env.find_by_shape(&key) != Entry::NONE
}

/// The same where it is rarely asked: by functions of their own.
#[inline(always)]
pub fn is_vip_apart<E: Environment>(env: &E, family: Family, address: &[u32; 4], protocol: Option<Protocol>) -> bool {
    let key = address_key(family, address, protocol);
    env.find_by_key(&key) != Entry::NONE
        || env.features().has(Features::SHAPES) && env.find_by_shape(&key) != Entry::NONE
}

#[inline(always)]
fn address_key(family: Family, address: &[u32; 4], protocol: Option<Protocol>) -> Key {
    let protocol = protocol.map_or(0, |protocol| protocol as u8);
    Key { family, address: *address, protocol, port: 0, shape: key::single(family, AddressKind::Address) }
}

/// Tries the shapes in use, most specific first; [`Entry::NONE`] if nothing is found.
#[inline(always)]
pub fn by_shape<E: Environment>(env: &E, key: &Key) -> u32 {
    let Some(control) = env.control() else { return Entry::NONE };
    let header = control.active();
    let (count, shapes) = header.shapes_of(key.family);
    for (i, word) in shapes.iter().enumerate() {
        if i as u32 >= count {
            break;
        }
        let shape = Shape::unpack(word.load());
        if shape.kind as u8 != key.shape.kind as u8 {
            continue;
        }
        let index = env.find_by_key(&Key { shape, ..*key });
        if index != Entry::NONE {
            return index;
        }
    }
    Entry::NONE
}

/// Looks up one key of any shape; [`Entry::NONE`] if there is nothing.
#[inline(always)]
pub fn by_key<E: Environment>(env: &E, key: &Key) -> u32 {
    let Some(control) = env.control() else { return Entry::NONE };
    look_up(env, control.active(), &key.masked())
}

/// Looks up one masked key; [`Entry::NONE`] if there is nothing.
#[inline(always)]
fn look_up<E: Environment>(env: &E, header: &TableHeader, key: &Key) -> u32 {
    let (salt, offset, mask) = header.place();
    let tag = key.hash(env, salt);
    let Some(bucket) = env.service_bucket(offset.wrapping_add(tag as u32 & mask)) else { return Entry::NONE };
    for entry in &bucket.entries {
        let index = entry.service();
        if entry.tag() == tag && index != Entry::NONE && proves(env, index, key) {
            return index;
        }
    }
    Entry::NONE
}

/// Whether a service's own record agrees with a key whose tag it has.
#[inline(always)]
fn proves<E: Environment>(env: &E, index: u32, key: &Key) -> bool {
    let Some(service) = env.service(index) else { return false };
    service.has_prefix(key.family, &key.address)
        && match key.shape.kind {
            AddressKind::Service => service.takes(key.family, key.protocol, key.port),
            AddressKind::Address => service.prefix_length() == key.shape.address_bits,
        }
}
