//! The TCP probe: a connection is opened and closed.

use std::{io, net::SocketAddr};

use tokio::net::TcpSocket;

/// Opens a connection and resets it.
///
/// The connection ends with RST (`SO_LINGER` 0), not with FIN. With FIN this side, which closes first, keeps every
/// probe in TIME-WAIT for a minute (RFC 9293, section 3.6.1), and a backend that is slow to accept keeps it in CLOSE-WAIT.
/// RST frees both ends, and the state of every firewall between them, at once. The price: a server that had already
/// accepted may log "connection reset".
///
/// A server that no longer accepts is found all the same: its accept queue fills up, its kernel ignores further SYNs, and
/// the probe times out.
///
/// # Errors
///
/// Those of `socket(2)` and `connect(2)`.
pub(super) async fn connect(address: SocketAddr) -> io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_zero_linger()?;
    socket.connect(address).await.map(drop)
}
