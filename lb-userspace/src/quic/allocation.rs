//! Server ids for backends (draft -21 of QUIC-LB, section 5.1).
//!
//! A backend's id follows from its address and port and a secret that all nodes of a cluster share, so nodes need not talk about
//! ids, and a node that starts anew gives the same ones. The secret keeps an id from telling an address to whoever sees it.
//!
//! Each backend has a walk through all ids: a start and an odd step, both from a hash. In an order that is by hash as well, each takes
//! the first id of its walk that is free. So the ids follow from the set of backends alone, in whatever order they are listed. When a
//! backend comes or goes, others keep their ids, but for those that meet it on their walk: of a thousand backends with ids of 4 octets
//! hardly ever one, with 8 octets none. An id that must never change is given in the configuration and goes before all others.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
};

use lb_common::quic::{ServerId, configuration::MAX_SERVER_ID, octets::Octets};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::Hex;

/// A backend that needs an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The id that the configuration gives it.
    pub fixed: Option<Hex>,
}

/// Why there are no ids.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AllocationError {
    /// There are no ids of so many octets.
    #[error("server ids cannot have {0} octets; use 1 to {MAX_SERVER_ID}")]
    Length(u8),
    /// More backends than ids.
    #[error("server ids of length {length} are too few for {backends} backends; make them longer")]
    TooMany {
        /// Backends.
        backends: usize,
        /// Octets of an id.
        length: u8,
    },
    /// A configured id is of another length than the others.
    #[error("the server id {id} of {backend} has {has} octets; all have {length}: write as many", has = id.0.len())]
    FixedLength {
        /// The id.
        id: Hex,
        /// Whose.
        backend: String,
        /// Octets of an id.
        length: u8,
    },
    /// One id for two backends.
    #[error("{first} and {second} have the same server id {id}; give one of them another, or none")]
    FixedTwice {
        /// The id.
        id: Hex,
        /// Whose.
        first: String,
        /// And whose.
        second: String,
    },
    /// One backend twice.
    #[error("{0} is listed twice; list it once")]
    Twice(String),
}

/// Gives every backend an id of `length` octets, in the order of `backends`.
///
/// # Errors
///
/// [`AllocationError`] for a length that there is not, too many backends, one that is listed twice, and ids in the configuration that
/// cannot be.
pub fn allocate(secret: &[u8], backends: &[Backend], length: u8) -> Result<Vec<ServerId>, AllocationError> {
    if !(1..=MAX_SERVER_ID).contains(&length) {
        return Err(AllocationError::Length(length));
    }
    let bits = 8 * u32::from(length);
    if u128::try_from(backends.len()).is_ok_and(|count| count > 1 << bits) {
        return Err(AllocationError::TooMany { backends: backends.len(), length });
    }
    check_distinct(backends)?;
    let (mut ids, mut taken) = fixed(backends, length)?;
    let mut walks: Vec<(Walk, usize)> = (0..backends.len())
        .filter(|at| ids[*at].is_none())
        .map(|at| (Walk::new(secret, &backends[at], length), at))
        .collect();
    walks.sort_unstable_by_key(|(walk, at)| (walk.step, walk.start, identity(&backends[*at])));
    for (walk, at) in walks {
        // An odd step reaches every id, and there are enough.
        let id = walk.ids(bits).find(|id| taken.insert(*id));
        ids[at] = id;
    }
    Ok(ids.into_iter().flatten().collect())
}

/// Configured ids by place, and as a set.
type Fixed = (Vec<Option<ServerId>>, HashSet<ServerId>);

fn fixed(backends: &[Backend], length: u8) -> Result<Fixed, AllocationError> {
    let mut owners: BTreeMap<ServerId, &Backend> = BTreeMap::new();
    let mut ids = Vec::with_capacity(backends.len());
    for backend in backends {
        let Some(id) = &backend.fixed else {
            ids.push(None);
            continue;
        };
        let octets = ServerId::from_slice(&id.0).filter(|_| id.0.len() == usize::from(length));
        let Some(octets) = octets else {
            return Err(AllocationError::FixedLength { id: id.clone(), backend: name(backend), length });
        };
        if let Some(other) = owners.insert(octets, backend) {
            let (first, second) = (name(other), name(backend));
            return Err(AllocationError::FixedTwice { id: id.clone(), first, second });
        }
        ids.push(Some(octets));
    }
    Ok((ids, owners.into_keys().collect()))
}

