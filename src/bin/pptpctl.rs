//! The pptpctl program. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    pptpctl::pptpctl_main()
}
