//! The command line: arguments, rendering, exit statuses.
//!
//! Each command has a file. [`args`] defines the arguments, [`exit`] the exit statuses, and `render` the
//! output while a tunnel comes up. The commands change the host only through `supervisor`.

pub mod args;
#[cfg(feature = "setup")]
mod ask;
mod autostart;
mod batches;
#[cfg(feature = "capture")]
mod capture;
mod check;
#[cfg(feature = "completions")]
mod completions;
mod counted;
#[cfg(feature = "demo")]
mod demo;
#[cfg(feature = "doctor")]
mod doctor;
mod down;
#[cfg(feature = "setup")]
mod edit;
mod events;
pub mod exit;
mod features;
#[cfg(feature = "setup")]
mod import;
#[cfg(feature = "setup")]
mod import_files;
#[cfg(feature = "setup")]
mod import_places;
#[cfg(feature = "setup")]
mod import_write;
mod in_force;
#[cfg(feature = "setup")]
mod init;
mod list;
mod live;
mod logs;
#[cfg(feature = "metrics")]
mod metrics;
mod output;
mod pause;
#[cfg(any(feature = "metrics", feature = "setup"))]
mod put;
mod recover;
mod redial;
mod reload;
mod render;
#[cfg(feature = "report")]
mod report;
mod restart;
mod routes;
mod status;
mod status_table;
mod terminal;
mod up;
mod wait;
#[cfg(feature = "watch")]
mod watch;
mod wrap;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command, Reload, Up};

/// Runs `pptpctl` and returns its exit status.
#[must_use]
pub fn main() -> ExitCode {
    if crate::supervisor::is_setuid() {
        output::error("pptpctl must not be set-user-ID or set-group-ID: chmod ug-s it, and use sudo or doas");
        return exit::USAGE.into();
    }
    crate::supervisor::reset_inherited();
    // The supervisor's child processes have no command line for users.
    if let Some(code) = crate::supervisor::child_main() {
        return code;
    }
    #[cfg(all(feature = "demo", any(target_os = "linux", target_os = "freebsd")))]
    if let Some(code) = crate::demo::child_main() {
        return code;
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            if let Some(refusal) = features::lacking(&error) {
                output::error(refusal);
                return exit::USAGE.into();
            }
            // Help and version are not errors, and neither is a closed pipe.
            let _closed = error.print();
            return if error.use_stderr() { exit::USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    let config = args.config.as_deref();
    let code = match &args.command {
        #[cfg(feature = "setup")]
        Command::Init(init) => init::main(config, init),
        #[cfg(feature = "setup")]
        Command::Edit { name } => edit::main(config, name),
        Command::Up(up) => up::main(config, up),
        Command::Down { name, json, .. } => down::main(config, name.as_deref(), *json),
        Command::Restart(restart) => restart::main(config, restart),
        Command::Reload(reload) => reload::main(config, reload),
        Command::Redial { name, wait, json } => redial::main(config, name, *wait, *json),
        Command::Pause { name, length, end, json } => pause::main(name, *length, *end, *json),
        Command::Status { name, json } => status::main(config, name.as_deref(), *json),
        Command::Events { name, interval } => events::main(config, name.as_deref(), *interval),
        #[cfg(feature = "metrics")]
        Command::Metrics { textfile } => metrics::main(config, textfile.as_deref()),
        #[cfg(feature = "watch")]
        Command::Watch { name } => watch::main(config, name.as_deref()),
        Command::Routes { name, destinations, json } => routes::main(config, name, destinations, *json),
        Command::List { names, json } => list::main(config, *names, *json),
        Command::Check { platform, json } => check::main(config, *platform, *json),
        #[cfg(feature = "doctor")]
        Command::Doctor { name, dial, json } => doctor::main(config, name.as_deref(), *dial, *json),
        Command::Logs { name, follow, json } => logs::main(name, *follow, *json),
        #[cfg(feature = "capture")]
        Command::Capture(capture) => capture::main(config, capture),
        #[cfg(feature = "report")]
        Command::Report { name, output, json } => report::main(config, name, output.as_deref(), *json),
        #[cfg(feature = "setup")]
        Command::Import(import) => import::main(config, import),
        Command::Recover { json } => recover::main(*json),
        #[cfg(feature = "demo")]
        Command::Demo => demo::main(),
        #[cfg(feature = "completions")]
        Command::Completions { shell, program } => completions::main(*shell, *program),
    };
    match args.command {
        // The change to the host counts: a tunnel that is up has not failed because its last line of output
        // was lost.
        #[cfg(feature = "setup")]
        Command::Init(_) | Command::Edit { .. } => code.into(),
        Command::Up(Up { dry_run: false, .. })
        | Command::Down { .. }
        | Command::Restart(_)
        | Command::Redial { .. }
        | Command::Pause { .. }
        | Command::Reload(Reload { dry_run: false, .. })
        | Command::Recover { .. } => code.into(),
        _ => output::unless_lost(code).into(),
    }
}
