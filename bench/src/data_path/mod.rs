//! The data path alone: nanoseconds for a packet, by `BPF_PROG_TEST_RUN`.
//!
//! - [`driver`]: makes packets and calls the program under test. [`cases`]: what is measured. [`footprint`]: what programs take
//!   besides time.

mod cases;
mod driver;
mod footprint;

pub(crate) use cases::SECTION;
pub(crate) use driver::Driver;
