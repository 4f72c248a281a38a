//! The planner and the publisher over a data path in memory, with real packets.
//!
//! `world` is a desired state small enough to change at random, `packets` what clients send and where it went, `node` a
//! daemon that can be killed between any two writes, `checker` an independent model of what a program under way may
//! still read. The other modules are tests.

mod plan {
    mod checker;
    mod node;
    mod packets;
    mod world;

    mod extent;
    mod full;
    mod groups;
    mod interruption;
    mod regressions;
    mod resolve;
    mod sequences;
}
