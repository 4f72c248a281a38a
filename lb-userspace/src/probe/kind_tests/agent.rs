//! Agents.

use std::sync::Arc;

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use super::{Outcome, ProbeKind, TIMED_OUT, closed, failure, hasty, serve, silent, success};
use crate::{
    config::model::Agent,
    health::{Advice, Wants},
};

fn kind(send: &str) -> ProbeKind {
    ProbeKind::Agent(Arc::new(Agent { send: send.into() }))
}

/// An agent that says this, in these pieces, and closes.
async fn agent(pieces: &'static [&'static [u8]]) -> std::net::SocketAddr {
    serve(move |mut stream: TcpStream| async move {
        let _ = stream.set_nodelay(true);
        for piece in pieces {
            let _ = stream.write_all(piece).await;
            tokio::task::yield_now().await;
        }
        let _ = stream.shutdown().await;
    })
    .await
}

#[tokio::test]
async fn what_agents_say() {
    let advice = |weight_percent, wants| Advice { weight_percent, wants };
    assert_eq!(success(agent(&[b"up\n"]).await, kind("")).await, Advice::default());
    let half = success(agent(&[b"up ", b"ready", b" 50%\r\nignored"]).await, kind("")).await;
    assert_eq!(half, advice(Some(50), Some(Wants::Ready)));
    // Without a line end, the end of the connection will do.
    assert_eq!(success(agent(&[b"drain"]).await, kind("")).await, advice(None, Some(Wants::Drain)));
    assert_eq!(success(agent(&[b"maint\n"]).await, kind("")).await, advice(None, Some(Wants::Maintenance)));
    let down = agent(&[b"down # disk is full\n"]).await;
    assert_eq!(failure(down, kind("")).await, "the agent says down: disk is full");
}

#[tokio::test]
async fn it_is_sent_what_it_has_to_be_asked() {
    let address = serve(|stream| async move {
        let (mut reader, mut line) = (BufReader::new(stream), String::new());
        reader.read_line(&mut line).await.unwrap();
        let answer: &[u8] = if line == "web-1\n" { b"up\n" } else { b"down #who?\n" };
        let _ = reader.into_inner().write_all(answer).await;
    })
    .await;
    success(address, kind("web-1\n")).await;
    assert_eq!(failure(address, kind("web-2\n")).await, "the agent says down: who?");
}

#[tokio::test]
async fn answers_that_are_none() {
    assert_eq!(failure(agent(&[]).await, kind("")).await, "the agent says nothing");
    assert_eq!(failure(agent(&[b"\n"]).await, kind("")).await, "the agent says nothing");
    let garbage = agent(&[b"SSH-2.0-server\r\n"]).await;
    assert_eq!(failure(garbage, kind("")).await, "the agent says `SSH-2.0-server`, which is no answer of an agent");
    let endless = serve(|mut stream| async move { while stream.write_all(&[b'u'; 512]).await.is_ok() {} }).await;
    assert_eq!(failure(endless, kind("")).await, "the agent's line is longer than 512 octets");
    let slow = serve(|mut stream| async move {
        let _ = stream.write_all(b"up").await;
        std::future::pending().await
    })
    .await;
    let timed_out = Outcome::Failure(TIMED_OUT.into());
    assert_eq!(hasty(slow, kind("")).await, timed_out);
    assert_eq!(hasty(silent().await, kind("")).await, timed_out);
    let (address, _held) = closed();
    assert_eq!(failure(address, kind("")).await, "connection refused");
}
