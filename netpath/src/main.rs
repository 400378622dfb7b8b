//! The `netpath` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    netpath::cli::main(std::env::args_os())
}
