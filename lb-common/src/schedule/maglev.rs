//! Weighted Maglev tables: consistent hashing by a prepared slot table (Eisenbud et al., "Maglev: A Fast and Reliable
//! Software Network Load Balancer", NSDI 2016, section 3.4).
//!
//! A flow's hash picks a slot; the slot names the backend. The data path only reads finished slots; this module makes
//! them. A table depends on the identities and weights of the members and on nothing else, so every node of a cluster
//! builds the same one.
//!
//! # How a table is filled
//!
//! Every member gets an exact quota of slots first (`quota.rs`), then the members claim slots until each quota is
//! full (`fill.rs`): each walks its own permutation of the table, in the paper's form (offset and skip from its id),
//! one step at a time, at a rate in proportion to its weight.
//!
//! It departs from the paper in one point. There a member whose claim fails goes on until one succeeds, so each
//! failure pulls all of its later claims forward, and a change anywhere spreads through the rest of the table. Here a
//! failed claim is a turn spent: *when* a member claims a slot depends on that member alone, so a slot changes hands
//! only if a claim before its owner's came, went, or was cut off by a quota.
//!
//! # Measured disruption
//!
//! Slots that change, in percent of the table: mean (largest) over the members changed, as `cargo bench --bench maglev`
//! prints it. "Must" is the share that changes owner whatever the algorithm, in the mean. "Published" is the plain
//! unweighted algorithm with the same ids; for the weighted rows it has no figure.
//!
//! | size | members | change | here | published | must |
//! |---|---|---|---|---|---|
//! | 65537 | 10 | one of equals removed | 10.12 (10.13) | 10.27 (10.35) | 10.00 |
//! | 65537 | 100 | one of equals removed | 1.30 (1.37) | 1.56 (1.60) | 1.00 |
//! | 65537 | 100 | one of weights 1 to 10 removed | 1.27 (2.19) | | 1.00 (1.82) |
//! | 65537 | 100 | weight of one of equals doubled | 1.28 (1.37) | | 0.98 |
//! | 65537 | 1000 | one of equals removed | 0.43 (0.45) | 0.66 (0.70) | 0.10 |
//! | 65537 | 1000 | one of weights 1 to 10 removed | 0.41 (0.68) | | 0.10 (0.18) |
//! | 65537 | 1000 | weight of one of equals doubled | 0.43 (0.46) | | 0.10 |
//! | 655373 | 100 | one of equals removed | 1.08 (1.09) | 1.14 (1.15) | 1.00 |
//! | 655373 | 1000 | one of equals removed | 0.23 (0.24) | 0.43 (0.44) | 0.10 |
//!
//! # Choosing a size
//!
//! [`table_size_for`] gives at least 100 slots to each backend, which bounds the imbalance by rounding to 1 %. A
//! larger table moves less on a change, at the price of memory and cache.

mod fill;
mod quota;
mod tail;

use std::fmt;

/// The table sizes, ascending. Each is prime: only then does every skip reach every slot.
pub const TABLE_SIZES: [u32; 12] = [251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65537, 131071, 262139, 655373];

/// Slots that [`table_size_for`] wants for each backend (the paper's "M > 100 × N").
const SLOTS_PER_BACKEND: usize = 100;

/// A backend as the table builder sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Identity of the backend, the same on every node and across restarts: see [`member_id`].
    pub id: u64,
    /// Share of new flows relative to the other members; 0 takes no new flows.
    pub weight: u32,
}

/// Why no table was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaglevError {
    /// The size is not one of [`TABLE_SIZES`].
    Size(u32),
    /// Two members have this id, whatever their weights.
    DuplicateId(u64),
    /// More members with a weight above 0 than slots: each of them is owed at least one.
    TooManyMembers {
        /// Members with a weight above 0.
        members: usize,
        /// Slots of the table.
        size: u32,
    },
}

impl fmt::Display for MaglevError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(size) => write!(f, "{size} is not a Maglev table size; sizes are {TABLE_SIZES:?}"),
            Self::DuplicateId(id) => write!(f, "two members have the id {id:#018x}"),
            Self::TooManyMembers { members, size } => {
                write!(f, "{members} members with a weight do not fit into a Maglev table of {size} slots")
            }
        }
    }
}

