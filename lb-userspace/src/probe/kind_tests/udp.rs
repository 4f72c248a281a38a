//! UDP.

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::UdpSocket, sync::mpsc};

use super::{Outcome, ProbeKind, TIMED_OUT, failure, hasty, loopback, success};
use crate::{config::model::Udp, health::Answer};

fn kind(send: &[u8], expect: &[u8], contains: &[u8]) -> ProbeKind {
    ProbeKind::Udp(Arc::new(Udp { send: send.into(), expect: expect.into(), contains: contains.into() }))
}

/// A server that answers each datagram with these; what it gets comes out of the channel.
pub(super) async fn server(answers: &'static [&'static [u8]]) -> (SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>) {
    let socket = UdpSocket::bind(loopback(0)).await.unwrap();
    let (address, (sender, got)) = (socket.local_addr().unwrap(), mpsc::unbounded_channel());
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let _ = sender.send(buffer[..length].to_vec());
            for answer in answers {
                let _ = socket.send_to(answer, from).await;
            }
        }
    });
    (address, got)
}

/// A port that only one peer can reach, which is not the probe; held by the socket.
pub(super) async fn unreachable() -> (SocketAddr, UdpSocket) {
    let socket = UdpSocket::bind(loopback(0)).await.unwrap();
    socket.connect(loopback(9)).await.unwrap();
    (socket.local_addr().unwrap(), socket)
}

#[tokio::test]
async fn what_is_sent_and_what_has_to_come_back() {
    let (address, mut got) = server(&[b"\x80pong 7"]).await;
    success(address, kind(b"\0ping", b"", b"")).await;
    assert_eq!(got.recv().await.unwrap(), b"\0ping");
    success(address, kind(b"x", b"\x80pong", b"")).await;
    success(address, kind(b"x", b"\x80", b"ng 7")).await;
    let begins = failure(address, kind(b"x", b"pong", b"")).await;
    assert_eq!(begins, "the answer begins with `\u{fffd}pong 7`, not as expected");
    assert_eq!(failure(address, kind(b"x", b"", b"ng 8")).await, "the answer does not hold `ng 8`");
    let (partial, _got) = server(&[b"\x80po"]).await;
    failure(partial, kind(b"x", b"\x80pong", b"")).await;
}

#[tokio::test]
async fn silence_is_good_if_nothing_is_expected_and_unreachable_never_is() {
    let (quiet, _got) = server(&[]).await;
    let silent_success = Outcome::Success(Answer { latency: None, ..Answer::default() });
    assert_eq!(hasty(quiet, kind(b"x", b"", b"")).await, silent_success);
    assert_eq!(hasty(quiet, kind(b"x", b"y", b"")).await, Outcome::Failure(TIMED_OUT.into()));
    assert_eq!(hasty(quiet, kind(b"x", b"", b"y")).await, Outcome::Failure(TIMED_OUT.into()));
    let (gone, _held) = unreachable().await;
    assert_eq!(failure(gone, kind(b"x", b"", b"")).await, "port unreachable");
    assert_eq!(failure(gone, kind(b"x", b"y", b"")).await, "port unreachable");
}
