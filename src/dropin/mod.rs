//! The `pptp` program, a drop-in replacement for pptp(8): it implements the tunnel and uses an external PPP
//! daemon.
//!
//! Contains the command line ([`options`]), the server's addresses (`server`), the PPP stream on standard
//! input ([`stream`]), the process of one tunnel ([`gateway`]) and the call manager shared by all
//! tunnels to one server ([`manager`]). Messages and exit statuses are those of the classic program;
//! `man/pptp.8` lists the deliberate improvements. RFC 2637 itself is in `pptp`.

mod accm;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzz;
pub mod gateway;
mod launch;
pub mod log;
pub mod manager;
pub mod options;
mod processes;
pub mod reorder_test;
mod server;
pub mod statistics;
pub mod stream;
pub mod tunnel;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use log::{Log, complain};
use options::Request;

use crate::{
    net::lookup,
    os::{descriptors::Inherited, process, setuid, signals},
};

/// Runs the role that the first argument names.
#[must_use]
pub fn main() -> ExitCode {
    if setuid::is_setuid() {
        complain(
            "pptp: must not be set-user-ID or set-group-ID: chmod ug-s it, and start it by pppd or as root",
        );
        return ExitCode::FAILURE;
    }
    signals::reset_inherited();
    processes::find_program();
    Inherited::at_start().close();
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match words.split_first() {
        Some((role, _)) if role == processes::MANAGER => exit_code(manager::monitor::main()),
        Some((role, _)) if role == processes::CONTROL => exit_code(manager::worker::main()),
        Some((role, _)) if role == processes::RESOLVER => exit_code(lookup::main()),
        Some((role, rest)) if role == processes::GATEWAY => match rest.split_first() {
            Some((pid, rest)) => tunnel(rest, pid.parse().ok()),
            None => ExitCode::FAILURE,
        },
        _ => tunnel(&words, None),
    }
}

fn exit_code(how: io::Result<()>) -> ExitCode {
    if how.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs `pptp` itself. `daemon` is the PPP daemon's process id if [`launch`] started this process on a pty.
fn tunnel(words: &[String], daemon: Option<i32>) -> ExitCode {
    let (options, remarks) = match options::parse(words) {
        Ok(Request::Version) => return print(&format!("pptp version {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Request::Help) => return print(&options::help()),
        Ok(Request::Run(options, remarks)) => (options, remarks),
        Err(refusal) => {
            complain(&format!("pptp: {}", refusal.message));
            if refusal.usage {
                complain(&options::help());
            }
            return ExitCode::from(refusal.status);
        }
    };
    if !options.no_launch && daemon.is_none() {
        return launch::run(&options, words);
    }
    process::set_name(c"pptpgw");
    let mut log = Log::open(&options.log_string);
    for remark in remarks {
        log.warn("main", remark);
    }
    let up = server::addresses(&options.host)
        .and_then(|servers| gateway::run(&options, &servers, &mut log, daemon));
    match up {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            log.fatal("main", why);
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> ExitCode {
    exit_code(io::stdout().lock().write_all(text.as_bytes()))
}
