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
mod programs {
    use aya_ebpf::{bindings::xdp_md, macros::xdp, programs::XdpContext};
    use lb_common::{
        packet::{self, Rare},
        parse::Place,
        steady,
    };

    use crate::{
        apart,
        context::{self, Context, Maps},
        finish::finish,
    };

    /// What [`balance`] returns in place of an action for a packet that goes the way of ICMP, its [`Place`] in the bits below.
    const ICMP: u32 = 1 << Place::BITS;

    /// Functions that call others in turn are called from here, where nothing is on the stack: the kernel allows 512 bytes for
    /// a whole chain of calls.
    #[xdp]
    pub(crate) fn evenkeel(xdp: XdpContext) -> u32 {
        let action = balance(xdp.ctx);
        if action & ICMP == 0 {
            return action;
        }
        let step = apart::icmp(xdp.ctx, action);
        if step & apart::SEND == 0 { step as u32 } else { apart::icmp_send(xdp.ctx, action, step) }
    }

    #[inline(never)]
    fn balance(context: *mut xdp_md) -> u32 {
        let mut frame = Context::new(context);
        let env = Maps::of(&frame);
        let bytes = frame.length();
        // Of its own it is not always put in place, and as a function it has lost what the verifier knew.
        let end = #[inline(always)]
        |outcome| finish(&env, outcome, bytes);
        match steady::forward(&env, &mut frame, end) {
            Some(action) => action,
            None => match packet::process_long(&env, &mut frame) {
                Ok(outcome) => finish(&env, outcome, bytes),
                Err(Rare::Answer(answer)) => apart::answer(context, answer.bits()),
                Err(Rare::Icmp(place)) => ICMP | place.bits(),
            },
        }
    }

    #[xdp]
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
