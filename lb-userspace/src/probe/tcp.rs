//! The TCP probe: a connection is opened and reset.

use super::{check::Dial, socket, trouble::Trouble};
use crate::health::Advice;

/// Opens a connection and resets it.
///
/// A server that no longer accepts is found all the same: its accept queue fills up, its kernel ignores further SYNs, and
/// the probe times out.
pub(super) async fn check(target: &Dial<'_>) -> Result<Advice, Trouble> {
    socket::tcp(target).await?;
    Ok(Advice::default())
}
