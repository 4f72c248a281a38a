//! The HTTP/2 probe, with TLS or by prior knowledge; and the exchange that gRPC is made of.

use std::pin::pin;

use bytes::Bytes;
use futures::future::{Either, select};
use http::{HeaderMap, Request, StatusCode, header, request::Builder};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Target,
    check::Dial,
    http as http1,
    http_answer::{self, Body},
    socket, tls,
    trouble::Trouble,
};
use crate::{
    config::model::{Http, Tls},
    health::Advice,
};

/// An answer. The body is there if it was wanted, with what came after it.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    pub(super) trailers: HeaderMap,
}

/// Sends a request and judges the answer. Without anything to be found in the body, that ends with the headers.
pub(super) async fn check(target: &Dial<'_>, http: &Http) -> Result<Advice, Trouble> {
    let mut request =
        request(target, http.tls.is_some(), http.host.as_deref(), &http.path).method(http.method.as_str());
    if !http.headers.iter().any(|(name, _)| name == header::USER_AGENT.as_str()) {
        request = request.header(header::USER_AGENT, http_answer::USER_AGENT);
    }
    for (name, value) in &http.headers {
        request = request.header(name, value);
    }
    let request = request.body(()).map_err(|error| Trouble::Node(error.to_string()))?;
    let wanted = http.body.is_some();
    let answer = ask(target, http.tls.as_ref(), http.host.as_deref(), request, Bytes::new(), wanted).await?;
    let advice = http_answer::head(http, answer.status, &answer.headers)?;
    http.body.as_ref().map_or(Ok(()), |wanted| answer.body.judge(wanted))?;
    Ok(advice)
}

/// The beginning of a request.
pub(super) fn request(target: &Target, tls: bool, host: Option<&str>, path: &str) -> Builder {
    let scheme = if tls { "https" } else { "http" };
    let uri = format!("{scheme}://{}{path}", http1::host(target, host, tls));
    Request::builder().uri(uri)
}

/// Connects and makes one exchange.
pub(super) async fn ask(
    target: &Dial<'_>,
    tls: Option<&Tls>,
    host: Option<&str>,
    request: Request<()>,
    body: Bytes,
    wants_body: bool,
) -> Result<Answer, Trouble> {
    let Some(tls) = tls else { return exchange(socket::tcp(target).await?, request, body, wants_body).await };
    let stream = tls::connect(target, tls, host, &[b"h2"]).await?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(Trouble::target("the server does not offer HTTP/2 in its TLS handshake (ALPN)"));
    }
    exchange(stream, request, body, wants_body).await
}

fn trouble(error: &h2::Error) -> Trouble {
    Trouble::with("HTTP/2", error)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<()>,
    body: Bytes,
    wants_body: bool,
) -> Result<Answer, Trouble> {
    let mut builder = h2::client::Builder::new();
    builder.max_header_list_size(http_answer::MOST_HEADERS).enable_push(false);
    let (client, connection) = builder.handshake(stream).await.map_err(|error| trouble(&error))?;
    let answer = pin!(talk(client, request, body, wants_body));
    // The connection works only while it is polled. What it ends with, the exchange is told.
    match select(answer, pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        Either::Right((Err(error), _)) => Err(trouble(&error)),
        Either::Right((Ok(()), answer)) => answer.await,
    }
}

async fn talk(
    client: h2::client::SendRequest<Bytes>,
    request: Request<()>,
    body: Bytes,
    wants_body: bool,
) -> Result<Answer, Trouble> {
    let mut client = client.ready().await.map_err(|error| trouble(&error))?;
    let alone = body.is_empty();
    let (response, mut sender) = client.send_request(request, alone).map_err(|error| trouble(&error))?;
    if !alone {
        sender.send_data(body, true).map_err(|error| trouble(&error))?;
    }
    let (head, mut incoming) = response.await.map_err(|error| trouble(&error))?.into_parts();
    let (mut body, mut trailers) = (Body::default(), None);
    let mut more = wants_body;
    while more && let Some(part) = incoming.data().await {
        let part = part.map_err(|error| trouble(&error))?;
        more = body.take(&part);
        // An error means that the stream has ended, which the next part tells.
        drop(incoming.flow_control().release_capacity(part.len()));
    }
    if more {
        trailers = incoming.trailers().await.map_err(|error| trouble(&error))?;
    }
    Ok(Answer { status: head.status, headers: head.headers, body, trailers: trailers.unwrap_or_default() })
}
