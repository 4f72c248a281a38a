//! The decapsulator's maps: arrays of one record each.

use aya_ebpf::{
    btf_maps::{Array, PerCpuArray},
    macros::btf_map,
};
use lb_common::decap::{Control, Counters, Environment, List};

/// User space reads and writes it through its own mapping of the memory (`BPF_F_MMAPABLE`).
const MAPPED: usize = 1 << 10;

#[btf_map(name = "DECAP_CONTROL")]
static CONTROL: Array<Control, 1, MAPPED> = Array::new();
#[btf_map(name = "DECAP_COUNTERS")]
pub(crate) static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();

/// The maps, for a packet.
pub(crate) struct Maps;

impl Environment for Maps {
    #[inline(always)]
    fn control(&self) -> Option<&Control> {
        CONTROL.get(0)
    }

    #[inline(always)]
    fn contains(&self, list: List, address: &[u32; 4]) -> bool {
        let pair = |i: usize| address[i] as u64 | (address[i + 1] as u64) << 32;
        list_contains(list.pack(), pair(0), pair(2)) != 0
    }
}

/// A global function: the verifier checks it once, for any argument.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn list_contains(list: u32, ab: u64, cd: u64) -> u32 {
    let address = [ab as u32, (ab >> 32) as u32, cd as u32, (cd >> 32) as u32];
    CONTROL.get(0).is_some_and(|control| List::contains(control, list, &address)) as u32
}
