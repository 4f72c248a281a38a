//! The data path alone: nanoseconds for a packet, by `BPF_PROG_TEST_RUN`.
//!
//! - [`driver`]: makes packets and calls the program under test. [`packets`]: what it sends.
//! - [`subject`]: what a program under test has to offer; [`evenkeel`], [`references`], [`textbook`], [`pinned`]: those
//!   there are. [`cases`]: what is measured. [`footprint`]: what they take besides time.

mod cases;
mod driver;
mod evenkeel;
mod footprint;
mod packets;
mod pinned;
mod references;
mod subject;
mod textbook;

pub(crate) use cases::SECTION;
