//! The local API: HTTP with JSON on a Unix socket. The command line is its client.
//!
//! | method and path | what |
//! |---|---|
//! | `GET /v1/status` | everything: [`model::Status`] |
//! | `GET /v1/flows?service=&backend=&limit=` | live flows: [`model::Flows`] |
//! | `POST /v1/explain` | what would happen to a packet: [`model::ExplainRequest`] to [`model::Explanation`] |
//! | `GET /v1/export` | the running configuration: [`model::Exported`] |
//! | `POST /v1/verify?dry_run=` | compares the tables with what they should be, and puts them right: [`model::Verified`] |
//! | `POST /v1/apply` | [`model::ApplyRequest`] to [`model::AppliedChanges`] |
//! | `POST /v1/services/{service}/backends` | add a backend (the form of the configuration file) |
//! | `DELETE /v1/services/{service}/backends/{backend}?now=` | remove one |
//! | `PATCH /v1/services/{service}/backends/{backend}` | [`model::BackendChange`] |
//!
//! A backend is named by its name, address, or address and port. Errors are [`model::ApiError`] with status 400 (bad input), 404 (no
//! such thing), 409 (it cannot be done now), 412 (a condition does not hold) or 500. Changes take the header `If-Match` with the version of
//! the configuration that they were made for: with another one nothing is done (412).

pub mod client;
pub mod model;
pub mod server;
