//! The `evenkeel` binary; see [`evenkeel::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    evenkeel::cli::main()
}
