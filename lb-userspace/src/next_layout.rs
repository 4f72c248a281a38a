//! The `evenkeel` binary with a layout of the tables that only tests have.

use std::process::ExitCode;

fn main() -> ExitCode {
    evenkeel::cli::main()
}
