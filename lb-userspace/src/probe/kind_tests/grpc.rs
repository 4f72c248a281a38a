//! gRPC.

use std::sync::Arc;

use prost::Message as _;

use super::{
    Outcome, ProbeKind, TIMED_OUT, failure, hasty,
    http2::{Script, secure, server},
    says, silent, success,
    tls::Authority,
};
use crate::{
    config::model::{Grpc, Tls},
    probe::grpc::{HealthCheckRequest, HealthCheckResponse, framed},
};

fn kind(service: &str, tls: Option<Tls>) -> ProbeKind {
    ProbeKind::Grpc(Arc::new(Grpc { tls, service: service.into(), host: None }))
}

fn serving(status: i32) -> Script {
    let headers = vec![("content-type", "application/grpc".to_owned())];
    let body = framed(&HealthCheckResponse { status }).to_vec();
    Script { status: 200, headers, body, trailers: vec![("grpc-status", "0")], hangs: false }
}

/// An answer without a message: its status stands in the headers.
fn status(code: &str) -> Script {
    Script { status: 200, headers: vec![("grpc-status", code.to_owned())], ..Script::default() }
}

#[tokio::test]
async fn the_standard_question_is_asked() {
    let (address, mut asked) = server(serving(1)).await;
    success(address, kind("shop.Cart", None)).await;
    let (line, headers, body) = asked.recv().await.unwrap();
    assert_eq!(line, format!("POST http://{address}/grpc.health.v1.Health/Check"));
    assert_eq!(
        (&headers["content-type"], &headers["te"]),
        (&"application/grpc".parse().unwrap(), &"trailers".parse().unwrap())
    );
    // Field 1, a string of nine octets.
    assert_eq!(body, b"\0\0\0\0\x0b\x0a\x09shop.Cart");
    assert_eq!(HealthCheckRequest::decode(&body[5..]).unwrap().service, "shop.Cart");
    let authority = Authority::new();
    let address = secure(&authority, b"h2", serving(1)).await;
    success(address, kind("", Some(authority.trusted(None)))).await;
}

#[tokio::test]
async fn only_serving_is_good() {
    for (script, expected) in [
        (serving(0), "the service is UNKNOWN"),
        (serving(2), "the service is NOT_SERVING"),
        (serving(3), "the service is SERVICE_UNKNOWN"),
        (serving(77), "the answer is no message of the health service"),
        (status("12"), "the server has no health service (grpc.health.v1)"),
        (status("5"), "the server does not know the service `x`"),
        (status("13"), "gRPC status 13"),
        (status("0"), "the answer is no message of the health service"),
        (
            Script { trailers: vec![("grpc-status", "14"), ("grpc-message", "full")], ..serving(1) },
            "gRPC status 14: full",
        ),
        (Script { trailers: Vec::new(), ..serving(1) }, "the answer has no gRPC status"),
        (Script { body: b"<html>".to_vec(), ..serving(1) }, "the answer is no message of the health service"),
        (
            Script { body: b"\0\0\0\0\x09\x08\x01".to_vec(), ..serving(1) },
            "the answer is no message of the health service",
        ),
        (Script { status: 404, ..serving(1) }, "status 404, not a gRPC server?"),
    ] {
        let (address, _asked) = server(script).await;
        assert_eq!(failure(address, kind("x", None)).await, expected);
    }
}

#[tokio::test]
async fn servers_that_do_not_speak_it_and_slow_ones() {
    let plain = says("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let reason = failure(plain, kind("", None)).await;
    assert!(reason.starts_with("HTTP/2: "), "{reason}");
    let timed_out = Outcome::Failure(TIMED_OUT.into());
    assert_eq!(hasty(silent().await, kind("", None)).await, timed_out);
    let (hanging, _asked) = server(Script { hangs: true, ..serving(1) }).await;
    assert_eq!(hasty(hanging, kind("", None)).await, timed_out);
}
