//! Sizes of slot tables.

use super::super::model::{Scheduler, Service};

/// Sizes of Maglev tables: primes, as the permutation needs (Eisenbud et al., NSDI 2016, section 3.4).
pub(super) const TABLE_SIZES: [u32; 12] =
    [251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65537, 131071, 262139, 655373];

/// Slots of a service's table.
pub(super) fn slots(service: &Service) -> u32 {
    let Scheduler::Maglev { table_size } = service.scheduler;
    table_size.unwrap_or_else(|| size_for(service.backends.len()))
}

/// The smallest table with 100 slots for each backend, which keeps shares within 1 %; else the largest.
fn size_for(backends: usize) -> u32 {
    let wanted = backends.saturating_mul(100);
    let largest = TABLE_SIZES[TABLE_SIZES.len() - 1];
    TABLE_SIZES.into_iter().find(|&size| size as usize >= wanted).unwrap_or(largest)
}
