//! The flow table: a long seeded simulation, the life of a flow packet by packet, and what happens when it is full.

mod full;
mod generation;
mod life;
mod memory;
mod node;
mod random;
mod resize;
mod simulation;
mod skew;
mod steady;