fn check_distinct(backends: &[Backend]) -> Result<(), AllocationError> {
    let mut known = HashSet::new();
    match backends.iter().find(|backend| !known.insert(identity(backend))) {
        Some(backend) => Err(AllocationError::Twice(name(backend))),
        None => Ok(()),
    }
}

/// Address and port, IPv4 as IPv6 has it.
fn identity(backend: &Backend) -> ([u8; 16], u16) {
    let octets = match backend.address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    (octets, backend.port)
}

fn name(backend: &Backend) -> String {
    std::net::SocketAddr::new(backend.address, backend.port).to_string()
}

/// The ids that a backend would take, the one it likes best first.
struct Walk {
    start: u128,
    step: u128,
}

impl Walk {
    fn new(secret: &[u8], backend: &Backend, length: u8) -> Self {
        let (address, port) = identity(backend);
        let mut hasher = Sha256::new();
        hasher.update(b"evenkeel quic server id");
        hasher.update([length]);
        hasher.update(address);
        hasher.update(port.to_be_bytes());
        hasher.update(secret);
        let digest: [u8; 32] = hasher.finalize().into();
        let half = |at: usize| digest[at..at + 16].iter().fold(0, |number, octet| number << 8 | u128::from(*octet));
        Self { start: half(0), step: half(16) | 1 }
    }

