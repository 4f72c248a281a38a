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
    abi::{AddressKind, Entry, MAX_SHAPES, Service, Shape, TableHeader},
    environment::Environment,
    features::Features,
    opaque::opaque,
    parse::{Family, Parsed},
    wire::ip::Protocol,
};

/// Finds the service of a packet, and its index.
#[inline(always)]
pub fn find<'a, E: Environment>(env: &'a E, packet: &Parsed) -> Option<(u32, &'a Service)> {
    let header = env.control()?.active();
    let key = service_key(packet);
    let mut index = look_up(env, header, &key);
    if index == Entry::NONE && env.features().has(Features::SHAPES) && header.has_shapes() {
        index = env.find_by_shape(key.pack());
    }
    if index == Entry::NONE { None } else { Some((index, env.service(index)?)) }
}

/// The same where it is rarely asked: by functions of their own.
#[inline(always)]
pub fn find_apart<'a, E: Environment>(env: &'a E, packet: &Parsed) -> Option<(u32, &'a Service)> {
    let key = service_key(packet).pack();
    let mut index = env.find_by_key(key);
    if index == Entry::NONE && env.features().has(Features::SHAPES) {
        index = env.find_by_shape(key);
    }
    if index == Entry::NONE { None } else { Some((index, env.service(index)?)) }
}

#[inline(always)]
fn service_key(packet: &Parsed) -> Key {
    Key {
        family: packet.family,
        address: packet.destination,
        protocol: packet.protocol as u8,
        port: packet.destination_port,
        shape: key::single(packet.family, AddressKind::Service),
    }
}

/// Whether an address is a VIP, of any service or of one with the given protocol.
#[inline(always)]
pub fn is_vip<E: Environment>(env: &E, family: Family, address: &[u32; 4], protocol: Option<Protocol>) -> bool {
    let Some(control) = env.control() else { return false };
    let key = address_key(family, address, protocol);
    look_up(env, control.active(), &key) != Entry::NONE
        || env.features().has(Features::SHAPES) && env.find_by_shape(key.pack()) != Entry::NONE
}

/// The same where it is rarely asked: by functions of their own.
#[inline(always)]
pub fn is_vip_apart<E: Environment>(env: &E, family: Family, address: &[u32; 4], protocol: Option<Protocol>) -> bool {
    owner_apart(env, family, address, protocol) != Entry::NONE
}

/// The service that [`AddressKind::Address`] stands for where it is rarely asked; [`Entry::NONE`] if the address is no VIP.
#[inline(always)]
pub fn owner_apart<E: Environment>(env: &E, family: Family, address: &[u32; 4], protocol: Option<Protocol>) -> u32 {
    let key = address_key(family, address, protocol).pack();
    let index = env.find_by_key(key);
    if index == Entry::NONE && env.features().has(Features::SHAPES) { env.find_by_shape(key) } else { index }
}

#[inline(always)]
fn address_key(family: Family, address: &[u32; 4], protocol: Option<Protocol>) -> Key {
    let protocol = protocol.map_or(0, |protocol| protocol as u8);
    Key { family, address: *address, protocol, port: 0, shape: key::single(family, AddressKind::Address) }
}

/// Tries the shapes in use on a packed key ([`Key::pack`]), most specific first; [`Entry::NONE`] if nothing is found.
///
/// The key stays packed: unpacked, it takes more stack than a chain of calls has.
#[inline(always)]
pub fn by_shape<E: Environment>(env: &E, [ab, cd, rest]: [u64; 3]) -> u32 {
    let Some(control) = env.control() else { return Entry::NONE };
    let kind = Shape::unpack((rest >> 32) as u32).kind;
    let (count, shapes) = control.active().shapes_of(Key::family_of(rest));
    let count = opaque(u64::from(count)).min(MAX_SHAPES as u64);
    let mut i = 0;
    // A loop that the compiler does not write out: that would take stack for what it keeps of each round.
    while i < count {
        let shape = shapes[opaque(i) as usize % MAX_SHAPES].load();
        i += 1;
        if Shape::unpack(shape).kind as u8 != kind as u8 {
            continue;
        }
        let index = env.find_by_key([ab, cd, rest as u32 as u64 | (shape as u64) << 32]);
        if index != Entry::NONE {
            return index;
        }
    }
    Entry::NONE
}

/// Looks up one packed key of any shape; [`Entry::NONE`] if there is nothing.
#[inline(always)]
pub fn by_key<E: Environment>(env: &E, [ab, cd, rest]: [u64; 3]) -> u32 {
    let Some(control) = env.control() else { return Entry::NONE };
    let index = candidate(env, control.active(), &Key::unpack([ab, cd, rest]).masked());
    // Unpacked and masked once more, so that nothing of it is kept on the stack meanwhile.
    let key = Key::unpack([opaque(ab), opaque(cd), opaque(rest)]).masked();
    if index != Entry::NONE && proves(env, index, &key) { index } else { Entry::NONE }
}

/// Looks up one masked key; [`Entry::NONE`] if there is nothing.
#[inline(always)]
fn look_up<E: Environment>(env: &E, header: &TableHeader, key: &Key) -> u32 {
    let index = candidate(env, header, key);
    if index != Entry::NONE && proves(env, index, key) { index } else { Entry::NONE }
}

/// The one service that may have a masked key.
#[inline(always)]
fn candidate<E: Environment>(env: &E, header: &TableHeader, key: &Key) -> u32 {
    let tag = key.hash(env, header.salt.load());
    let Some(bucket) = env.service_bucket(header.bucket_of(tag)) else { return Entry::NONE };
    // The builder gives no two entries of a bucket one tag, so one proof is enough: for the verifier four are four ways.
    let mut index = Entry::NONE;
    for entry in &bucket.entries {
        if entry.tag() == tag {
            index = entry.service();
        }
    }
    index
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
