//! Where bytes live: the two traits that the XDP context and a plain buffer implement.

/// A packet with its Ethernet header.
pub trait Frame {
    /// A checked range of `N` bytes.
    type Window<'a, const N: usize>: Window
    where
        Self: 'a;

    /// Length in bytes, from the Ethernet header on.
    fn len(&self) -> usize;

    /// Length of the part that windows reach. Longer frames lie in several buffers where the driver allows it.
    #[inline(always)]
    fn linear_len(&self) -> usize {
        self.len()
    }

    /// Whether there is no byte at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `N` bytes from `at` on, or `None` where the frame ends before. This is the one bounds check; access within the
    /// window needs no other.
    fn window<const N: usize>(&self, at: usize) -> Option<Self::Window<'_, N>>;

    /// Moves the beginning of the frame: `by` bytes more in front for a negative, fewer for a positive number.
    /// All windows are void afterwards. What a new byte holds is undefined.
    #[must_use]
    fn move_head(&mut self, by: i32) -> bool;

    /// Cuts or extends the end. All windows are void afterwards.
    #[must_use]
    fn set_len(&mut self, len: usize) -> bool;
}

/// Bytes whose presence was checked. Offsets are relative to the window, and constants: an offset outside of it is a
/// mistake in the program that the verifier and the user-space implementation refuse.
pub trait Window: Copy {
    /// One byte.
    fn u8(self, at: usize) -> u8;
    /// 16 bits in network byte order.
    fn be16(self, at: usize) -> u16;
    /// 32 bits in network byte order.
    fn be32(self, at: usize) -> u32;
    /// 32 bits as they lie in memory, for values that are only compared, hashed or copied.
    fn word(self, at: usize) -> u32;
    /// Sets one byte.
    fn set_u8(self, at: usize, value: u8);
    /// Sets 16 bits in network byte order.
    fn set_be16(self, at: usize, value: u16);
    /// Sets 32 bits in network byte order.
    fn set_be32(self, at: usize, value: u32);
    /// Sets 32 bits as they lie in memory.
    fn set_word(self, at: usize, value: u32);
    /// Sets 64 bits as they lie in memory.
    fn set_word64(self, at: usize, value: u64);
}
