//! Packets that the node makes itself, out of the packet that they answer. Rare, so apart from the path of other packets.

mod budget;
mod checked;
mod echo;
mod icmp_error;
mod link;
mod reset;

use crate::{
    environment::Environment,
    features::Features,
    frame::Frame,
    parse::{Fault, Parsed, parse},
    verdict::DropReason,
    wire::{ip::Protocol, tcp::RST},
};

pub use budget::REPLIES_PER_SECOND;
use checked::Checked;

/// What a packet is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A reset for TCP, port unreachable for UDP.
    Refusal,
    /// Time exceeded (RFC 792; RFC 4443, section 3.3).
    Expired,
    /// Fragmentation needed (RFC 1191) or packet too big (RFC 4443, section 3.2), with the most bytes that fit.
    TooBig(u32),
}

impl Answer {
    const EXPIRED: u32 = 1 << 31;

    /// As a number: 0 for a refusal, else the size.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Refusal => 0,
            Self::Expired => Self::EXPIRED,
            Self::TooBig(0) => 1,
            Self::TooBig(mtu) => mtu,
        }
    }

    /// From [`Self::bits`].
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        match bits {
            0 => Self::Refusal,
            Self::EXPIRED => Self::Expired,
            mtu => Self::TooBig(mtu),
        }
    }
}

/// Whom an answer is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Whom the packet is for.
    Receiver,
    /// Whom [`Environment::scratch`] says: to a backend, about a reply of a translated flow.
    Noted,
}

/// Turns a packet into its answer, which goes back where it came from.
///
/// # Errors
///
/// [`DropReason::NoBackend`] where no answer is due (a reset is not answered), [`DropReason::ReplyLimit`] above
/// [`REPLIES_PER_SECOND`].
///
/// The packet is parsed again, so that nothing of it need be kept for this on the way of other packets.
#[inline(always)]
pub fn make<E: Environment, F: Frame>(
    env: &E,
    frame: &mut F,
    answer: Answer,
    sender: Sender,
) -> Result<(), DropReason> {
    let mut packet = Parsed::new();
    match parse(env.features(), frame, &mut packet) {
        Ok(()) => {}
        Err(Fault::Part) if matches!(answer, Answer::TooBig(_)) => {}
        Err(_) => return Err(DropReason::Malformed),
    }
    if matches!(answer, Answer::Refusal) && packet.tcp_flags & RST != 0 {
        return Err(DropReason::NoBackend);
    }
    if !budget::take(env) {
        return Err(DropReason::ReplyLimit);
    }
    if env.features().has(Features::NAT) && matches!(sender, Sender::Noted) {
        packet.destination = env.scratch().ok_or(DropReason::Tables)?.sender();
    }
    // Each of the two only once: the verifier follows what is written twice twice.
    let (message, argument) = match answer {
        Answer::Refusal => (icmp_error::PORT_UNREACHABLE, 0),
        Answer::Expired => (icmp_error::TIME_EXCEEDED, 0),
        Answer::TooBig(mtu) => (icmp_error::TOO_BIG, mtu),
    };
    if matches!((answer, packet.protocol), (Answer::Refusal, Protocol::Tcp)) {
        reset::make(&packet, &mut Checked(frame))
    } else {
        icmp_error::make(&packet, &mut Checked(frame), message, argument)
    }
    .ok_or(DropReason::Tables)?;
    count(env);
    Ok(())
}

/// Turns an echo request into its reply.
///
/// # Errors
///
/// [`DropReason::ReplyLimit`] above [`REPLIES_PER_SECOND`].
#[inline(always)]
pub fn echo<E: Environment, F: Frame>(env: &E, frame: &mut F, packet: &Parsed) -> Result<(), DropReason> {
    if !budget::take(env) {
        return Err(DropReason::ReplyLimit);
    }
    echo::make(packet, &mut Checked(frame)).ok_or(DropReason::Tables)?;
    count(env);
    Ok(())
}

#[inline(always)]
fn count<E: Environment>(env: &E) {
    if let Some(counters) = env.node_counters() {
        counters.replies.add(1);
    }
}
