//! The gRPC probe: `Check` of the standard health service (`grpc.health.v1.Health`).

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use prost::Message as _;

use super::{
    check::Dial,
    http_answer,
    http2::{self, Answer},
    trouble::{Trouble, shown},
};
use crate::{config::model::Grpc, health::Advice};

/// `HealthCheckRequest` of `grpc/health/v1/health.proto`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    pub(super) service: String,
}

/// `HealthCheckResponse` of `grpc/health/v1/health.proto`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
}

/// Values of `HealthCheckResponse.ServingStatus`.
const STATUS: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
/// What a server without the method answers (`UNIMPLEMENTED`), and one without the service (`NOT_FOUND`).
const UNIMPLEMENTED: &str = "12";
const NOT_FOUND: &str = "5";

/// Asks whether the service is being served.
pub(super) async fn check(target: &Dial<'_>, grpc: &Grpc) -> Result<Advice, Trouble> {
    let host = grpc.host.as_deref();
    let request = http2::request(target, grpc.tls.is_some(), host, "/grpc.health.v1.Health/Check")
        .method(Method::POST)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::USER_AGENT, http_answer::USER_AGENT)
        .header(header::TE, "trailers")
        .body(())
        .map_err(|error| Trouble::Node(error.to_string()))?;
    let body = framed(&HealthCheckRequest { service: grpc.service.clone() });
    let answer = http2::ask(target, grpc.tls.as_ref(), host, request, body, true).await?;
    judge(&grpc.service, &answer)
}

/// A message after its flag (0: not compressed) and its length.
pub(super) fn framed(message: &impl prost::Message) -> Bytes {
    let message = message.encode_to_vec();
    [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat().into()
}

fn judge(service: &str, answer: &Answer) -> Result<Advice, Trouble> {
    if answer.status != StatusCode::OK {
        return Err(Trouble::target(format!("status {}, not a gRPC server?", answer.status.as_u16())));
    }
    let field = |name: &str| {
        let value = |headers: &HeaderMap| headers.get(name).map(|value| shown(value.as_bytes()));
        value(&answer.trailers).or_else(|| value(&answer.headers))
    };
    match field("grpc-status").as_deref() {
        Some("0") => {}
        Some(UNIMPLEMENTED) => return Err(Trouble::target("the server has no health service (grpc.health.v1)")),
        Some(NOT_FOUND) => return Err(Trouble::target(format!("the server does not know the service `{service}`"))),
        Some(code) => {
            let message = field("grpc-message").map(|text| format!(": {text}")).unwrap_or_default();
            return Err(Trouble::target(format!("gRPC status {code}{message}")));
        }
        None => return Err(Trouble::target("the answer has no gRPC status")),
    }
    let garbage = || Trouble::target("the answer is no message of the health service");
    let [0, a, b, c, d, message @ ..] = answer.body.octets() else { return Err(garbage()) };
    let message = message.get(..u32::from_be_bytes([*a, *b, *c, *d]) as usize).ok_or_else(garbage)?;
    let status = HealthCheckResponse::decode(message).map_err(|_| garbage())?.status;
    match usize::try_from(status).ok().and_then(|status| STATUS.get(status)) {
        Some(&"SERVING") => Ok(Advice::default()),
        Some(name) => Err(Trouble::target(format!("the service is {name}"))),
        None => Err(garbage()),
    }
}
