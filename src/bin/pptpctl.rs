//! The pptpctl program: a few lines over the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    pptpctl::cli::main()
}
