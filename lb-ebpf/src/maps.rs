//! The maps. Sizes given here are the least that works; the daemon sets the real ones before it loads the object.

use aya_ebpf::{
    btf_maps::{Array, DevMap, PerCpuArray},
    macros::btf_map,
};
use lb_common::{
    abi::{
        ClientBucket, Control, Destination, DestinationCounters, Egress, LimitCounters, ListBound, MAX_EGRESS,
        MAX_POOL, NatBucket, NatSlots, NodeCounters, PassiveCounters, PoolAddress, QUIC_PLACES, QuicBucket,
        ReplyBudget, Score, Service, ServiceBucket, ServiceLimits, SlotPair, Tunnel, Word32, Word64,
    },
    flow::FlowBucket,
    nat::scratch::Scratch,
    quic::QuicLb,
};

/// User space reads and writes these through its own mapping of the memory (`BPF_F_MMAPABLE`).
const MAPPED: usize = 1 << 10;

#[btf_map]
pub(crate) static CONTROL: Array<Control, 1, MAPPED> = Array::new();
#[btf_map]
pub(crate) static SERVICE_BUCKETS: Array<ServiceBucket, 1, MAPPED> = Array::new();
#[btf_map]
pub(crate) static SERVICES: Array<Service, 1, MAPPED> = Array::new();
/// Two slots an element: the kernel rounds elements up to eight bytes.
#[btf_map]
pub(crate) static SLOTS: Array<SlotPair, 1, MAPPED> = Array::new();
#[btf_map]
pub(crate) static DESTINATIONS: Array<Destination, 1, MAPPED> = Array::new();
#[btf_map]
pub(crate) static TUNNELS: Array<Tunnel, 1, MAPPED> = Array::new();
#[btf_map]
pub(crate) static EGRESS: Array<Egress, { MAX_EGRESS as usize }, MAPPED> = Array::new();
#[btf_map]
pub(crate) static EGRESS_DEVICES: DevMap<{ MAX_EGRESS as usize }> = DevMap::new();
#[btf_map]
pub(crate) static FLOWS: Array<FlowBucket, 1, MAPPED> = Array::new();
#[btf_map]
pub(crate) static NAT_BUCKETS: Array<NatBucket, 1, MAPPED> = Array::new();
#[btf_map]
pub(crate) static NAT_SLOTS: Array<NatSlots, 1, MAPPED> = Array::new();
#[btf_map]
pub(crate) static NAT_POOL: Array<PoolAddress, { 2 * MAX_POOL as usize }, MAPPED> = Array::new();
#[btf_map]
pub(crate) static BACKEND_SET: Array<Word64, 1, MAPPED> = Array::new();
#[btf_map]
pub(crate) static NAT_SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static FRAGMENTS: Array<FlowBucket, 1, MAPPED> = Array::new();
/// User space writes them as [`lb_common::abi::QuicRecord`]s.
#[btf_map]
pub(crate) static QUIC_CONFIGURATIONS: Array<QuicLb, { QUIC_PLACES as usize }, MAPPED> = Array::new();
#[btf_map]
pub(crate) static QUIC_SERVERS: Array<QuicBucket, 1, MAPPED> = Array::new();
#[btf_map]
pub(crate) static SCORES: Array<Score, 1, MAPPED> = Array::new();
#[btf_map]
pub(crate) static LIMITS: Array<ServiceLimits, 1, MAPPED> = Array::new();
#[btf_map]
pub(crate) static LIST_BOUNDS: Array<ListBound, 1, MAPPED> = Array::new();
#[btf_map]
pub(crate) static CLIENTS: Array<ClientBucket, 1, MAPPED> = Array::new();
#[btf_map]
pub(crate) static LIMIT_COUNTERS: PerCpuArray<LimitCounters, 1> = PerCpuArray::new();
/// By service. Not pinned: where a turn begins does not matter.
#[btf_map]
pub(crate) static TURNS: PerCpuArray<Word32, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static NODE_COUNTERS: PerCpuArray<NodeCounters, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static DESTINATION_COUNTERS: PerCpuArray<DestinationCounters, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static PASSIVE_COUNTERS: PerCpuArray<PassiveCounters, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static REPLY_BUDGET: PerCpuArray<ReplyBudget, 1> = PerCpuArray::new();
