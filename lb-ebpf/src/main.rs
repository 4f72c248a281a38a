//! The XDP programs of Evenkeel: entry points, without decisions of their own.
//!
//! - `evenkeel`: the balancer.
//! - `evenkeel_clock`: tells user space the data path's clock; run with `BPF_PROG_TEST_RUN`, never attached.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(stmt_expr_attributes))]

#[cfg(target_arch = "bpf")]
mod apart;
#[cfg(target_arch = "bpf")]
mod constants;
#[cfg(target_arch = "bpf")]
mod context;
#[cfg(target_arch = "bpf")]
mod filter;
#[cfg(target_arch = "bpf")]
mod finish;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
use constants::has_long_frames;
#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{bindings::xdp_md, macros::xdp, programs::XdpContext};
    use lb_common::{
        environment::Environment as _,
        features::Features,
        flow::FlowState,
        frame::Frame as _,
        nat::{NatPlace, back::FoundSlot, forth::Opened, table::Round},
        packet::{self, Rare},
        reply::Answer,
        steady,
    };

    use crate::{
        apart::{self, NEXT, OPENED},
        context::{self, Context, Maps},
        finish::finish,
    };

    /// In what [`long`] returns in place of an action: the packet goes the way of ICMP, its place is in the low half.
    const ICMP: u64 = 1 << 32;
    /// The same: the packet is answered, with what the low half says.
    const ANSWER: u64 = apart::NAT_ANSWER;
    /// The same: the packet is translated on its way to the destination in the bits from [`ID`] on; its place is in the low half.
    const NAT: u64 = 1 << 34;
    /// The same: the packet may be a reply to translate back.
    const BACK: u64 = 1 << 35;
    const ID: u32 = 40;
    /// The same: it is a later part of a datagram, its place is in the low half.
    const PART: u64 = 1 << 37;

    // Inside of what the attribute makes: a call would cost each packet ten nanoseconds.
    // Frames in several buffers are for it as well, since Linux 5.18.
    #[xdp(frags)]
    #[inline(always)]
    pub(crate) fn evenkeel(xdp: XdpContext) -> u32 {
        let mut frame = Context::<true>::new(xdp.ctx);
        let env = Maps::of(&frame);
        let bytes = frame.linear_len() as u64;
        // Of its own it is not always put in place, and as a function it has lost what the verifier knew.
        let end = #[inline(always)]
        |outcome| finish(&env, outcome, bytes);
        if let Some(action) = steady::forward(&env, &mut frame, end) {
            return action;
        }
        let mut step = long(xdp.ctx);
        if step & NAT != 0 {
            let (place, id) = (step as u32, (step >> ID) as u32);
            step = apart::nat_begin(xdp.ctx, place, id);
            if step & OPENED != 0 {
                step = apart::nat_open(xdp.ctx, Round::SEARCH.bits());
                if step & NEXT != 0 {
                    step = apart::nat_open(xdp.ctx, Round::BEFORE.bits());
                }
                let resets = NatPlace::from_bits(place).is_reset();
                if step & NEXT != 0 && !resets {
                    step = apart::nat_open(xdp.ctx, Round::CLAIM.bits());
                }
                if resets && step & (OPENED | NEXT) != 0 {
                    step = ANSWER | Answer::Refusal.bits() as u64;
                }
            }
            if step & OPENED != 0 {
                if Opened::from_bits(step as u32).is_closing() {
                    apart::nat_follow(FlowState::Closing as u32);
                }
                if env.features().has(Features::TOA) && Opened::from_bits(step as u32).has_toa() {
                    step = apart::nat_tell(xdp.ctx, place, id, step as u32);
                }
                if step & OPENED != 0 {
                    step = apart::nat_forth(xdp.ctx, place, id, step as u32);
                }
            }
        }
        let of_reply = step & BACK != 0;
        if of_reply {
            let place = step as u32;
            step = apart::nat_back_begin(xdp.ctx, place);
            if step & OPENED != 0 {
                step = apart::nat_back_find(xdp.ctx);
            }
            if step & OPENED != 0 {
                let found = FoundSlot::from_bits(step as u32);
                if let Some(state) = found.due() {
                    apart::nat_follow(state as u32);
                }
                if let Some(note) = found.first_part() {
                    apart::note_fragment(xdp.ctx, note);
                }
                step = apart::nat_back(xdp.ctx, place, found.bits());
            }
        }
        if step & ANSWER != 0 {
            return apart::answer(xdp.ctx, step as u32, u32::from(of_reply));
        }
        // What the steps of a reply return besides is an action.
        if of_reply || step & (ICMP | PART) == 0 {
            return step as u32;
        }
        let place = step as u32;
        let is_part = step & PART != 0;
        let step = if is_part { apart::follow_fragment(xdp.ctx) } else { apart::icmp(xdp.ctx, place) };
        if step & apart::SEND == 0 {
            return step as u32;
        }
        let is_back = apart::is_back(step);
        if is_back || apart::is_translated(step) != 0 {
            if is_part {
                return if is_back { apart::nat_part_back(xdp.ctx, step) } else { apart::nat_part(xdp.ctx, step) };
            }
            let mut begun = apart::icmp_quote(xdp.ctx, place, is_back as u32);
            if is_back {
                apart::icmp_back_begin();
            } else if begun & OPENED != 0 {
                begun = apart::icmp_translate_begin(xdp.ctx, step);
            }
            if begun & OPENED == 0 {
                return begun as u32;
            }
            let found = if is_back { apart::icmp_back_find(xdp.ctx) } else { apart::icmp_translate_find(xdp.ctx) };
            if found & OPENED == 0 {
                return found as u32;
            }
            let rewritten = apart::icmp_rewrite(xdp.ctx, place);
            if rewritten & OPENED == 0 {
                return rewritten as u32;
            }
            return if is_back {
                apart::icmp_back(xdp.ctx, place, found as u32)
            } else {
                apart::icmp_translate(xdp.ctx, step)
            };
        }
        let sent = apart::send(xdp.ctx, place, step);
        if sent & apart::ANSWER == 0 { sent } else { apart::answer(xdp.ctx, sent & !apart::ANSWER, 0) }
    }

    /// The long way. What it leaves to functions apart it returns as a number: each of them is called in one place then, where
    /// little is kept on the stack, of which the kernel allows 512 bytes for a whole chain of calls.
    #[inline(always)]
    fn long(context: *mut xdp_md) -> u64 {
        let mut frame = Context::<true>::new(context);
        let env = Maps::of(&frame);
        let bytes = frame.length();
        match packet::process_long(&env, &mut frame) {
            Ok(outcome) => u64::from(finish(&env, outcome, bytes)),
            Err(Rare::Answer(answer)) => ANSWER | u64::from(answer.bits()),
            Err(Rare::Nat(place, id)) => NAT | u64::from(place.bits()) | u64::from(id) << ID,
            Err(Rare::Back(place)) => BACK | u64::from(place.bits()),
            Err(Rare::Icmp(place)) => ICMP | u64::from(place.bits()),
            Err(Rare::Part(place)) => PART | u64::from(place.bits()),
        }
    }

    // In the section of the other one, whose name may be shortened.
    #[xdp(frags)]
    pub(crate) fn evenkeel_clock(_: XdpContext) -> u32 {
        context::now()
    }

    /// Lets programs call helpers that the kernel gives only to those compatible with the GPL.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    /// Nothing in the program panics; the language asks for a handler all the same.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
