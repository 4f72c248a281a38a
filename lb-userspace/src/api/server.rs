//! The server's side: routes on a Unix socket, each a job for the controller.

use std::{
    fs, io,
    net::IpAddr,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::UnixStream,
    },
    path::Path,
};

use anyhow::{Context, Result, bail};
use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, FromRequestParts, Path as UrlPath, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::{StatusCode, header::IF_MATCH, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, patch, post},
};
use serde::{Deserialize, Serialize};
use tokio::{
    net::UnixListener,
    sync::{mpsc, oneshot},
};

use super::model::{ApiError, ApplyRequest, BackendChange, ExplainRequest};
use crate::{config::raw, controller::Controller};

/// Something for the controller to do.
pub type Job = Box<dyn FnOnce(&mut Controller) + Send>;

/// Largest document that is applied, in bytes.
const MAX_DOCUMENT: usize = 256 << 20;
/// Most flows in one answer.
const MAX_FLOWS: usize = 100_000;

#[derive(Clone)]
struct Jobs(mpsc::Sender<Job>);

impl Jobs {
    /// Has a change made, if the version is the one that was asked for.
    async fn change<T: Send + 'static>(
        &self,
        IfVersion(version): IfVersion,
        job: impl FnOnce(&mut Controller) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<Json<T>, ApiError> {
        self.call(move |controller| controller.expect_version(version).and_then(|()| job(controller))).await
    }

    async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Controller) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<Json<T>, ApiError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |controller| drop(reply.send(job(controller))));
        let stopping = || ApiError::internal("the daemon is stopping");
        self.0.send(job).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?.map(Json)
    }
}

/// The version that the configuration must have for a change: the header `If-Match`, such as `"17"`.
struct IfVersion(Option<u64>);

impl<S: Sync> FromRequestParts<S> for IfVersion {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get(IF_MATCH) else { return Ok(Self(None)) };
        let version = value.to_str().ok().and_then(|text| text.trim_matches('"').parse().ok());
        let wrong = || {
            ApiError::bad_request("`If-Match` holds no version; give one that `GET /v1/status` told, such as \"17\"")
        };
        version.map(|version| Self(Some(version))).ok_or_else(wrong)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self)).into_response()
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

/// Opens the socket: mode 0660, of the group if one is configured.
///
/// # Errors
///
/// If another daemon listens on it, or it cannot be made.
pub fn listen(path: &Path, group: Option<&str>) -> Result<UnixListener> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("{}", directory.display()))?;
    }
    match UnixStream::connect(path) {
        Ok(_) => bail!("another daemon listens on {}", path.display()),
        // Left behind by a daemon that was killed.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).with_context(|| format!("API socket {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    if let Some(name) = group {
        let group = nix::unistd::Group::from_name(name)?
            .with_context(|| format!("group {name} of `node.api.group` does not exist; `groupadd --system {name}`"))?;
        chown(path, None, Some(group.gid.as_raw()))?;
    }
    Ok(listener)
}

/// Answers requests until the listener fails.
///
/// # Errors
///
/// If it fails.
pub async fn serve(listener: UnixListener, jobs: mpsc::Sender<Job>) -> io::Result<()> {
    axum::serve(listener, router(jobs)).await
}

fn router(jobs: mpsc::Sender<Job>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/flows", get(flows))
        .route("/v1/explain", post(explain))
        .route("/v1/export", get(export))
        .route("/v1/verify", post(verify))
        .route("/v1/apply", post(apply).layer(DefaultBodyLimit::max(MAX_DOCUMENT)))
        .route("/v1/services/{service}/backends", post(add_backend))
        .route("/v1/servers/{address}", patch(change_server))
        .route("/v1/services/{service}/backends/{backend}", patch(change_backend).delete(remove_backend))
        .fallback(async || ApiError::not_found("no such path; see /v1/status"))
        .with_state(Jobs(jobs))
}

async fn status(State(jobs): State<Jobs>) -> Result<impl IntoResponse, ApiError> {
    jobs.call(|controller| controller.status().map_err(|error| ApiError::internal(format!("{error:#}")))).await
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct FlowsQuery {
    service: Option<String>,
    backend: Option<String>,
    limit: Option<usize>,
}

async fn flows(
    State(jobs): State<Jobs>,
    query: Result<Query<FlowsQuery>, QueryRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let Query(query) = query?;
    let limit = query.limit.unwrap_or(1000).min(MAX_FLOWS);
    jobs.call(move |controller| controller.flows(query.service.as_deref(), query.backend.as_deref(), limit)).await
}

async fn explain(
    State(jobs): State<Jobs>,
    request: Result<Json<ExplainRequest>, JsonRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let Json(request) = request?;
    jobs.call(move |controller| controller.explain(&request)).await
}

async fn export(State(jobs): State<Jobs>) -> Result<impl IntoResponse, ApiError> {
    jobs.call(|controller| Ok(controller.export())).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyQuery {
    #[serde(default)]
    dry_run: bool,
}

async fn verify(
    State(jobs): State<Jobs>,
    query: Result<Query<VerifyQuery>, QueryRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let Query(query) = query?;
    jobs.call(move |controller| {
        controller.verify(!query.dry_run).map_err(|error| ApiError::internal(format!("{error:#}")))
    })
    .await
}

async fn apply(
    State(jobs): State<Jobs>,
    version: IfVersion,
    request: Result<Json<ApplyRequest>, JsonRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let Json(request) = request?;
    jobs.change(version, move |controller| controller.apply(&request)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddQuery {
    ttl: Option<String>,
}

async fn add_backend(
    State(jobs): State<Jobs>,
    version: IfVersion,
    UrlPath(service): UrlPath<String>,
    query: Result<Query<AddQuery>, QueryRejection>,
    backend: Result<Json<raw::ShortOrMap<raw::Backend>>, JsonRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let (Query(query), Json(backend)) = (query?, backend?);
    jobs.change(version, move |controller| controller.add_backend(&service, &backend.0, query.ttl.as_deref())).await
}

async fn change_server(
    State(jobs): State<Jobs>,
    version: IfVersion,
    UrlPath(address): UrlPath<String>,
    change: Result<Json<BackendChange>, JsonRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let Json(change) = change?;
    let address: IpAddr =
        address.parse().map_err(|_| ApiError::bad_request(format!("{address:?} is no IP address")))?;
    jobs.change(version, move |controller| controller.change_server(address, &change)).await
}

async fn change_backend(
    State(jobs): State<Jobs>,
    version: IfVersion,
    UrlPath((service, backend)): UrlPath<(String, String)>,
    change: Result<Json<BackendChange>, JsonRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let Json(change) = change?;
    jobs.change(version, move |controller| controller.change_backend(&service, &backend, &change)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveQuery {
    #[serde(default)]
    now: bool,
}

async fn remove_backend(
    State(jobs): State<Jobs>,
    version: IfVersion,
    UrlPath((service, backend)): UrlPath<(String, String)>,
    query: Result<Query<RemoveQuery>, QueryRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let Query(query) = query?;
    jobs.change(version, move |controller| controller.remove_backend(&service, &backend, query.now)).await
}
