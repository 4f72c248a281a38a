//! Source addresses of `full-nat`: an address keeps its place for as long as flows may have it.

use std::net::IpAddr;

use lb_common::{
    abi::{Control, MAX_POOL, PoolAddress},
    nat::candidate::pool_index,
    parse::Family,
};

use super::{
    desired::{address_of, address_words},
    diff::Planner,
    write::Write,
};

/// Places of one family: the address, and whether new flows may have it.
pub type Pool = Vec<(IpAddr, bool)>;

/// Reads the places of a family that were ever used.
pub(super) fn read(control: &Control, pool: &[PoolAddress], family: Family) -> Pool {
    let places = 0..control.pool(family).min(MAX_POOL);
    let address = |place| pool.get(pool_index(family, place) as usize);
    places.filter_map(address).map(|found| (address_of(family, &found.words()), found.is_open())).collect()
}

impl Planner<'_> {
    /// New addresses get a place, those that go take no new flows. Beyond [`MAX_POOL`], which checking refuses, addresses are left out.
    pub(super) fn plan_pool(&mut self, wanted: &[IpAddr]) {
        for family in [Family::V4, Family::V6] {
            let wanted: Vec<IpAddr> =
                wanted.iter().copied().filter(|address| address_words(*address).0 == family).collect();
            let present = self.actual.pool[family as usize].clone();
            for (place, (address, is_open)) in (0..).zip(&present) {
                let stays = wanted.contains(address);
                if stays != *is_open {
                    self.push(Write::PoolAddress { place, address: *address, is_open: stays });
                }
            }
            for address in wanted {
                if present.iter().any(|(known, _)| *known == address) {
                    continue;
                }
                if let Some(place) = self.free_place(family) {
                    self.push(Write::PoolAddress { place, address, is_open: true });
                }
            }
            // All at once: flows of before are found by the size of before.
            let size = self.actual.pool[family as usize].len() as u32;
            if size != present.len() as u32 {
                self.push(Write::PoolSize { family, size });
            }
        }
    }

    /// A place that was never used, else one that takes no new flows.
    fn free_place(&self, family: Family) -> Option<u32> {
        let pool = &self.actual.pool[family as usize];
        if pool.len() < MAX_POOL as usize {
            return Some(pool.len() as u32);
        }
        pool.iter().position(|(_, is_open)| !is_open).map(|place| place as u32)
    }
}
