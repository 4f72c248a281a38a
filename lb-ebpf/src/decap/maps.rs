//! The decapsulator's maps: arrays of one record each.

use aya_ebpf::{
    btf_maps::{Array, PerCpuArray},
    macros::btf_map,
};
use lb_common::decap::{Control, Counters, Environment};

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
}
