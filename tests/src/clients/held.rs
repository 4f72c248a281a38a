//! Connections that stay open and are used again and again.

use std::{
    io::{self, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{http::read_head, namespace::Namespace};

/// After how long without a byte an answer counts as missing.
const TIMEOUT: Duration = Duration::from_secs(20);

/// An open connection to a server of the harness.
#[derive(Debug)]
pub struct Held {
    stream: TcpStream,
    backend: String,
}

impl Held {
    /// Opens a connection and asks once who is there.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn open(namespace: &Namespace, server: SocketAddr) -> Result<Self> {
        let stream = namespace.enter(|| TcpStream::connect_timeout(&server, TIMEOUT))??;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let mut held = Self { stream, backend: String::new() };
        held.backend = held.ask().context("a new connection")?;
        Ok(held)
    }

    /// Opens `count` of them.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_many(count: usize, namespace: &Namespace, server: SocketAddr) -> Result<Vec<Self>> {
        (0..count).map(|_| Self::open(namespace, server)).collect()
    }

    /// Its own end.
    ///
    /// # Errors
    /// Of the socket.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Who answered first.
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// Sends a request and gives the name of whoever answers.
    ///
    /// # Errors
    /// Of the socket, `ConnectionReset` after a reset; `UnexpectedEof` when the other side has closed.
    pub fn ask(&mut self) -> io::Result<String> {
        self.send()?;
        self.answer()
    }

    /// Sends a request.
    ///
    /// # Errors
    /// Of the socket.
    pub fn send(&mut self) -> io::Result<()> {
        self.stream.write_all(b"GET /who HTTP/1.1\r\nHost: test\r\n\r\n")
    }

    /// Waits for the answer to a request.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn answer(&mut self) -> io::Result<String> {
        let mut response = read_head(BufReader::new(self.stream.try_clone()?))?;
        let mut text = vec![0; response.length.unwrap_or(0) as usize];
        response.body.read_exact(&mut text)?;
        String::from_utf8(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Whether it still goes to whom it went first.
    ///
    /// # Errors
    /// When it does not, or is broken.
    pub fn check(&mut self) -> Result<()> {
        let name = self.ask().with_context(|| format!("a connection of {}", self.backend))?;
        anyhow::ensure!(name == self.backend, "{name} answers on a connection of {}", self.backend);
        Ok(())
    }
}
