//! Files for downloads whose every byte is known to the client.

use std::sync::Arc;

/// Bytes that look random and depend only on the seed.
#[derive(Clone, Debug)]
pub struct Content {
    bytes: Arc<[u8]>,
}

impl Content {
    /// `size` bytes. Different seeds give different bytes.
    pub fn generate(seed: u64, size: usize) -> Self {
        let words = (0..size.div_ceil(8) as u64).flat_map(|index| mix(seed.rotate_left(32) ^ index).to_le_bytes());
        Self { bytes: words.take(size).collect() }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The output function of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
fn mix(index: u64) -> u64 {
    let mut z = index.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_size_and_depends_on_the_seed_only() {
        let (a, again, b) = (Content::generate(1, 1001), Content::generate(1, 1001), Content::generate(2, 1001));
        assert_eq!(a.bytes().len(), 1001);
        assert_eq!(a.bytes(), again.bytes());
        assert_ne!(a.bytes(), b.bytes());
    }
}
