//! Single connections that stay open, for one request after the other.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Result, ensure};
use socket2::{Domain, Socket, Type};

use crate::{namespace::Namespace, wait::PATIENCE};

/// A connection that is refused in silence is given up after this.
pub const SILENCE: Duration = Duration::from_millis(700);

/// Opens a connection, from a certain address if one is given; the inner error is the connection's own.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn connect(
    namespace: &Namespace,
    source: Option<IpAddr>,
    server: SocketAddr,
) -> Result<Result<TcpStream, ErrorKind>> {
    let open = || -> std::io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        socket.connect_timeout(&server.into(), SILENCE)?;
        let stream: TcpStream = socket.into();
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    namespace.enter(|| open().map_err(|error| error.kind()))
}

/// Asks who answers a connection, which stays open.
///
/// # Errors
/// If it was closed, or nobody answers in time.
pub fn who(stream: &mut TcpStream) -> Result<String> {
    stream.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut text = String::new();
    let mut buffer = [0; 1024];
    loop {
        let count = stream.read(&mut buffer)?;
        ensure!(count > 0, "closed after {text:?}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let lines = head.to_ascii_lowercase();
        let length = lines.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if length.is_some_and(|length: usize| body.len() >= length) {
            return Ok(body.trim().to_owned());
        }
    }
}
