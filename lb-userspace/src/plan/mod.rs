//! The plan: from what should be and what is to the writes in between.
//!
//! ```text
//! configuration + runtime state ─┐
//! health, next hops, drains ─────┴─ resolve ─→ Desired ─┐
//! tables ─ read ─→ Actual ──────────────────────────────┴─ plan ─→ writes ─→ publish
//! ```
//!
//! [`plan()`] looks at everything: at the start, after a reload, and whenever [`plan_some`] cannot do. That one looks at the
//! services that an event concerns and makes the same writes, so that what one probe result costs does not depend on how
//! many services there are.
//!
//! All of it is pure: no clock, no kernel. Planning twice with nothing changed gives no write.

pub mod actual;
pub mod allocate;
pub mod desired;
pub mod diff;
pub mod drift;
pub mod error;
pub mod features;
pub mod memo;
mod next_hop;
pub mod pool;
pub mod quic;
mod room;
pub mod slot_table;
mod slots;
pub mod takers;
mod weights;
pub mod write;

pub use actual::Actual;
pub use desired::Desired;
pub use diff::{plan, plan_some};
pub use drift::Drift;
pub use error::PlanError;
pub use memo::Memo;
pub use slot_table::SlotTable;
pub use write::Write;
