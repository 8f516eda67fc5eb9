//! The `pptp` program, the drop-in for pptp(8): the PPP daemon is someone else's, the tunnel is ours.
//!
//! Owns its command line ([`options`]), the server's addresses (`server`), the PPP stream on standard input
//! ([`stream`], [`sync`]), the process of one tunnel ([`gateway`]) and the call manager that tunnels to one server
//! share ([`manager`]). What it says and how it ends is the classic program's; where it does better on purpose,
//! `man/pptp.8` says so. RFC 2637 itself is in `pptp`.

mod accm;
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
pub mod sync;
pub mod tunnel;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use log::{Log, complain};
use options::Request;

use crate::{
    net::lookup,
    os::{descriptors::Inherited, process},
};

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    Inherited::at_start().close();
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match words.split_first() {
        Some((role, _)) if role == processes::MANAGER => ended(manager::monitor::main()),
        Some((role, _)) if role == processes::CONTROL => ended(manager::worker::main()),
        Some((role, _)) if role == processes::RESOLVER => ended(lookup::main()),
        Some((role, rest)) if role == processes::GATEWAY => match rest.split_first() {
            Some((pid, rest)) => tunnel(rest, pid.parse().ok()),
            None => ExitCode::FAILURE,
        },
        _ => tunnel(&words, None),
    }
}

fn ended(how: io::Result<()>) -> ExitCode {
    if how.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What was started by hand or by a PPP daemon; or, with `daemon`, by ourselves on a pty for it.
fn tunnel(words: &[String], daemon: Option<i32>) -> ExitCode {
    let (options, remarks) = match options::parse(words) {
        Ok(Request::Version) => return say(&format!("pptp version {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Request::Help) => return say(&options::help()),
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

fn say(text: &str) -> ExitCode {
    ended(io::stdout().lock().write_all(text.as_bytes()))
}
