//! Runs test programs of this workspace on another kernel, in QEMU; started by `cargo xtask test kernels`.
//!
//! The same program is the [`host`]'s side, which makes the guest and passes its output on, and the guest's first process
//! ([`inside`]), which runs the tests. [`orders`] is what the one tells the other.

mod host;
mod inside;
mod orders;

use std::process::ExitCode;

use evenkeel_tests::vm::INIT;

fn main() -> ExitCode {
    if std::process::id() == 1 && std::env::args_os().next().is_some_and(|name| name == INIT) {
        return inside::main();
    }
    match host::main() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
