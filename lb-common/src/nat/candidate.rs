//! Where a flow may have its slot: the buckets that it tries, one after another ([`super::table`] says why these).

use super::{ports, scratch::Scratch};
use crate::{
    abi::{Destination, MAX_POOL, NAT_BUCKET},
    environment::Environment,
    flow,
    hash::{FlowHash, FlowKey, finish},
    parse::Family,
    wire::ip::Protocol,
};

/// Buckets that a flow tries for a port.
pub const TRIES: u32 = 16;
/// The first port of the pool's addresses that flows get; all up to 65 535 follow.
pub const FIRST_PORT: u32 = 1024;
const GROUPS: u32 = (1 << 16) / NAT_BUCKET as u32;
const FIRST_GROUP: u32 = FIRST_PORT / NAT_BUCKET as u32;

/// A 5-tuple as it is hashed.
#[derive(Clone, Copy)]
struct V4(u32, u32, u32, Protocol);

#[derive(Clone, Copy)]
struct V6<'a>(&'a [u32; 4], &'a [u32; 4], u32, Protocol);

macro_rules! key {
    ($name:ty, $family:ident, $self:ident, $index:ident, $source:expr, $destination:expr) => {
        impl FlowKey for $name {
            const FAMILY: Family = Family::$family;

            #[inline(always)]
            fn source($self, $index: usize) -> u32 {
                $source
            }

            #[inline(always)]
            fn destination($self, $index: usize) -> u32 {
                $destination
            }

            #[inline(always)]
            fn ports($self) -> u32 {
                $self.2
            }

            #[inline(always)]
            fn protocol($self) -> u32 {
                $self.3 as u32
            }
        }
    };
}

