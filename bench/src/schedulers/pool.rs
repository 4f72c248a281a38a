//! Backends with unequal weights that take unequal times.

use std::net::{IpAddr, Ipv4Addr};

/// A backend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Backend {
    /// Its weight.
    pub(super) weight: u16,
    /// How long it takes for a flow, seconds; a flow's own time is up to a fifth more or less.
    pub(super) seconds: f64,
}

/// How long flows take, seconds. No small multiples of these are equal: who comes first of two with the same score is no more than
/// rounding then, and would show where a backend has few flows.
const SECONDS: [f64; 2] = [2.0, 3.7];

/// Weights and times that meet in every combination.
#[must_use]
pub(super) fn unequal(backends: usize) -> Vec<Backend> {
    let backend = |i: usize| Backend { weight: [1, 2, 3, 4][i % 4], seconds: SECONDS[(i / 4 + i) % 2] };
    (0..backends).map(backend).collect()
}

/// Equal ones whose flows never end.
#[must_use]
pub(super) fn endless(backends: usize) -> Vec<Backend> {
    vec![Backend { weight: 1, seconds: f64::INFINITY }; backends]
}

/// The address of the backend with this index.
#[must_use]
pub(super) fn address(index: usize) -> IpAddr {
    IpAddr::V4((u32::from(Ipv4Addr::new(10, 0, 0, 1)) + index as u32).into())
}

/// The index behind the last bytes of an address.
#[must_use]
pub(super) const fn index([b, c, d]: [u8; 3]) -> usize {
    (u32::from_be_bytes([0, b, c, d]) - 1) as usize
}

/// Each weight's part of the sum.
#[must_use]
pub(super) fn by_weight(backends: &[Backend]) -> Vec<f64> {
    let sum: f64 = backends.iter().map(|backend| f64::from(backend.weight)).sum();
    backends.iter().map(|backend| f64::from(backend.weight) / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weight_meets_every_time() {
        let pool = unequal(8);
        for weight in 1..=4 {
            for seconds in SECONDS {
                assert!(pool.contains(&Backend { weight, seconds }), "{weight}, {seconds}");
            }
        }
    }

    #[test]
    fn addresses_and_indexes_belong_together() {
        for at in [0, 7, 254, 255, 256, 70_000] {
            let IpAddr::V4(found) = address(at) else { panic!("IPv4") };
            let [_, b, c, d] = found.octets();
            assert_eq!(index([b, c, d]), at);
        }
    }
}
