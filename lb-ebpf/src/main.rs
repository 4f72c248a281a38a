//! The XDP programs of Evenkeel: entry points, without decisions of their own.
//!
//! - `evenkeel`: the balancer.
//! - `evenkeel_clock`: tells user space the data path's clock; run with `BPF_PROG_TEST_RUN`, never attached.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod apart;
#[cfg(target_arch = "bpf")]
mod constants;
#[cfg(target_arch = "bpf")]
mod context;
#[cfg(target_arch = "bpf")]
mod filter;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
    use lb_common::{
        account,
        environment::Environment as _,
        frame::Frame as _,
        packet, steady,
        verdict::{DropReason, Verdict},
    };

    use crate::{
        apart,
        context::{self, Context, Maps},
        maps,
    };

    #[xdp]
    pub(crate) fn evenkeel(xdp: XdpContext) -> u32 {
        let mut frame = Context::new(xdp.ctx);
        let env = Maps { ingress: frame.ingress() };
        let bytes = frame.len() as u64;
        match steady::forward(&env, &mut frame, |verdict| finish(&env, verdict, bytes)) {
            Some(action) => action,
            None => {
                let reject = |_: &mut Context| apart::rejected(apart::reject(xdp.ctx));
                finish(&env, packet::process_long(&env, &mut frame, reject), bytes)
            }
        }
    }

    /// Books a verdict and says it to the kernel.
    #[inline(always)]
    fn finish(env: &Maps, mut verdict: Verdict, bytes: u64) -> u32 {
        let action = match verdict {
            Verdict::Transmit => xdp_action::XDP_TX,
            Verdict::Redirect(egress) => match maps::EGRESS_DEVICES.redirect(egress, 0) {
                Ok(action) => action,
                Err(_) => {
                    verdict = Verdict::Drop(DropReason::Egress);
                    xdp_action::XDP_DROP
                }
            },
            Verdict::Pass(_) => xdp_action::XDP_PASS,
            Verdict::Drop(_) => xdp_action::XDP_DROP,
        };
        if let Some(counters) = env.node_counters() {
            account::book(counters, verdict, bytes);
        }
        action
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
