//! Values that the compiler must take as they come.

/// Returns its argument, and the compiler cannot tell. It costs a move between registers, where [`core::hint::black_box`]
/// goes through the stack. (No instruction at all would do, but then two lines of the source have one address, which the
/// kernel does not accept.)
///
/// It is for where the verifier knows less than the compiler (a bound that the compiler proves and drops), or the
/// compiler less than the loader (a read-only global), and to have a value computed at a certain place.
#[inline(always)]
#[must_use]
#[cfg(target_arch = "bpf")]
#[expect(unsafe_code, reason = "a line of assembly")]
pub fn opaque(value: u64) -> u64 {
    let same: u64;
    // SAFETY: a move between registers.
    unsafe { core::arch::asm!("{0} = {1}", out(reg) same, in(reg) value, options(pure, nomem, nostack)) };
    same
}

/// Returns its argument.
#[inline(always)]
#[must_use]
#[cfg(not(target_arch = "bpf"))]
pub const fn opaque(value: u64) -> u64 {
    value
}
