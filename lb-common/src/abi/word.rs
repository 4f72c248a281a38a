//! The fields of records: aligned words that one side changes while the other reads them.
//!
//! On the host they are atomics. For BPF, whose compiler has no atomic loads and stores before cpu v4, they are volatile
//! accesses: one aligned load or store each, never split, repeated or left out, which is what the flow table's check
//! needs ([`crate::flow::entry`]).

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $atomic:ident, $value:ty) => {
        $(#[$doc])*
        #[cfg(not(target_arch = "bpf"))]
        #[derive(Debug, Default)]
        #[repr(transparent)]
        pub struct $name(core::sync::atomic::$atomic);

        #[cfg(not(target_arch = "bpf"))]
        impl $name {
            /// With a value.
            #[must_use]
            pub const fn new(value: $value) -> Self {
                Self(core::sync::atomic::$atomic::new(value))
            }

            /// Its value.
            #[inline(always)]
            #[must_use]
            pub fn load(&self) -> $value {
                self.0.load(core::sync::atomic::Ordering::Relaxed)
            }

            /// Sets it.
            #[inline(always)]
            pub fn store(&self, value: $value) {
                self.0.store(value, core::sync::atomic::Ordering::Relaxed);
            }

            /// Sets it after everything that was written before.
            #[inline(always)]
            pub fn publish(&self, value: $value) {
                self.0.store(value, core::sync::atomic::Ordering::Release);
            }
        }

        $(#[$doc])*
        #[cfg(target_arch = "bpf")]
        #[repr(transparent)]
        pub struct $name(core::cell::UnsafeCell<$value>);

        #[cfg(target_arch = "bpf")]
        #[expect(unsafe_code, reason = "only the kernel's programs and user space share it, by aligned words")]
        // SAFETY: access is one aligned load or store.
        unsafe impl Sync for $name {}

        #[cfg(target_arch = "bpf")]
        #[expect(unsafe_code, reason = "volatile access needs a raw pointer")]
        impl $name {
            /// With a value.
            #[must_use]
            pub const fn new(value: $value) -> Self {
                Self(core::cell::UnsafeCell::new(value))
            }

            /// Its value.
            #[inline(always)]
            #[must_use]
            pub fn load(&self) -> $value {
                // SAFETY: the pointer comes from a live, aligned cell.
                unsafe { self.0.get().read_volatile() }
            }

            /// Sets it.
            #[inline(always)]
            pub fn store(&self, value: $value) {
                // SAFETY: as for `load`; the cell allows writing through a shared reference.
                unsafe { self.0.get().write_volatile(value) }
            }

            /// Sets it after everything that was written before. Programs publish nothing by order.
            #[inline(always)]
            pub fn publish(&self, value: $value) {
                self.store(value);
            }
        }
    };
}

word! {
    /// A byte.
    Word8, AtomicU8, u8
}

word! {
    /// An aligned 32-bit word.
    Word32, AtomicU32, u32
}

word! {
    /// An aligned 64-bit word.
    Word64, AtomicU64, u64
}

impl Word64 {
    /// Adds to it, whoever else does.
    #[inline(always)]
    #[cfg(not(target_arch = "bpf"))]
    pub fn add(&self, value: u64) {
        self.0.fetch_add(value, core::sync::atomic::Ordering::Relaxed);
    }

    /// Adds to it, whoever else does.
    #[inline(always)]
    #[cfg(target_arch = "bpf")]
    #[expect(unsafe_code, reason = "an instruction that the target has and the language does not give")]
    pub fn add(&self, value: u64) {
        // SAFETY: the address is that of a live, aligned cell, which is only accessed by aligned words.
        unsafe {
            core::arch::asm!(
                "lock *(u64 *)({address} + 0) += {value}",
                address = in(reg) self.0.get(),
                value = in(reg) value,
                options(nostack),
            );
        }
    }

    /// Sets it if it has this value; `false`: it has another one.
    #[inline(always)]
    #[cfg(not(target_arch = "bpf"))]
    pub fn exchange(&self, present: u64, value: u64) -> bool {
        use core::sync::atomic::Ordering::AcqRel;
        self.0.compare_exchange(present, value, AcqRel, core::sync::atomic::Ordering::Acquire).is_ok()
    }

    /// Sets it if it has this value; `false`: it has another one.
    #[inline(always)]
    #[cfg(target_arch = "bpf")]
    #[expect(unsafe_code, reason = "an instruction that the target has and the language does not give")]
    pub fn exchange(&self, present: u64, value: u64) -> bool {
        let found: u64;
        // SAFETY: the address is that of a live, aligned cell, which is only accessed by aligned words.
        unsafe {
            core::arch::asm!(
                "r0 = cmpxchg_64({address} + 0, r0, {value})",
                address = in(reg) self.0.get(),
                value = in(reg) value,
                inout("r0") present => found,
                options(nostack),
            );
        }
        found == present
    }
}
