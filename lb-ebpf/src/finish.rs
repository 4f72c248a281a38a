//! The end of a packet's way: the books, and the verdict in the kernel's words.

use aya_ebpf::{bindings::xdp_action, helpers::bpf_redirect};
use lb_common::{
    account::{self, Outcome},
    verdict::{DropReason, Verdict},
};

use crate::{context::Maps, maps};

/// Books the outcome of a packet that arrived with so many bytes, and says it to the kernel.
#[inline(always)]
pub(crate) fn finish(env: &Maps, mut outcome: Outcome<'_>, bytes: u64) -> u32 {
    let action = match outcome.verdict {
        Verdict::Transmit => xdp_action::XDP_TX,
        Verdict::Redirect(egress) => match maps::EGRESS_DEVICES.redirect(egress, 0) {
            Ok(action) => action,
            Err(_) => {
                outcome = Verdict::Drop(DropReason::Egress).into();
                xdp_action::XDP_DROP
            }
        },
        Verdict::Return(ifindex) => {
            // SAFETY: the helper takes any number; it fails for one that is no interface.
            unsafe { bpf_redirect(ifindex, 0) as u32 }
        }
        Verdict::Pass(_) => xdp_action::XDP_PASS,
        Verdict::Drop(_) => xdp_action::XDP_DROP,
    };
    account::book(env, outcome, bytes);
    action
}
