//! Random numbers that a seed repeats.

/// A sequence of random numbers (SplitMix64; Steele et al., OOPSLA 2014).
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of `EVENKEEL_SEED`, or of a seed from the clock; the seed is printed.
    pub(crate) fn from_environment(name: &str) -> Self {
        let seed = match std::env::var("EVENKEEL_SEED") {
            Ok(text) => text.parse().expect("EVENKEEL_SEED is a number"),
            Err(_) => std::time::UNIX_EPOCH.elapsed().map_or(1, |time| time.as_nanos() as u64),
        };
        println!("{name}: EVENKEEL_SEED={seed}");
        Self(seed)
    }

    /// 64 random bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    /// Another sequence that follows from this one.
    pub(crate) fn next_generator(&mut self) -> Self {
        Self(self.next())
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }
}
