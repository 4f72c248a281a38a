//! A balancer as one writes it with the maps that the kernel offers: services in a hash, flows in an LRU with lists for
//! each CPU, a Maglev array, the monotonic clock where time matters (UDP time-outs and the guard against floods of new
//! flows), per-CPU counters. It forwards by rewriting the MAC addresses.
//!
//! It stands for the published designs of its kind and is meant to be as fast as that design can be: the clock is
//! read only where it is needed, keys have no padding, nothing is looked up twice.

use aya_ebpf::{
    bindings::{BPF_F_NO_COMMON_LRU, xdp_action},
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray},
    helpers::bpf_ktime_get_ns,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use bench_ebpf::{
    TEXTBOOK_COUNTERS, TEXTBOOK_HIT, TEXTBOOK_INSERT, TEXTBOOK_PASS, TEXTBOOK_RING, TextbookBackend, TextbookCounter,
    TextbookEntry, TextbookFlow, TextbookService,
};

use crate::packet;

#[btf_map]
static TEXTBOOK_SERVICES: HashMap<TextbookService, u32, 16_384> = HashMap::new();
#[btf_map]
static TEXTBOOK_FLOWS: LruHashMap<TextbookFlow, TextbookEntry, 1024, { BPF_F_NO_COMMON_LRU as usize }> =
    LruHashMap::new();
#[btf_map]
static TEXTBOOK_RINGS: Array<u32, 1> = Array::new();
#[btf_map]
static TEXTBOOK_BACKENDS: Array<TextbookBackend, 1024> = Array::new();
#[btf_map]
static TEXTBOOK_STATS: PerCpuArray<TextbookCounter, 1028> = PerCpuArray::new();
#[btf_map]
static TEXTBOOK_NEW_FLOWS: PerCpuArray<NewFlows, 1> = PerCpuArray::new();

/// Nanoseconds after which a UDP flow without packets may be placed anew.
const UDP_TIMEOUT: u64 = 30_000_000_000;
/// New flows a second and CPU above which they are no longer remembered.
const NEW_FLOWS_LIMIT: u64 = 125_000_000;

/// New flows in the present second.
#[repr(C)]
struct NewFlows {
    second: u64,
    count: u64,
}

#[xdp]
pub(crate) fn textbook(xdp: XdpContext) -> u32 {
    match balance(&xdp) {
        Some(action) => action,
        None => {
            count(TEXTBOOK_PASS, 0);
            xdp_action::XDP_PASS
        }
    }
}

#[inline(always)]
fn balance(xdp: &XdpContext) -> Option<u32> {
    let length = packet::len(xdp) as u64;
    let start = packet::bytes::<34>(xdp, 0)?;
    // SAFETY: each read lies within bytes that were checked for it.
    let (flow, version, flags) = unsafe {
        match u16::from_be(packet::get(start, 12)) {
            0x0800 => {
                let version: u8 = packet::get(start, 14);
                let fragment: u16 = packet::get(start, 20);
                if version != 0x45 || u16::from_be(fragment) & 0x3fff != 0 {
                    return None;
                }
                let protocol: u8 = packet::get(start, 23);
                let (ports, flags) = transport::<34>(xdp, protocol)?;
                let source = [packet::get(start, 26), 0, 0, 0];
                let destination = [packet::get(start, 30), 0, 0, 0];
                (TextbookFlow { source, destination, ports, protocol: u32::from(protocol) }, 4, flags)
            }
            0x86dd => {
                let start = packet::bytes::<54>(xdp, 0)?;
                let protocol: u8 = packet::get(start, 20);
                let (ports, flags) = transport::<54>(xdp, protocol)?;
                let (source, destination) = (packet::get(start, 22), packet::get(start, 38));
                (TextbookFlow { source, destination, ports, protocol: u32::from(protocol) }, 6, flags)
            }
            _ => return None,
        }
    };
    let key = TextbookService {
        address: flow.destination,
        port: (flow.ports >> 16) as u16,
        protocol: flow.protocol as u8,
        version,
    };
    // SAFETY: the bench changes services only while no packet is under way.
    let ring = *unsafe { TEXTBOOK_SERVICES.get(key) }?;
    let backend = match known(&flow, flags) {
        Some(backend) => {
            count(TEXTBOOK_HIT, length);
            backend
        }
        None => {
            let slot = u64::from(hash(&flow) % TEXTBOOK_RING) + u64::from(ring) * u64::from(TEXTBOOK_RING);
            let backend = *TEXTBOOK_RINGS.get(slot as u32)?;
            remember(&flow, backend);
            count(TEXTBOOK_INSERT, length);
            backend
        }
    };
    let target = TEXTBOOK_BACKENDS.get(backend)?;
    count(TEXTBOOK_COUNTERS + backend, length);
    let start = packet::bytes::<14>(xdp, 0)?;
    // SAFETY: within the 14 bytes.
    unsafe {
        packet::set(start, 0, target.mac);
        packet::set(start, 6, target.source_mac);
    }
    Some(xdp_action::XDP_TX)
}

