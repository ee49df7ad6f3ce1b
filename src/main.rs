//! The `counterfoil` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(counterfoil::cli::run())
}
