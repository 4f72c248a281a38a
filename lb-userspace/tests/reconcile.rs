//! The reconciler over tables in memory: it looks at what an event concerns, and the tables are as if it looked at everything.

#[path = "reconcile/node.rs"]
mod node;
#[path = "reconcile/one_down.rs"]
mod one_down;
#[path = "reconcile/sequences.rs"]
mod sequences;
