//! Whether a client of a service is one of its backends: what it is sent by another one would reach it past the node.
//!
//! A set of keyed hashes of (service, address): each lies in one of [`WINDOW`] words from its place on, and a look-up reads all of them.
//! With 64 bits nothing else need be compared. A backend for which there is no room is not found; what it is sent is lost then, as it
//! would be anyway.

use crate::{
    abi::Word64,
    environment::Environment,
    hash::{FlowHash, HashKey, finish, pair},
};
#[cfg(feature = "std")]
use crate::{
    memory::{Constants, Slices},
    parse::Family,
};

/// Words that a look-up reads.
pub const WINDOW: u32 = 8;

/// Words of the set for so many destinations: a power of two.
#[must_use]
pub const fn size_for(destinations: usize) -> usize {
    let wanted = if destinations < WINDOW as usize { WINDOW as usize } else { destinations };
    2 * wanted.next_power_of_two()
}

/// The member of an address, hashed as a client, and a service. Never 0.
#[inline(always)]
const fn member(client: FlowHash, service: u32, key: &HashKey) -> u64 {
    finish(client.tag ^ finish(client.index ^ pair(service, key[0], service, key[1]))) | 1
}

/// Whether the client whose packet was noted is a backend of a service.
#[inline(always)]
pub fn is_backend<E: Environment>(env: &E, service: u32) -> bool {
    let Some(flow) = env.scratch() else { return false };
    let member = member(flow.hash_of_client(env), service, env.hash_key());
    let mut different = 1_u64;
    for turn in 0..WINDOW {
        let found = env.backend_set((member >> 32) as u32 + turn).map_or(0, Word64::load);
        // Zero as soon as one of them is it.
        different = if found == member { 0 } else { different };
    }
    different == 0
}

/// Brings the set up to the destinations in modes that translate: what is missing is written, what is too much is cleared.
#[cfg(feature = "std")]
pub fn refresh(tables: &Slices<'_>, constants: &Constants) {
    let mask = tables.backend_set.len() - 1;
    let mut kept = vec![false; tables.backend_set.len()];
    for destination in tables.destinations.iter().filter(|destination| destination.state().mode.is_nat()) {
        let member = member_of(&destination.address().0, destination.state().service, &constants.hash_key);
        let places = (0..WINDOW as usize).map(|turn| ((member >> 32) as usize + turn) & mask);
        let holds = |place: &usize| tables.backend_set[*place].load() == member;
        let is_free = |place: &usize| !kept[*place] && tables.backend_set[*place].load() == 0;
        let Some(place) = places.clone().find(holds).or_else(|| places.clone().find(is_free)) else { continue };
        tables.backend_set[place].store(member);
        kept[place] = true;
    }
    for (word, _) in tables.backend_set.iter().zip(kept).filter(|(_, kept)| !kept) {
        word.store(0);
    }
}

#[cfg(feature = "std")]
fn member_of(address: &[u32; 4], service: u32, key: &HashKey) -> u64 {
    let is_mapped = address[0] | address[1] == 0 && u32::from_be(address[2]) == 0xffff;
    let (family, address) = if is_mapped { (Family::V4, [address[3], 0, 0, 0]) } else { (Family::V6, *address) };
    member(super::scratch::hash_of_address(key, family, &address), service, key)
}
