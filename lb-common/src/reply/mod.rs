//! Packets that the node makes itself, out of the packet that they answer. Rare, so apart from the path of other packets.

mod budget;
mod checked;
mod link;
mod reset;
mod unreachable;

use crate::{
    environment::Environment,
    frame::Frame,
    parse::{Parsed, parse},
    verdict::DropReason,
    wire::{ip::Protocol, tcp::RST},
};

pub use budget::REPLIES_PER_SECOND;
use checked::Checked;

/// Turns a packet into its refusal: a reset for TCP, port unreachable for UDP. It goes back where it came from.
///
/// # Errors
///
/// [`DropReason::NoBackend`] where no answer is due (a reset is not answered), [`DropReason::ReplyLimit`] above
/// [`REPLIES_PER_SECOND`].
///
/// The packet is parsed again, so that nothing of it need be kept for this on the way of other packets.
#[inline(always)]
pub fn reject<E: Environment, F: Frame>(env: &E, frame: &mut F) -> Result<(), DropReason> {
    let mut packet = Parsed::new();
    parse(env.features(), frame, &mut packet).map_err(|_| DropReason::Malformed)?;
    if packet.tcp_flags & RST != 0 {
        return Err(DropReason::NoBackend);
    }
    if !budget::take(env) {
        return Err(DropReason::ReplyLimit);
    }
    match packet.protocol {
        Protocol::Tcp => reset::make(&packet, &mut Checked(frame)),
        Protocol::Udp => unreachable::make(&packet, &mut Checked(frame)),
    }
    .ok_or(DropReason::Tables)?;
    if let Some(counters) = env.node_counters() {
        counters.replies.add(1);
    }
    Ok(())
}
