//! As much of HTTP/1.0 as counting clients need: one request a connection, no new process.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// The response header by which a backend of the harness says its name.
pub const BACKEND_HEADER: &str = "X-Backend";

/// A response whose head was read; the body follows in `body`.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The value of [`BACKEND_HEADER`].
    pub backend: Option<String>,
    /// The promised size of the body in bytes.
    pub length: Option<u64>,
    /// Where the body is read from; it ends when the server closes.
    pub body: BufReader<TcpStream>,
}

/// Opens a connection from the calling thread's namespace, sends `GET path` and reads the head.
///
/// # Errors
/// Of the socket; `TimedOut` or `WouldBlock` after `timeout` without a connection or a byte; `InvalidData` when
/// the answer is no HTTP; `UnexpectedEof` when it ends within the head.
pub fn get(server: SocketAddr, path: &str, timeout: Duration) -> io::Result<Response> {
    let mut stream = TcpStream::connect_timeout(&server, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {server}\r\nConnection: close\r\n\r\n").as_bytes())?;
    read_head(BufReader::new(stream))
}

/// Fetches a short text completely.
///
/// # Errors
/// As [`get`]; also when the status is not 200 or the body is not as long as promised.
pub fn get_text(server: SocketAddr, path: &str, timeout: Duration) -> io::Result<String> {
    let mut response = get(server, path, timeout)?;
    let mut text = String::new();
    response.body.read_to_string(&mut text)?;
    if response.status != 200 {
        return Err(invalid(format!("status {}", response.status)));
    }
    match response.length {
        Some(length) if length != text.len() as u64 => {
            Err(invalid(format!("{} of {length} bytes of the body", text.len())))
        }
        _ => Ok(text),
    }
}

/// Reads the head of a response.
pub(crate) fn read_head(mut body: BufReader<TcpStream>) -> io::Result<Response> {
    let status = read_line(&mut body)?;
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| invalid("no status line".into()))?;
    let (mut backend, mut length) = (None, None);
    loop {
        let line = read_line(&mut body)?;
        let Some((key, value)) = line.split_once(':') else { break };
        match key {
            _ if key.eq_ignore_ascii_case(BACKEND_HEADER) => backend = Some(value.trim().to_owned()),
            _ if key.eq_ignore_ascii_case("Content-Length") => length = value.trim().parse().ok(),
            _ => {}
        }
    }
    Ok(Response { status, backend, length, body })
}

fn read_line(from: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
