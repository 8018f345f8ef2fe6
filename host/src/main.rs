//! The command `switchboard`. What it does is in the library's `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    switchboard::cli::run()
}