    /// All ids of so many bits, each once, over and over.
    fn ids(&self, bits: u32) -> impl Iterator<Item = ServerId> {
        let step = self.step;
        let numbers = std::iter::successors(Some(self.start), move |number| Some(number.wrapping_add(step)));
        // The low bits take all values in turn; a server id is at the beginning of its octets.
        numbers.map(move |number| ServerId(Octets::from_u128(number << (128 - bits))))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn backend(number: u32) -> Backend {
        let address = IpAddr::V4((0x0a00_0000 | number >> 4).into());
        Backend { address, port: 443 + (number & 15) as u16, fixed: None }
    }

    fn backends(numbers: impl IntoIterator<Item = u32>) -> Vec<Backend> {
        numbers.into_iter().map(backend).collect()
    }

    fn by_backend(backends: &[Backend], length: u8) -> HashMap<([u8; 16], u16), ServerId> {
        let ids = allocate(b"secret", backends, length).expect("they fit");
        assert_eq!(ids.len(), backends.len());
        backends.iter().map(identity).zip(ids).collect()
    }

    /// Backends of `before` and `after` that have another id in one than in the other.
    fn moved(before: &[Backend], after: &[Backend], length: u8) -> usize {
        let (before, after) = (by_backend(before, length), by_backend(after, length));
        before.iter().filter(|(backend, id)| after.get(*backend).is_some_and(|other| other != *id)).count()
    }

    fn printed(ids: &[ServerId], length: usize) -> Vec<String> {
        ids.iter().map(|id| Hex(id.octets()[..length].to_vec()).to_string()).collect()
    }

    proptest! {
        #[test]
        fn ids_are_distinct_as_long_as_asked_for_and_the_same_in_any_order(
            mut numbers in prop::collection::hash_set(any::<u32>().prop_map(|n| n & 0x00ff_ffff), 0..200)
                .prop_map(|set| set.into_iter().collect::<Vec<_>>())
                .prop_shuffle(),
            length in 1_u8..=15,
        ) {
            let one = by_backend(&backends(numbers.iter().copied()), length);
            let ids: HashSet<ServerId> = one.values().copied().collect();
            prop_assert_eq!(ids.len(), numbers.len());
            for id in ids {
                prop_assert!(id.octets()[usize::from(length)..].iter().all(|octet| *octet == 0));
            }
            numbers.reverse();
            prop_assert_eq!(&one, &by_backend(&backends(numbers.iter().copied()), length));
            numbers.sort_unstable();
            prop_assert_eq!(&one, &by_backend(&backends(numbers), length));
        }

        #[test]
        fn long_ids_stay_when_backends_come_and_go(
            numbers in prop::collection::hash_set(0_u32..1 << 20, 2..200).prop_map(|set| set.into_iter().collect::<Vec<_>>()),
            gone in any::<prop::sample::Index>(),
            length in 8_u8..=15,
        ) {
            let all = backends(numbers);
            let mut fewer = all.clone();
            fewer.remove(gone.index(all.len()));
            prop_assert_eq!(moved(&all, &fewer, length), 0);
        }

        #[test]
        fn short_ids_move_only_where_walks_meet(
            numbers in prop::collection::hash_set(0_u32..1 << 20, 2..=256).prop_map(|set| set.into_iter().collect::<Vec<_>>()),
            gone in any::<prop::sample::Index>(),
        ) {
            let all = backends(numbers);
            let mut fewer = all.clone();
            fewer.remove(gone.index(all.len()));
            let (before, after) = (by_backend(&all, 1), by_backend(&fewer, 1));
            for left in &fewer {
                let (id, other) = (before[&identity(left)], after[&identity(left)]);
                let walk = Walk::new(b"secret", left, 1);
                // With one fewer in the way nobody gets a worse id than before.
                let first = walk.ids(8).find(|step| *step == id || *step == other);
                prop_assert_eq!(first, Some(other));
            }
        }

        #[test]
        fn configured_ids_are_kept(ids in prop::collection::btree_map(0_u32..100, any::<[u8; 2]>(), 0..20)) {
            let mut all = backends(0..100);
            for (at, id) in &ids {
                all[*at as usize].fixed = Some(Hex(id.to_vec()));
            }
            let distinct: HashSet<_> = ids.values().collect();
            let found = allocate(b"secret", &all, 2);
            if distinct.len() < ids.len() {
                prop_assert!(matches!(found, Err(AllocationError::FixedTwice { .. })), "{:?}", found);
            } else {
                let found = found.expect("all distinct");
                prop_assert_eq!(found.iter().collect::<HashSet<_>>().len(), 100);
                for (at, id) in ids {
                    prop_assert_eq!(Some(found[at as usize]), ServerId::from_slice(&id));
                }
            }
        }
    }

    #[test]
    fn every_id_is_used_before_there_are_none() {
        assert_eq!(by_backend(&backends(0..256), 1).values().collect::<HashSet<_>>().len(), 256);
        let error = allocate(b"", &backends(0..257), 1).expect_err("too many");
        assert_eq!(error.to_string(), "server ids of length 1 are too few for 257 backends; make them longer");
    }

    #[test]
    fn few_move_even_where_ids_are_scarce() {
        // 64 of 256 ids in use: one of the others gets a better id, at most, in most cases.
        let all = backends(0..64);
        let total: usize = (0..64)
            .map(|gone| {
                let mut fewer = all.clone();
                fewer.remove(gone);
                moved(&all, &fewer, 1)
            })
            .sum();
        assert!((1..=32).contains(&total), "{total} moves in 64 removals");
    }

    #[test]
    fn ids_are_the_same_in_every_release() {
        let all = [
            Backend { address: "192.0.2.1".parse().expect("an address"), port: 443, fixed: None },
            Backend { address: "2001:db8::1".parse().expect("an address"), port: 443, fixed: None },
            Backend {
                address: "192.0.2.2".parse().expect("an address"),
                port: 443,
                fixed: Some(Hex(vec![0, 0, 0, 7])),
            },
        ];
        let ids = allocate(b"shared by all nodes", &all, 4).expect("they fit");
        assert_eq!(printed(&ids, 4), ["0fa498fe", "cda23dab", "00000007"]);
        assert_ne!(ids, allocate(b"another", &all, 4).expect("they fit"));
    }

    #[test]
    fn mistakes_are_told_with_what_to_do() {
        let told = |backends: &[Backend], length| allocate(b"", backends, length).expect_err("refused").to_string();
        assert_eq!(told(&[], 0), "server ids cannot have 0 octets; use 1 to 15");
        assert_eq!(told(&[], 16), "server ids cannot have 16 octets; use 1 to 15");
        assert_eq!(told(&backends([1, 2, 1]), 4), "10.0.0.0:444 is listed twice; list it once");
        let mapped = Backend { address: "::ffff:10.0.0.0".parse().expect("an address"), ..backend(1) };
        assert_eq!(told(&[backend(1), mapped], 4), "[::ffff:10.0.0.0]:444 is listed twice; list it once");
        let fixed = |number, id: &[u8]| Backend { fixed: Some(Hex(id.to_vec())), ..backend(number) };
        assert_eq!(
            told(&[fixed(1, &[1, 2])], 3),
            "the server id 0102 of 10.0.0.0:444 has 2 octets; all have 3: write as many"
        );
        assert_eq!(
            told(&[fixed(1, &[1, 2]), fixed(2, &[1, 2])], 2),
            "10.0.0.0:444 and 10.0.0.0:445 have the same server id 0102; give one of them another, or none"
        );
    }
}
