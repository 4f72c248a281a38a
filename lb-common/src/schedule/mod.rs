//! Schedulers: how a new flow gets its destination.
//!
//! Two mechanisms give all of them. *Table pick*: an index into the service's slots, which user space prepared. *Score pick*: the
//! lowest score of all slots ([`least`]) or of two ([`two_choices`]).
//!
//! ```text
//! maglev                  flow hash   → Maglev table             maglev, slot
//! source-hash             source hash → Maglev table             maglev, source
//! random                  random      → Maglev table             maglev, pick
//! round-robin, weighted   counter     → smooth weighted sequence sequence, turn
//! least-…                 lowest score of the listed             least, score
//! power-of-two            lower score of two listed              two_choices, score
//! ```
//!
//! Before each of them goes [`affinity`], where a service has it.
//!
//! The data path runs [`pick`]; [`maglev`] and [`sequence`] prepare slots.

pub mod affinity;
pub mod least;
#[cfg(feature = "std")]
pub mod maglev;
pub mod pick;
pub mod score;
#[cfg(feature = "std")]
pub mod sequence;
pub mod slot;
pub mod source;
pub mod turn;
pub mod two_choices;
