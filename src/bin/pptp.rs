//! The pptp program, the drop-in for pptp(8). It comes with the next release; until then it says so and fails,
//! so that nobody mistakes it for the real one.

use std::{
    io::{self, Write},
    process::ExitCode,
};

fn main() -> ExitCode {
    let text =
        "pptp: the drop-in for pptp(8) comes with the next release; use `pptpctl up NAME` with a profile\n";
    let _closed = io::stderr().lock().write_all(text.as_bytes());
    ExitCode::FAILURE
}
