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
    // SAFETY: 64 or 80 bytes are checked before they are written.
    unsafe {
        let start = packet::bytes::<64>(xdp, 0)?;
        for word in 0..8 {
            packet::set(start, 8 * word, plan.template[word]);
        }
        if plan.long != 0 {
            let rest = packet::bytes::<16>(xdp, 64)?;
            packet::set(rest, 0, plan.template[8]);
            packet::set(rest, 8, plan.template[9]);
        }
    }
    // SAFETY: the element is ours alone; one driver runs at a time.
    let n = unsafe {
        let n = (*progress).packets;
        (*progress).packets = n + 1;
        n
    };
    let flow = (n as u32).wrapping_mul(SCRAMBLE) & plan.flow_mask;
    // The port takes the low half of the flow's number, the source address, whose last four bytes are at the same place
    // relative to the port in every template, the high half.
    match plan.port_offset {
        34 => {
            if plan.service_mask != 0 {
                let start = packet::bytes::<64>(xdp, 0)?;
                // SAFETY: the last two bytes of the destination address lie within the 64 bytes.
                unsafe { packet::set(start, 32, (flow & plan.service_mask) as u16) };
            }
            stamp::<34, 26>(xdp, flow)
        }
        54 => stamp::<54, 34>(xdp, flow),
        _ => Some(()),
    }
}

/// Writes a flow's number: its low half as the source port at `PORT`, its high half into the source address that ends at
/// `ADDRESS` + 4.
#[inline(always)]
fn stamp<const PORT: usize, const ADDRESS: usize>(xdp: &XdpContext, flow: u32) -> Option<()> {
    let start = packet::bytes::<64>(xdp, 0)?;
    // SAFETY: both lie within the 64 bytes.
    unsafe {
        packet::set(start, PORT, flow as u16);
        packet::set(start, ADDRESS + 2, (flow >> 16) as u16);
    }
    Some(())
}

/// Takes back what the program under test did to the packet's length.
#[inline(always)]
fn restore(xdp: &XdpContext, surplus: i32, tail: bool) -> Option<()> {
    // SAFETY: the context is valid; the helpers check the room.
    let refused =
        unsafe { if tail { bpf_xdp_adjust_tail(xdp.ctx, -surplus) } else { bpf_xdp_adjust_head(xdp.ctx, surplus) } };
    if refused == 0 { Some(()) } else { None }
}
