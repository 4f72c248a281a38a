//! Members claim slots until every quota is full.

use super::tail::{self, Pair};
use super::{Claimant, mix};

/// One claim, in the fixed-point unit of [`Walker::credit`].
pub(super) const CLAIM: u64 = 1 << 32;

/// A member on its walk through its own permutation of the slots.
pub(super) struct Walker {
    /// The slot it claims next.
    pub(super) position: u32,
    /// Step from one claim to the next, 1 to size - 1.
    pub(super) skip: u32,
    /// Slots it is still owed.
    pub(super) room: u32,
    pub(super) weight: u32,
    /// Part of the next claim that it has saved up, below [`CLAIM`] between rounds.
    pub(super) credit: u64,
    /// Index into the caller's members.
    pub(super) member: u32,
}

/// The table while it is being filled.
pub(super) struct Slots {
    size: u32,
    /// Indices into the caller's members, and one more entry that nobody reads.
    owners: Vec<u32>,
    /// One bit a slot. Most claims near the end hit a taken slot, and this is 32 times smaller than `owners`: it stays
    /// in the first-level cache.
    taken: Vec<u64>,
    free: u32,
}

impl Slots {
    fn new(size: u32) -> Self {
        Self { size, owners: vec![0; size as usize + 1], taken: vec![0; size.div_ceil(64) as usize], free: size }
    }

    /// Gives `slot` to `member` if nobody has it; whether it did.
    ///
    /// Without a branch: whether a slot is free cannot be predicted. A claim that fails writes behind the table.
    #[inline]
    pub(super) fn claim(&mut self, slot: u32, member: u32) -> bool {
        let word = &mut self.taken[(slot >> 6) as usize];
        let free = !*word >> (slot & 63) & 1;
        *word |= 1 << (slot & 63);
        let target = if free == 1 { slot } else { self.size };
        self.owners[target as usize] = member;
        self.free -= free as u32;
        free == 1
    }

    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// The slots that nobody has, ascending.
    pub(super) fn free_slots(&self) -> Vec<u32> {
        let mut slots = Vec::with_capacity(self.free as usize);
        for (&taken, first) in self.taken.iter().zip((0..).step_by(64)) {
            let mut free = !taken;
            while free != 0 {
                slots.push(first + free.trailing_zeros());
                free &= free - 1;
            }
        }
        // The last word has bits behind the table.
        slots.truncate(self.free as usize);
        slots
    }
}

/// Fills a table of `size` slots, `quotas[i]` of them (1 or more, `size` in sum) for `claimants[i]`.
pub(super) fn fill(claimants: &[Claimant], quotas: &[u32], size: u32) -> Vec<u32> {
    let mut slots = Slots::new(size);
    let mut walkers: Vec<Walker> =
        claimants.iter().zip(quotas).map(|(claimant, &room)| Walker::new(claimant, room, size)).collect();
    let pairs_worth_sorting = u64::from(size) / Pair::CLAIMS_SAVED;
    let mut pace = pace_of(&walkers);
    while walkers.len() > 1 && u64::from(slots.free) * walkers.len() as u64 > pairs_worth_sorting {
        if round(&mut walkers, pace, &mut slots) {
            walkers.retain(|walker| walker.room > 0);
            pace = pace_of(&walkers);
        }
    }
    tail::finish(&mut walkers, &mut slots);
    slots.owners.truncate(size as usize);
    slots.owners
}

/// Length of a round: the credit that a walker earns in it for each unit of its weight.
///
/// That is about one claim of each walker on average (exactly one of equals), so a table of members with very different
/// weights takes no more rounds than one of equals. The mean is rounded to a whole number: when a member comes or
/// goes, the others' claims usually fall into the same rounds as before.
fn pace_of(walkers: &[Walker]) -> u64 {
    let total: u64 = walkers.iter().map(|walker| u64::from(walker.weight)).sum();
    CLAIM / (total / walkers.len().max(1) as u64).max(1)
}

/// Every walker makes the claims that are due in one round; whether one of them has its quota full now.
fn round(walkers: &mut [Walker], pace: u64, slots: &mut Slots) -> bool {
    let mut full = false;
    for walker in walkers {
        // Below 2^33 times the number of walkers: no weight is more than that many times the mean.
        walker.credit += u64::from(walker.weight) * pace;
        full |= walker.spend(slots);
    }
    full
}

impl Walker {
    fn new(claimant: &Claimant, room: u32, size: u32) -> Self {
        let (offset, skip) = (mix(claimant.key), mix(!claimant.key));
        Self {
            position: scale(offset, size),
            skip: 1 + scale(skip, size - 1),
            room,
            weight: claimant.weight,
            // A head start of less than one claim, from the low bits: without it members of equal weight that claim
            // less than once in a round would all do so in the same one.
            credit: skip % CLAIM,
            member: claimant.member,
        }
    }

    /// Makes the claims that the credit pays for; whether the last of them filled the quota.
    #[inline]
    fn spend(&mut self, slots: &mut Slots) -> bool {
        let size = slots.size();
        while self.credit >= CLAIM && self.room > 0 {
            self.credit -= CLAIM;
            let slot = self.position;
            self.position += self.skip;
            if self.position >= size {
                self.position -= size;
            }
            self.room -= u32::from(slots.claim(slot, self.member));
        }
        self.room == 0
    }
}

/// Maps the high half of `hash` to 0 .. `limit`, evenly enough (bias below `limit` / 2^32).
fn scale(hash: u64, limit: u32) -> u32 {
    (((hash >> 32) * u64::from(limit)) >> 32) as u32
}
