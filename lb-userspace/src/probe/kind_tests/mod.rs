//! Each kind against real servers on loopback: success, and each way of failing.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{Target, check};
use crate::{
    config::model::ProbeKind,
    health::{Advice, Outcome},
};

mod agent;
mod dns;
mod exec;
mod grpc;
mod http;
mod http2;
mod icmp;
mod shared;
mod tls;
mod udp;

/// What no server of these tests takes.
const LONG: Duration = Duration::from_secs(30);
/// What a probe that must time out waits for.
const SHORT: Duration = Duration::from_millis(150);
const TIMED_OUT: &str = "timed out after 150 ms";

fn target(address: SocketAddr, kind: ProbeKind) -> Target {
    Target { address: address.ip(), port: address.port(), source: None, via: None, kind }
}

/// Probes once, with all the time in the world.
async fn probe(address: SocketAddr, kind: ProbeKind) -> Outcome {
    check::outcome(&check::Network::default(), &target(address, kind), LONG).await
}

async fn success(address: SocketAddr, kind: ProbeKind) -> Advice {
    match probe(address, kind).await {
        Outcome::Success(answer) => answer.advice,
        other => panic!("expected a success: {other:?}"),
    }
}

async fn failure(address: SocketAddr, kind: ProbeKind) -> String {
    match probe(address, kind).await {
        Outcome::Failure(reason) => reason,
        other => panic!("expected a failure: {other:?}"),
    }
}

/// Probes once with little time.
async fn hasty(address: SocketAddr, kind: ProbeKind) -> Outcome {
    check::outcome(&check::Network::default(), &target(address, kind), SHORT).await
}

/// A server that does this with every connection, until the test ends.
async fn serve<F, Fut>(handle: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    address
}

/// A server that reads the head of a request, writes this and closes.
async fn says(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let answer = answer.into();
    serve(move |mut stream| {
        let answer = answer.clone();
        async move {
            read_head(&mut stream).await;
            // A probe that has seen enough resets the connection.
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
        }
    })
    .await
}

/// A server that reads the head of a request, writes this and then holds the connection.
async fn says_and_hangs(answer: &'static [u8]) -> SocketAddr {
    serve(move |mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(answer).await;
        std::future::pending().await
    })
    .await
}

/// A server that accepts and says nothing.
async fn silent() -> SocketAddr {
    serve(|stream| async move {
        let _held = stream;
        std::future::pending().await
    })
    .await
}

/// A port that nobody listens on, held by the socket.
fn closed() -> (SocketAddr, tokio::net::TcpSocket) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    (socket.local_addr().unwrap(), socket)
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(octet) => head.push(octet),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap_or_default()
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}