impl std::error::Error for MaglevError {}

/// The smallest of [`TABLE_SIZES`] with at least 100 slots for each of `backends`, or the largest (655373) if none has.
pub fn table_size_for(backends: usize) -> u32 {
    let wanted = backends.saturating_mul(SLOTS_PER_BACKEND);
    let largest = TABLE_SIZES[TABLE_SIZES.len() - 1];
    TABLE_SIZES.into_iter().find(|&size| size as usize >= wanted).unwrap_or(largest)
}

/// Builds a table of `size` slots, each the index into `members` of the member that owns it.
///
/// Empty if no member has a weight above 0. A member of weight 0 owns no slot. With `share = size · weight / Σ weight`:
///
/// - if every share is at least 1, a member owns `⌊share⌋` or `⌈share⌉` slots;
/// - otherwise each member whose share is below 1 owns exactly one slot, these slots and members are set aside, and the
///   rule is applied again to the slots and members that are left.
///
/// Hence every member of weight above 0 owns at least one slot, and members of equal weight differ by at most one.
///
/// # Errors
///
/// Refuses a `size` that is not in [`TABLE_SIZES`], an id that occurs twice, and more members with a weight above 0
/// than there are slots.
pub fn build(members: &[Member], size: u32) -> Result<Vec<u32>, MaglevError> {
    let claimants = checked(members, size)?;
    if claimants.is_empty() {
        return Ok(Vec::new());
    }
    let weights: Vec<u32> = claimants.iter().map(|claimant| claimant.weight).collect();
    Ok(fill::fill(&claimants, &quota::quotas(&weights, size), size))
}

/// Whether [`build`] makes a table of these, at a small part of the cost.
///
/// # Errors
///
/// As there.
pub fn check(members: &[Member], size: u32) -> Result<(), MaglevError> {
    checked(members, size).map(drop)
}

fn checked(members: &[Member], size: u32) -> Result<Vec<Claimant>, MaglevError> {
    if !TABLE_SIZES.contains(&size) {
        return Err(MaglevError::Size(size));
    }
    let claimants = claimants(members)?;
    if claimants.len() > size as usize {
        return Err(MaglevError::TooManyMembers { members: claimants.len(), size });
    }
    Ok(claimants)
}

/// Identity of the backend at `address` (IPv4 as IPv4-mapped IPv6, RFC 4291 section 2.5.5.2) and `port`.
///
/// The same on every node, in every version and on every architecture: a change here moves flows all over a cluster.
/// Every input bit changes each output bit with probability one half. Not keyed, so not a defence against
/// somebody who may choose backend addresses.
pub fn member_id(address: &[u8; 16], port: u16) -> u64 {
    let address = u128::from_be_bytes(*address);
    let high = mix((address >> 64) as u64);
    let low = mix(high ^ address as u64);
    mix(low ^ u64::from(port))
}

/// A member with a weight above 0, in the order of [`claimants`].
struct Claimant {
    /// The id, mixed: bijective, so still unique, and well spread whatever the caller's ids look like.
    key: u64,
    weight: u32,
    /// Index into the caller's members.
    member: u32,
}

/// The members that take part, in an order that depends on their ids only.
fn claimants(members: &[Member]) -> Result<Vec<Claimant>, MaglevError> {
    let mut all: Vec<Claimant> = members
        .iter()
        .zip(0..)
        .map(|(member, index)| Claimant { key: mix(member.id), weight: member.weight, member: index })
        .collect();
    all.sort_unstable_by_key(|claimant| claimant.key);
    if let Some(pair) = all.windows(2).find(|pair| pair[0].key == pair[1].key) {
        return Err(MaglevError::DuplicateId(members[pair[0].member as usize].id));
    }
    all.retain(|claimant| claimant.weight > 0);
    Ok(all)
}

/// The finalizer of SplitMix64 (Steele et al., OOPSLA 2014): bijective, full avalanche.
fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
