//! The HTTP/1.1 probe, with and without TLS.

use std::pin::pin;

use bytes::Bytes;
use futures::future::{Either, select};
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Target,
    check::Dial,
    http_answer::{self, Body},
    socket, tls,
    trouble::Trouble,
};
use crate::{config::model::Http, health::Advice};

/// Sends a request and judges the answer. Without anything to be found in the body, that ends with the headers.
pub(super) async fn check(target: &Dial<'_>, http: &Http) -> Result<Advice, Trouble> {
    match &http.tls {
        None => exchange(target, http, socket::tcp(target).await?).await,
        Some(tls) => {
            let stream = tls::connect(target, tls, http.host.as_deref(), &[b"http/1.1"]).await?;
            exchange(target, http, stream).await
        }
    }
}

fn trouble(error: &hyper::Error) -> Trouble {
    Trouble::with("HTTP", error)
}

async fn exchange(
    target: &Dial<'_>,
    http: &Http,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<Advice, Trouble> {
    let request = request(target, http)?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(http_answer::MOST_HEADERS as usize);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| trouble(&error))?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|error| trouble(&error))?;
        let advice = http_answer::head(http, answer.status(), answer.headers())?;
        let Some(wanted) = &http.body else { return Ok(advice) };
        let (mut incoming, mut body) = (answer.into_body(), Body::default());
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| trouble(&error))?;
            if frame.data_ref().is_some_and(|part| !body.take(part)) {
                break;
            }
        }
        body.judge(wanted).map(|()| advice)
    };
    // The connection works only while it is polled. What it ends with, the exchange is told.
    match select(pin!(answer), pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        Either::Right((_, answer)) => answer.await,
    }
}

fn request(target: &Target, http: &Http) -> Result<Request<Empty<Bytes>>, Trouble> {
    let mut builder = Request::builder().method(http.method.as_str()).uri(http.path.as_str());
    if !http.headers.iter().any(|(name, _)| name == header::USER_AGENT.as_str()) {
        builder = builder.header(header::USER_AGENT, http_answer::USER_AGENT);
    }
    builder = builder.header(header::HOST, host(target, http.host.as_deref(), http.tls.is_some()));
    builder = builder.header(header::CONNECTION, "close");
    for (name, value) in &http.headers {
        builder = builder.header(name, value);
    }
    builder.body(Empty::new()).map_err(|error| Trouble::Node(error.to_string()))
}

/// The host as configured, else address and port; the port goes without saying if it is the usual one.
pub(super) fn host(target: &Target, host: Option<&str>, tls: bool) -> String {
    match host {
        Some(host) => host.to_owned(),
        None if target.port != if tls { 443 } else { 80 } => target.socket_address().to_string(),
        None if target.address.is_ipv6() => format!("[{}]", target.address),
        None => target.address.to_string(),
    }
}
