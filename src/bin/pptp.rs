//! The pptp program, the drop-in for pptp(8): a few lines over the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    pptpctl::dropin::main()
}
