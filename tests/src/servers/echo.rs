//! A TCP server that sends back what it is sent.

use std::{
    io,
    net::Ipv6Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use crate::namespace::Namespace;

/// Connections that wait to be accepted: all of a test's may come at once.
const BACKLOG: i32 = 4096;

/// A running server on every address of its namespace; it and its connections end with this value.
#[derive(Debug)]
pub struct Echo {
    accepted: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<io::Result<()>>>>,
}

/// Starts it.
///
/// # Errors
/// When it cannot listen.
pub fn echo(namespace: &Namespace, port: u16) -> Result<Echo> {
    let listener = namespace.enter(|| listen(port))?.with_context(|| format!("cannot listen on port {port}"))?;
    let (stop, stopped) = oneshot::channel();
    let accepted = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&accepted);
    let thread = namespace.thread(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(serve(listener, &count, stopped))
    });
    Ok(Echo { accepted, stop: Some(stop), thread: Some(thread) })
}

impl Echo {
    /// Connections so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn listen(port: u16) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&std::net::SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

async fn serve(
    listener: std::net::TcpListener,
    accepted: &AtomicU64,
    mut stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                accepted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(answer(stream));
            }
            _ = &mut stopped => return Ok(()),
        }
    }
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut bytes = vec![0; 4096];
    loop {
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&bytes[..count]).await?;
    }
}
