//! Read-only globals: set before the object is loaded and frozen then, so the verifier takes them for constants and
//! removes what they switch off.

use lb_common::{features::Features, hash::KEY_WORDS, opaque::opaque};

/// Key of the flow hash.
#[unsafe(no_mangle)]
static HASH_KEY: [u32; KEY_WORDS] = [0; KEY_WORDS];
/// The bits of [`Features`].
#[unsafe(no_mangle)]
static FEATURES: u32 = 0;
/// Flow buckets less one.
#[unsafe(no_mangle)]
static FLOW_MASK: u32 = 0;
/// Words of the set of backends less one.
#[unsafe(no_mangle)]
static BACKEND_MASK: u32 = 0;
/// Buckets of translated flows less one.
#[unsafe(no_mangle)]
static NAT_MASK: u32 = 0;
/// Buckets of the table of fragments less one.
#[unsafe(no_mangle)]
static FRAGMENT_MASK: u32 = 0;
/// Ticks after which the first part of a datagram is forgotten.
#[unsafe(no_mangle)]
static FRAGMENT_TIMEOUT: u32 = 0;
/// Buckets of the table of server ids less one.
#[unsafe(no_mangle)]
static QUIC_MASK: u32 = 0;
/// Buckets of client prefixes less one.
#[unsafe(no_mangle)]
static CLIENT_MASK: u32 = 0;
/// Jiffies are shifted by this to ticks.
#[unsafe(no_mangle)]
static TICK_SHIFT: u32 = 0;
/// Ticks in a second.
#[unsafe(no_mangle)]
static TICKS_PER_SECOND: u32 = 1;

/// The key. The compiler sees only the initial value of these statics and must not use it, so their address is opaque; it
/// may load the words in any order then, which volatile reads would forbid.
#[inline(always)]
pub(crate) fn hash_key() -> &'static [u32; KEY_WORDS] {
    let address = opaque((&raw const HASH_KEY) as u64);
    // SAFETY: the address is that of the static.
    unsafe { &*(address as *const [u32; KEY_WORDS]) }
}

/// What the configuration uses.
#[inline(always)]
pub(crate) fn features() -> Features {
    Features::from_bits(read(&FEATURES))
}

/// Whether frames may lie in several buffers.
#[inline(always)]
pub(crate) fn has_long_frames() -> bool {
    features().has(Features::LONG_FRAMES)
}

/// Flow buckets less one.
#[inline(always)]
pub(crate) fn flow_mask() -> u32 {
    read(&FLOW_MASK)
}

/// Words of the set of backends less one.
#[inline(always)]
pub(crate) fn backend_mask() -> u32 {
    read(&BACKEND_MASK)
}

/// Buckets of translated flows less one.
#[inline(always)]
pub(crate) fn nat_mask() -> u32 {
    read(&NAT_MASK)
}

/// Buckets of the table of fragments less one.
#[inline(always)]
pub(crate) fn fragment_mask() -> u32 {
    read(&FRAGMENT_MASK)
}

/// Ticks after which the first part of a datagram is forgotten.
#[inline(always)]
pub(crate) fn fragment_timeout() -> u32 {
    read(&FRAGMENT_TIMEOUT)
}

/// Buckets of the table of server ids less one.
#[inline(always)]
pub(crate) fn quic_mask() -> u32 {
    read(&QUIC_MASK)
}

/// Buckets of client prefixes less one.
#[inline(always)]
pub(crate) fn client_mask() -> u32 {
    read(&CLIENT_MASK)
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

#[inline(always)]
fn read(global: &u32) -> u32 {
    // SAFETY: the pointer comes from a reference.
    unsafe { core::ptr::read_volatile(core::ptr::from_ref(global)) }
}
