//! Read-only globals: set before the object is loaded and frozen then, so the verifier takes them for constants and
//! removes what they switch off.

use core::ptr;

use lb_common::hash::KEY_WORDS;

/// Key of the flow hash.
#[unsafe(no_mangle)]
static HASH_KEY: [u32; KEY_WORDS] = [0; KEY_WORDS];
/// Flow buckets less one.
#[unsafe(no_mangle)]
static FLOW_MASK: u32 = 0;
/// Jiffies are shifted by this to ticks.
#[unsafe(no_mangle)]
static TICK_SHIFT: u32 = 0;
/// Ticks in a second.
#[unsafe(no_mangle)]
static TICKS_PER_SECOND: u32 = 1;

/// A word of the hash key.
#[inline(always)]
pub(crate) fn hash_word(index: usize) -> u32 {
    read(&HASH_KEY[index])
}

/// Flow buckets less one.
#[inline(always)]
pub(crate) fn flow_mask() -> u32 {
    read(&FLOW_MASK)
}

/// The clock's shift.
#[inline(always)]
pub(crate) fn tick_shift() -> u32 {
    read(&TICK_SHIFT)
}

/// Ticks in a second.
#[inline(always)]
pub(crate) fn ticks_per_second() -> u32 {
    read(&TICKS_PER_SECOND)
}

/// The compiler sees only the initial value of these statics and must not use it.
#[inline(always)]
fn read(global: &u32) -> u32 {
    // SAFETY: the pointer comes from a reference.
    unsafe { ptr::read_volatile(ptr::from_ref(global)) }
}