key!(V4, V4, self, _index, self.0, self.1);
key!(V6<'_>, V6, self, index, self.0[index], self.1[index]);

/// The hash of any 5-tuple.
#[inline(always)]
pub(super) fn hash<E: Environment>(
    env: &E,
    family: Family,
    source: &[u32; 4],
    destination: &[u32; 4],
    ports: u32,
    protocol: Protocol,
) -> FlowHash {
    match family {
        Family::V4 => FlowHash::of_key(env, V4(source[0], destination[0], ports, protocol)),
        Family::V6 => FlowHash::of_key(env, V6(source, destination, ports, protocol)),
    }
}

/// The bucket that a backend's ports at an address of the pool begin at.
#[inline(always)]
fn base<E: Environment>(
    env: &E,
    family: Family,
    backend: &[u32; 4],
    port: u16,
    pool: &[u32; 4],
    protocol: Protocol,
) -> u32 {
    finish(hash(env, family, backend, pool, ports(port, 0), protocol).index) as u32
}

/// The address of a destination as packets of a family have it, and its port; `otherwise` if it has none of its own.
#[inline(always)]
#[must_use]
pub fn backend(family: Family, destination: &Destination, otherwise: u16) -> ([u32; 4], u16) {
    let (address, port) = destination.address();
    let address = match family {
        Family::V4 => [address[3], 0, 0, 0],
        Family::V6 => address,
    };
    (address, if port == 0 { otherwise } else { port })
}

/// The bucket at which the ports of a destination at a place of the pool begin. `kind` is `kind_of` the flow.
#[inline(always)]
fn base_of<E: Environment>(env: &E, id: u32, place: u32, kind: u32) -> u32 {
    let (family, protocol) = (family_of(kind), protocol_of(kind));
    let (Some(destination), Some(pool)) = (env.destination(id), env.pool_address(pool_index(family, place))) else {
        return 0;
    };
    let (backend, port) = backend(family, destination, kind as u16);
    base(env, family, &backend, port, &pool.words(), protocol)
}

/// Family, protocol and the service's port as a number.
#[inline(always)]
fn kind_of(flow: &Scratch) -> u32 {
    flow.second_port() as u32 | (flow.family() as u32) << 16 | (flow.protocol() as u32) << 17
}

#[inline(always)]
const fn family_of(kind: u32) -> Family {
    if kind >> 16 & 1 == 0 { Family::V4 } else { Family::V6 }
}

#[inline(always)]
const fn protocol_of(kind: u32) -> Protocol {
    if kind >> 17 == Protocol::Udp as u32 { Protocol::Udp } else { Protocol::Tcp }
}

/// The place of the pool that a client's flows try first: one for all of them, so that a fragment without ports has it, too.
#[inline(always)]
pub(super) fn client_place<E: Environment>(env: &E, flow: &Scratch) -> u32 {
    let count = env.control().map_or(0, |control| control.pool(flow.family()));
    scaled(client_hash(env, flow), count)
}

#[inline(always)]
pub(super) fn client_hash<E: Environment>(env: &E, flow: &Scratch) -> u32 {
    (finish(flow.hash_of_client(env).index) >> 32) as u32
}

/// A number below `count` from a random one (Lemire, 2019).
#[inline(always)]
const fn scaled(random: u32, count: u32) -> u32 {
    ((random as u64 * count as u64) >> 32) as u32
}

/// Where a flow may have its slot, as a number: the bucket, the first of eight ports, the place in the pool, and that there is one.
#[derive(Clone, Copy)]
pub(super) struct Candidate(pub(super) u64);

impl Candidate {
    pub(super) const NONE: Self = Self(0);

    #[inline(always)]
    const fn of(bucket: u32, place: u32, group: u32) -> Self {
        Self(1 << 63 | (place as u64) << 48 | (group as u64) << 32 | bucket as u64)
    }

    #[inline(always)]
    pub(super) const fn bucket(self) -> u32 {
        self.0 as u32
    }

    /// The first of eight ports.
    #[inline(always)]
    pub(super) const fn port(self) -> u32 {
        (self.0 >> 32) as u32 % (1 << 16) * NAT_BUCKET as u32
    }

    #[inline(always)]
    pub(super) const fn place(self) -> u32 {
        (self.0 >> 48) as u32 & (MAX_POOL - 1)
    }
}

/// Where the flow that was noted may have its slot. The turns from [`TRIES`] on are those that it has by the pool's size before the last
/// change.
#[inline(always)]
pub fn candidate<E: Environment>(env: &E, turn: u32) -> u64 {
    let Some(flow) = env.scratch() else { return Candidate::NONE.0 };
    let found = if flow.is_full() { port_candidate(env, flow, turn) } else { pair_candidate(flow.index.load(), turn) };
    found.0
}

#[inline(always)]
fn port_candidate<E: Environment>(env: &E, flow: &Scratch, turn: u32) -> Candidate {
    let Some(control) = env.control() else { return Candidate::NONE };
    let count = if turn < TRIES { control.pool(flow.family()) } else { control.pool_before(flow.family()) };
    if count == 0 {
        return Candidate::NONE;
    }
    let turn = turn & (TRIES - 1);
    let random = finish(flow.index.load().wrapping_add((turn as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let chooser = if turn < TRIES / 2 { flow.client.load() } else { (random >> 32) as u32 };
    let place = scaled(chooser, count);
    let group = FIRST_GROUP + scaled(random as u32, GROUPS - FIRST_GROUP);
    let base = base_of(env, flow.id.load(), place, kind_of(flow));
    Candidate::of(base.wrapping_add(group) & env.nat_mask(), place, group)
}

#[inline(always)]
fn pair_candidate(pair: u64, turn: u32) -> Candidate {
    match turn {
        0 => Candidate::of(pair as u32, 0, 0),
        1 => Candidate::of((pair >> 32) as u32, 0, 0),
        _ => Candidate::NONE,
    }
}

/// The two buckets of a reply's hash, the first one in the low half.
#[inline(always)]
pub(super) fn pair_of<E: Environment>(env: &E, reply: FlowHash) -> u64 {
    let mask = env.nat_mask();
    let first = flow::table::first_bucket(reply, mask);
    first as u64 | (flow::table::other_bucket(first, reply.tag, mask) as u64) << 32
}

/// The index of a place in the pool of a family.
#[inline(always)]
#[must_use]
pub const fn pool_index(family: Family, place: u32) -> u32 {
    family as u32 * MAX_POOL + place
}
