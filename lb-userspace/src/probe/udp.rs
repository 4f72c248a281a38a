//! The UDP probe: a datagram, and what comes back.

use std::io;

use super::{
    check::Dial,
    socket,
    trouble::{Trouble, shown},
};
use crate::{config::model::Udp, health::Advice};

/// Sends a datagram and judges the first that comes back, or the ICMP unreachable that says that there is nobody.
///
/// If nothing is expected any datagram will do, and so will silence, which only the time-out of the probe can tell.
pub(super) async fn check(target: &Dial<'_>, udp: &Udp) -> Result<Advice, Trouble> {
    let socket = socket::udp(target).await?;
    socket.send(&udp.send).await?;
    let answer = socket::receive(&socket).await.map_err(unreachable)?;
    if !answer.starts_with(&udp.expect) {
        return Err(Trouble::target(format!("the answer begins with `{}`, not as expected", shown(&answer))));
    }
    if !udp.contains.is_empty() && memchr::memmem::find(&answer, &udp.contains).is_none() {
        return Err(Trouble::target(format!("the answer does not hold `{}`", shown(&udp.contains))));
    }
    Ok(Advice::default())
}

/// A port that nobody listens on, in the words of ICMP.
pub(super) fn unreachable(error: io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Trouble::target("port unreachable"),
        _ => error.into(),
    }
}
