//! HTTP/1.1.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{
    Outcome, ProbeKind, TIMED_OUT, closed, failure, hasty, read_head, says, says_and_hangs, serve, silent, success,
};
use crate::{
    config::model::{BodyMatch, Http, StatusRanges},
    health::Advice,
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

pub(super) fn options() -> Http {
    Http {
        tls: None,
        method: "GET".into(),
        path: "/".into(),
        host: None,
        headers: Vec::new(),
        status: StatusRanges(vec![(200, 299)]),
        body: None,
        weight_header: None,
    }
}

pub(super) fn contains(text: &str) -> Http {
    Http { body: Some(BodyMatch::Contains(text.into())), ..options() }
}

fn kind(http: Http) -> ProbeKind {
    ProbeKind::Http(Arc::new(http))
}

#[tokio::test]
async fn the_request_is_what_was_configured() {
    let (sender, mut heads) = mpsc::unbounded_channel();
    let address = serve(move |mut stream| {
        let sender = sender.clone();
        async move {
            sender.send(read_head(&mut stream).await).unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    success(address, kind(options())).await;
    let head = heads.recv().await.unwrap().to_lowercase();
    let agent = format!("user-agent: evenkeel/{}", env!("CARGO_PKG_VERSION"));
    assert!(head.starts_with("get / http/1.1\r\n"), "{head}");
    for line in [&agent, &format!("host: {address}"), "connection: close"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }

    let own = Http {
        method: "HEAD".into(),
        path: "/healthz?deep=1".into(),
        host: Some("www.example".into()),
        headers: vec![("user-agent".into(), "x".into()), ("x-probe".into(), "yes".into())],
        ..options()
    };
    success(address, kind(own)).await;
    let head = heads.recv().await.unwrap().to_lowercase();
    assert!(head.starts_with("head /healthz?deep=1 http/1.1\r\n"), "{head}");
    for line in ["host: www.example", "user-agent: x", "x-probe: yes"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }
    assert!(!head.contains("evenkeel"), "{head}");
}

#[tokio::test]
async fn status_codes() {
    let moved = || says("HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n");
    success(says(OK).await, kind(options())).await;
    assert_eq!(failure(moved().await, kind(options())).await, "status 301, expected 200-299");
    let status = StatusRanges(vec![(200, 299), (301, 301)]);
    success(moved().await, kind(Http { status: status.clone(), ..options() })).await;
    let full = says("HTTP/1.1 503 Full\r\n\r\n").await;
    assert_eq!(failure(full, kind(Http { status, ..options() })).await, "status 503, expected 200-299,301");
}

#[tokio::test]
async fn bodies_hold_a_text_or_what_matches() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nall w\r\n3\r\nell\r\n0\r\n\r\n";
    let matches = |pattern| kind(Http { body: Some(BodyMatch::Matches(String::from(pattern))), ..options() });
    success(says(OK).await, kind(contains("ok"))).await;
    success(says(chunked).await, kind(contains("all well"))).await;
    success(says(chunked).await, matches("^all (well|good)$")).await;
    assert_eq!(failure(says(OK).await, kind(contains("fine"))).await, "the body does not hold `fine`");
    assert_eq!(failure(says(OK).await, matches("^k")).await, "the body holds nothing that matches `^k`");
}

#[tokio::test]
async fn no_more_than_64_kib_of_a_body_is_read() {
    let body = |padding: usize| format!("HTTP/1.1 200 OK\r\n\r\n{}needle", "x".repeat(padding));
    success(says(body((64 << 10) - 6)).await, kind(contains("needle"))).await;
    let reason = failure(says(body(64 << 10)).await, kind(contains("needle"))).await;
    assert_eq!(reason, "the first 64 KiB of the body does not hold `needle`");
    // One that never ends is no reason to wait.
    let endless = serve(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n").await;
        while tokio::io::AsyncWriteExt::write_all(&mut stream, &[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    let reason = failure(endless, kind(contains("needle"))).await;
    assert_eq!(reason, "the first 64 KiB of the body does not hold `needle`");
}

#[tokio::test]
async fn answers_that_are_none() {
    for (answer, expected) in [
        ("", "HTTP: connection closed before message completed"),
        ("HTTP/1.1 200 O", "HTTP: connection closed before message completed"),
        ("SSH-2.0-server\r\n\r\n", "HTTP: invalid HTTP version parsed"),
        ("\u{0}\u{1}\u{2}\u{3}\r\n\r\n", "HTTP: invalid HTTP"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok", "HTTP: "),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP: "),
    ] {
        let reason = failure(says(answer).await, kind(contains("ok"))).await;
        assert!(reason.starts_with(expected), "{answer:?}: {reason}");
    }
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1_000_000));
    assert!(failure(says(huge).await, kind(options())).await.starts_with("HTTP: "));
    let (address, _held) = closed();
    assert_eq!(failure(address, kind(options())).await, "connection refused");
}

#[tokio::test]
async fn slow_answers_time_out() {
    let timed_out = Outcome::Failure(TIMED_OUT.into());
    assert_eq!(hasty(silent().await, kind(options())).await, timed_out);
    assert_eq!(hasty(says_and_hangs(b"HTTP/1.1 200 OK\r\nX").await, kind(options())).await, timed_out);
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok";
    assert_eq!(hasty(says_and_hangs(half).await, kind(contains("okay"))).await, timed_out);
    // The headers are enough if nothing is wanted of the body.
    success(says_and_hangs(half).await, kind(options())).await;
}

#[tokio::test]
async fn a_header_tells_the_weight() {
    let weighted = || kind(Http { weight_header: Some("x-weight".into()), ..options() });
    let weight = |value: &str| says(format!("HTTP/1.1 200 OK\r\nX-Weight: {value}\r\n\r\n"));
    for (value, percent) in [("50", 50), ("50%", 50), (" 7 % ", 7), ("0", 0), ("255", 255)] {
        let expected = Advice { weight_percent: Some(percent), wants: None };
        assert_eq!(success(weight(value).await, weighted()).await, expected, "{value}");
    }
    assert_eq!(success(says(OK).await, weighted()).await.weight_percent, Some(100), "as configured without it");
    assert_eq!(success(weight("50").await, kind(options())).await, Advice::default(), "nobody asked");
    for value in ["much", "-1", "256", "+5", ""] {
        let expected = format!("header `x-weight` says `{value}`, which is not 0 to 255 percent");
        assert_eq!(failure(weight(value).await, weighted()).await, expected);
    }
}
