//! The client's side: one request on a connection of its own.

use std::path::Path;

use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, body::Bytes};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::model::ApiError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The daemon cannot be asked.
    #[error(
        "the daemon does not answer on {socket}: {error}; is it running? (`evenkeel run`, or name its socket with --socket)"
    )]
    Unreachable {
        /// Where it was tried.
        socket: String,
        /// Why not.
        error: String,
    },
    /// It refuses.
    #[error("{}", .0.error)]
    Refused(ApiError),
}

/// Asks the daemon behind a socket; a change with `if_version` is made only if the configuration has that version.
///
/// # Errors
///
/// [`ClientError`].
pub async fn request<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<&(impl Serialize + Sync)>,
    if_version: Option<u64>,
) -> Result<T, ClientError> {
    let unreachable = |error: String| ClientError::Unreachable { socket: socket.display().to_string(), error };
    let (status, bytes) =
        exchange(socket, method, path, body, if_version).await.map_err(|error| unreachable(format!("{error:#}")))?;
    if status.is_success() {
        return serde_json::from_slice(&bytes).map_err(|error| unreachable(format!("unexpected answer: {error}")));
    }
    let error = serde_json::from_slice(&bytes).unwrap_or_else(|_| ApiError {
        status: status.as_u16(),
        error: format!("{status}: {}", String::from_utf8_lossy(&bytes)),
    });
    Err(ClientError::Refused(error))
}

async fn exchange(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<&(impl Serialize + Sync)>,
    if_version: Option<u64>,
) -> anyhow::Result<(hyper::StatusCode, Bytes)> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let bytes = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
    let mut request = Request::builder().method(method).uri(path);
    if let Some(version) = if_version {
        request = request.header(hyper::header::IF_MATCH, format!("\"{version}\""));
    }
    let request = request
        .header(hyper::header::HOST, "localhost")
        .header(hyper::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(bytes)))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let bytes = response.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok((status, bytes))
}

/// A segment of a path, with everything escaped that has a meaning in one.
#[must_use]
pub fn segment(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn segments_are_escaped() {
        assert_eq!(super::segment("[2001:db8::1]:80"), "%5B2001%3Adb8%3A%3A1%5D%3A80");
        assert_eq!(super::segment("web-1.a_b"), "web-1.a_b");
    }
}
