//! Makes each packet anew, stamps a flow and calls the program under test.
//!
//! `BPF_PROG_TEST_RUN` does not restore the packet between two runs, and one repeated packet would measure caches. The
//! order of flows is scrambled by a multiplication, which is a bijection over a power of two.

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, ProgramArray},
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use bench_ebpf::{Plan, Progress};

use crate::packet;

#[btf_map]
static PLAN: Array<Plan, 1> = Array::new();
#[btf_map]
static PROGRESS: Array<Progress, 1> = Array::new();
#[btf_map]
static PROGRAMS: ProgramArray<1> = ProgramArray::new();

/// Knuth's multiplier: odd, so a bijection over every power of two.
const SCRAMBLE: u32 = 2_654_435_761;

#[xdp]
pub(crate) fn driver(xdp: XdpContext) -> u32 {
    if prepare(&xdp).is_some() {
        // SAFETY: the map is an array of programs, and the kernel has checked that they are of this kind.
        unsafe { PROGRAMS.tail_call(&xdp, 0) };
    }
    if let Some(progress) = PROGRESS.get_ptr_mut(0) {
        // SAFETY: the element is ours alone; one driver runs at a time.
        unsafe { (*progress).lost += 1 };
    }
    xdp_action::XDP_ABORTED
}

/// As `driver`, but the packet goes out of the interface that it was given to.
#[xdp]
pub(crate) fn generator(xdp: XdpContext) -> u32 {
    if prepare(&xdp).is_some() { xdp_action::XDP_TX } else { xdp_action::XDP_ABORTED }
}

#[inline(always)]
fn prepare(xdp: &XdpContext) -> Option<()> {
    let plan = PLAN.get(0)?;
    let progress = PROGRESS.get_ptr_mut(0)?;
    // The compiler would add first and subtract then, which the verifier does not allow for the end of a packet.
    let surplus = core::hint::black_box(packet::len(xdp)) as i64 - plan.length as i64;
    if surplus != 0 {
        restore(xdp, surplus as i32, plan.restore_tail != 0)?;
    }
    // SAFETY: the element is ours alone; one driver runs at a time.
    let n = unsafe {
        let n = (*progress).packets;
        (*progress).packets = n + 1;
        n
    };
    let flow = (n as u32).wrapping_mul(SCRAMBLE) & plan.flow_mask;
    match plan.version {
        4 => write_v4(xdp, plan, flow),
        6 => write_v6(xdp, plan, flow),
        _ => None,
    }
}

// The low half of a flow's number becomes the source port, the high half the end of the source address. Every field that a
// program reads is written whole by one store: a load over two stores that are still under way waits for both of them,
// as no load from a packet that a device has delivered does.

#[inline(always)]
fn write_v4(xdp: &XdpContext, plan: &Plan, flow: u32) -> Option<()> {
    let to = packet::bytes::<64>(xdp, 0)?;
    // SAFETY: packet and template have 64 bytes.
    unsafe {
        let from = plan.template.as_ptr().cast_mut().cast();
        copy::<u64>(from, to, 0);
        copy::<u32>(from, to, 8);
        copy::<u32>(from, to, 12);
        copy::<u32>(from, to, 16);
        copy::<u32>(from, to, 20);
        copy::<u16>(from, to, 24);
        let source: u32 = packet::get(from, 26);
        packet::set(to, 26, source & 0xffff | flow & 0xffff_0000);
        let destination: u32 = packet::get(from, 30);
        packet::set(to, 30, destination | (flow & plan.service_mask) << 16);
        let ports: u32 = packet::get(from, 34);
        packet::set(to, 34, ports & 0xffff_0000 | flow & 0xffff);
        copy::<u64>(from, to, 38);
        copy::<u16>(from, to, 46);
        copy::<u64>(from, to, 48);
        copy::<u64>(from, to, 56);
    }
    Some(())
}

#[inline(always)]
fn write_v6(xdp: &XdpContext, plan: &Plan, flow: u32) -> Option<()> {
    let to = packet::bytes::<80>(xdp, 0)?;
    // SAFETY: packet and template have 80 bytes.
    unsafe {
        let from = plan.template.as_ptr().cast_mut().cast();
        copy::<u64>(from, to, 0);
        copy::<u32>(from, to, 8);
        copy::<u32>(from, to, 12);
        copy::<u16>(from, to, 16);
        copy::<u32>(from, to, 18);
        copy::<u32>(from, to, 22);
        copy::<u32>(from, to, 26);
        copy::<u32>(from, to, 30);
        let source: u32 = packet::get(from, 34);
        packet::set(to, 34, source & 0xffff | flow & 0xffff_0000);
        copy::<u32>(from, to, 38);
        copy::<u32>(from, to, 42);
        copy::<u32>(from, to, 46);
        copy::<u32>(from, to, 50);
        let ports: u32 = packet::get(from, 54);
        packet::set(to, 54, ports & 0xffff_0000 | flow & 0xffff);
        copy::<u64>(from, to, 58);
        copy::<u16>(from, to, 66);
        copy::<u32>(from, to, 68);
        copy::<u64>(from, to, 72);
    }
    Some(())
}

/// Copies a value.
///
/// # Safety
///
/// As for [`packet::get`], of both.
#[inline(always)]
unsafe fn copy<T>(from: *mut u8, to: *mut u8, at: usize) {
    // SAFETY: the caller has checked both.
    unsafe { packet::set::<T>(to, at, packet::get(from, at)) }
}

/// Takes back what the program under test did to the packet's length.
#[inline(always)]
fn restore(xdp: &XdpContext, surplus: i32, tail: bool) -> Option<()> {
    // SAFETY: the context is valid; the helpers check the room.
    let refused =
        unsafe { if tail { bpf_xdp_adjust_tail(xdp.ctx, -surplus) } else { bpf_xdp_adjust_head(xdp.ctx, surplus) } };
    if refused == 0 { Some(()) } else { None }
}
