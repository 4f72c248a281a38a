//! HTTP/2, and the server that the tests of gRPC use, too.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Response};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

use super::{
    Outcome, ProbeKind, TIMED_OUT, closed, failure, hasty, http as http1, says, serve, silent, success, tls::Authority,
};
use crate::config::model::{Http, StatusRanges};

/// What a server answers.
#[derive(Clone, Default)]
pub(super) struct Script {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(&'static str, &'static str)>,
    /// The stream is left open after the body.
    pub(super) hangs: bool,
}

/// What it was asked: method and URI, headers, body.
pub(super) type Asked = (String, HeaderMap, Vec<u8>);

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, script: Script, asked: mpsc::UnboundedSender<Asked>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (script, asked) = (script.clone(), asked.clone());
        tokio::spawn(async move {
            let (head, mut body) = request.into_parts();
            let mut octets = Vec::new();
            while let Some(Ok(part)) = body.data().await {
                octets.extend_from_slice(&part);
            }
            let _ = asked.send((format!("{} {}", head.method, head.uri), head.headers, octets));
            let mut response = Response::builder().status(script.status);
            for (name, value) in &script.headers {
                response = response.header(*name, value);
            }
            let bare = script.body.is_empty() && script.trailers.is_empty() && !script.hangs;
            let Ok(mut stream) = respond.send_response(response.body(()).unwrap(), bare) else { return };
            if bare {
                return;
            }
            let last = script.trailers.is_empty() && !script.hangs;
            let _ = stream.send_data(Bytes::from(script.body), last);
            if script.hangs {
                std::future::pending::<()>().await;
            }
            let fields = script.trailers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let trailers: HeaderMap = fields.collect();
            if !trailers.is_empty() {
                let _ = stream.send_trailers(trailers);
            }
        });
    }
}

/// A server without TLS; what it is asked comes out of the channel.
pub(super) async fn server(script: Script) -> (SocketAddr, mpsc::UnboundedReceiver<Asked>) {
    let (sender, asked) = mpsc::unbounded_channel();
    let address = serve(move |stream| {
        let (script, sender) = (script.clone(), sender.clone());
        async move { answer(stream, script, sender).await }
    })
    .await;
    (address, asked)
}

/// A server with TLS that speaks one protocol.
pub(super) async fn secure(authority: &Authority, protocol: &'static [u8], script: Script) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(authority.server("127.0.0.1", 4000, &[protocol])));
    serve(move |stream| {
        let (acceptor, script) = (acceptor.clone(), script.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                answer(stream, script, mpsc::unbounded_channel().0).await;
            }
        }
    })
    .await
}

fn kind(http: Http) -> ProbeKind {
    ProbeKind::Http2(Arc::new(http))
}

fn ok() -> Script {
    Script { status: 200, body: b"all well".to_vec(), ..Script::default() }
}

#[tokio::test]
async fn the_request_is_what_was_configured() {
    let (address, mut asked) = server(ok()).await;
    let headers = vec![("x-probe".to_owned(), "yes".to_owned())];
    success(address, kind(Http { path: "/healthz".into(), headers, ..http1::options() })).await;
    let (line, headers, body) = asked.recv().await.unwrap();
    assert_eq!((line, headers["x-probe"].to_str().unwrap()), (format!("GET http://{address}/healthz"), "yes"));
    assert!(headers["user-agent"].to_str().unwrap().starts_with("evenkeel/") && body.is_empty());
    success(address, kind(Http { host: Some("www.example".into()), ..http1::options() })).await;
    assert_eq!(asked.recv().await.unwrap().0, "GET http://www.example/");
    let headers = vec![("user-agent".into(), "prober".into())];
    success(address, kind(Http { headers, ..http1::options() })).await;
    let (_, headers, _) = asked.recv().await.unwrap();
    assert_eq!(headers.get_all("user-agent").iter().collect::<Vec<_>>(), ["prober"]);
}

#[tokio::test]
async fn status_body_and_weight() {
    let (address, _asked) = server(ok()).await;
    success(address, kind(http1::contains("all well"))).await;
    assert_eq!(failure(address, kind(http1::contains("ill"))).await, "the body does not hold `ill`");
    let (full, _asked) = server(Script { status: 503, ..Script::default() }).await;
    assert_eq!(failure(full, kind(http1::options())).await, "status 503, expected 200-299");
    success(full, kind(Http { status: StatusRanges(vec![(503, 503)]), ..http1::options() })).await;
    let headers = vec![("x-weight", "20".to_owned())];
    let (weighted, _asked) = server(Script { headers, ..ok() }).await;
    let advice = success(weighted, kind(Http { weight_header: Some("x-weight".into()), ..http1::options() })).await;
    assert_eq!(advice.weight_percent, Some(20));
}

#[tokio::test]
async fn no_more_than_64_kib_of_a_body_is_read() {
    let body = [vec![b'x'; 200_000], b"needle".to_vec()].concat();
    let (address, _asked) = server(Script { body, ..ok() }).await;
    let reason = failure(address, kind(http1::contains("needle"))).await;
    assert_eq!(reason, "the first 64 KiB of the body does not hold `needle`");
}

#[tokio::test]
async fn over_tls_the_server_has_to_offer_it() {
    let authority = Authority::new();
    let with_tls = || kind(Http { tls: Some(authority.trusted(None)), ..http1::contains("all well") });
    success(secure(&authority, b"h2", ok()).await, with_tls()).await;
    // One that offers only HTTP/1.1 refuses the handshake; the library says how.
    let reason = failure(secure(&authority, b"http/1.1", ok()).await, with_tls()).await;
    assert!(reason.contains("ApplicationProtocol"), "{reason}");
}

#[tokio::test]
async fn servers_that_do_not_speak_it_and_slow_ones() {
    let reason =
        failure(says("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await, kind(http1::options())).await;
    assert!(reason.starts_with("HTTP/2: "), "{reason}");
    let closing = serve(|mut stream| async move {
        let _ = stream.shutdown().await;
    })
    .await;
    failure(closing, kind(http1::options())).await;
    let timed_out = Outcome::Failure(TIMED_OUT.into());
    assert_eq!(hasty(silent().await, kind(http1::options())).await, timed_out);
    let (hanging, _asked) = server(Script { hangs: true, ..ok() }).await;
    assert_eq!(hasty(hanging, kind(http1::contains("all well"))).await, timed_out);
    let (address, _held) = closed();
    assert_eq!(failure(address, kind(http1::options())).await, "connection refused");
}
