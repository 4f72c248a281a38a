//! The end of a packet's way: the books, and the verdict in the kernel's words.

use aya_ebpf::bindings::xdp_action;
use lb_common::{
    account,
    environment::Environment as _,
    verdict::{DropReason, Verdict},
};

use crate::{context::Maps, maps};

/// Books a verdict over a packet that arrived with so many bytes, and says it to the kernel.
#[inline(always)]
pub(crate) fn finish(env: &Maps, mut verdict: Verdict, bytes: u64) -> u32 {
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
