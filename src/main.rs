//! The `counterfoil` command.

use std::process::ExitCode;

/// An append makes some hundred small allocations on several threads; see `docs/decisions/0021-allocator.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(counterfoil::cli::run())
}
