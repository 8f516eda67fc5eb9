//! The pptp program, a drop-in replacement for pptp(8). Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    pptpctl::pptp_main()
}