/// Both ports as in memory, and the TCP flags.
#[inline(always)]
fn transport<const AT: usize>(xdp: &XdpContext, protocol: u8) -> Option<(u32, u8)> {
    // SAFETY: each read lies within bytes that were checked for it.
    unsafe {
        match protocol {
            6 => {
                let start = packet::bytes::<20>(xdp, AT)?;
                Some((packet::get(start, 0), packet::get(start, 13)))
            }
            17 => Some((packet::get(packet::bytes::<8>(xdp, AT)?, 0), 0)),
            _ => None,
        }
    }
}

/// The backend of a flow that is remembered. A SYN opens a new one.
#[inline(always)]
fn known(flow: &TextbookFlow, flags: u8) -> Option<u32> {
    if flags & 2 != 0 {
        return None;
    }
    let entry = TEXTBOOK_FLOWS.get_ptr_mut(flow)?;
    // SAFETY: the element outlives the program's run, and a torn time does no harm.
    unsafe {
        if flow.protocol == 17 {
            let now = bpf_ktime_get_ns();
            if now.wrapping_sub((*entry).seen) > UDP_TIMEOUT {
                return None;
            }
            (*entry).seen = now;
        }
        Some((*entry).backend)
    }
}

#[inline(always)]
fn remember(flow: &TextbookFlow, backend: u32) {
    // SAFETY: the helper has no arguments and no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let Some(recent) = TEXTBOOK_NEW_FLOWS.get_ptr_mut(0) else { return };
    // SAFETY: the element is this CPU's own.
    unsafe {
        if now.wrapping_sub((*recent).second) > 1_000_000_000 {
            (*recent).second = now;
            (*recent).count = 0;
        }
        (*recent).count += 1;
        if (*recent).count > NEW_FLOWS_LIMIT {
            return;
        }
    }
    let entry = TextbookEntry { backend, spare: 0, seen: now };
    // A flow that finds no place is forwarded all the same.
    let _ = TEXTBOOK_FLOWS.insert(flow, entry, 0);
}

#[inline(always)]
fn count(index: u32, bytes: u64) {
    if let Some(counter) = TEXTBOOK_STATS.get_ptr_mut(index) {
        // SAFETY: the element is this CPU's own.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += bytes;
        }
    }
}

/// Jenkins' hash of source and ports (lookup3, final mixing only: the input is three words for IPv4).
#[inline(always)]
fn hash(flow: &TextbookFlow) -> u32 {
    let words: [u32; 4] = flow.source;
    let mut a = 0xdead_bef3_u32.wrapping_add(words[0] ^ words[2]);
    let mut b = 0xdead_bef3_u32.wrapping_add(words[1] ^ words[3]);
    let mut c = 0xdead_bef3_u32.wrapping_add(flow.ports);
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}
