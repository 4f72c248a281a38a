//! Sockets of probes.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::Interest,
    net::{TcpSocket, TcpStream, UdpSocket},
};

use super::{Relay, check::Dial, trouble::Trouble};
use crate::config::model::ProbeKind;

/// Opens a connection that ends with a reset.
///
/// The connection ends with RST (`SO_LINGER` 0), not with FIN. With FIN this side, which closes first, keeps every
/// probe in TIME-WAIT for a minute (RFC 9293, section 3.6.1), and a backend that is slow to accept keeps it in CLOSE-WAIT.
/// RST frees both ends, and the state of every firewall between them, at once. The price: a server that had already
/// accepted may log "connection reset".
///
/// # Errors
///
/// Those of `socket(2)`, `bind(2)` and `connect(2)`, and what keeps it from the way of the traffic.
pub(super) async fn tcp(target: &Dial<'_>) -> Result<TcpStream, Trouble> {
    let peer = target.peer();
    let socket = if peer.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_zero_linger()?;
    if target.kind != ProbeKind::Tcp {
        socket.set_nodelay(true)?;
    }
    if let Some(way) = target.way() {
        Box::pin(relay(target)?.put(&socket, libc::IPPROTO_TCP as u8, way, target.source)).await?;
    } else if let Some(source) = target.source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    Ok(socket.connect(peer).await?)
}

fn relay<'a>(target: &Dial<'a>) -> Result<&'a Relay, Trouble> {
    target.relay.ok_or_else(|| Trouble::Node("there is nothing that takes it on the way of the traffic".to_owned()))
}

/// A UDP socket that is connected, so that it gets only the target's datagrams, and is told of ICMP unreachables.
///
/// # Errors
///
/// Those of `socket(2)`, `bind(2)` and `connect(2)`.
pub(super) async fn udp(target: &Dial<'_>) -> Result<UdpSocket, Trouble> {
    let peer = target.peer();
    let domain = if peer.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if let Some(way) = target.way() {
        relay(target)?.put(&socket, libc::IPPROTO_UDP as u8, way, target.source).await?;
    } else if let Some(source) = target.source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    tell_unreachable(&socket, peer.ip())?;
    socket.connect(&peer.into())?;
    Ok(UdpSocket::from_std(socket.into())?)
}

/// Without this the kernel keeps to itself that a host or a network is unreachable (RFC 1122, section 4.2.3.9, is about TCP).
pub(super) fn tell_unreachable(socket: &impl std::os::fd::AsFd, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(_) => setsockopt(socket, sockopt::Ipv4RecvErr, &true)?,
        IpAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvErr, &true)?,
    }
    Ok(())
}

/// The next datagram, or the error that an ICMP message tells of. Room for it is not taken while it is waited for: thousands may
/// wait.
///
/// # Errors
///
/// Those of `recv(2)`.
pub(super) async fn receive(socket: &UdpSocket) -> io::Result<Vec<u8>> {
    loop {
        // Waiting to read alone would sleep through an error that arrives in the meantime.
        let ready = socket.ready(Interest::READABLE | Interest::ERROR).await?;
        if ready.is_error() {
            let nothing = || io::Error::from(io::ErrorKind::WouldBlock);
            let taken = socket.try_io(Interest::ERROR, || Err::<(), _>(socket.take_error()?.unwrap_or_else(nothing)));
            would_block(taken)?;
        }
        if ready.is_readable() {
            let mut datagram = vec![0; usize::from(u16::MAX)];
            if let Some(length) = would_block(socket.try_recv(&mut datagram))? {
                datagram.truncate(length);
                return Ok(datagram);
            }
        }
    }
}

/// `None` if there was nothing to be had.
fn would_block<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}
