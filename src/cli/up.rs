//! `up`: checks everything that can fail before a packet is sent, then runs the supervisor.

use std::{
    fmt::Display,
    io::{self, IsTerminal},
    iter,
    path::Path,
    process,
    time::Instant,
};

use daemonize::{Daemonize, Outcome};

use super::{
    args::{Progress, Up},
    autostart, check,
    exit::{self, Code},
    output::{self, data, error, line},
    recover,
    render::{self, Screen},
    wait,
};
use crate::{
    plan,
    platform::Platform,
    profile::{Locations, Profile},
    supervisor::{
        self, Failure, FailureKind, Here, Inherited, Lock, LockError, Phase, ProfileSource, Reporter,
        Signals, TunnelJob,
        ipc::progress,
        log,
        password::{self, SecretAccess},
    },
};

pub fn main(config: Option<&Path>, args: &Up) -> Code {
    // Recorded before this process opens any file, and kept until the passwords have been read, as some may
    // come through these.
    let inherited = Inherited::at_start();
    match &args.name {
        Some(name) => one(config, name, args, &inherited),
        None => {
            let one = |name: &str| match one(config, name, args, &inherited) {
                // Another `up` was faster.
                exit::ALREADY_UP => exit::OK,
                code => code,
            };
            if args.dry_run {
                return autostart::each(config, one);
            }
            let options = [
                ("--wait", args.wait),
                ("--from-start", args.from_start),
                ("--quiet", args.progress.quiet),
                ("--verbose", args.progress.verbose),
            ];
            let given = options.iter().filter(|(_, is_given)| *is_given).map(|(option, _)| *option);
            let process: Vec<&str> = iter::once("up").chain(given).collect();
            autostart::up(config, &process, one)
        }
    }
}

/// Brings one tunnel up. A password that was typed and refused is asked for once more: the server has decided on the
/// first log-in, so the limit of undecided ones does not apply, and everything has been undone.
pub fn one(config: Option<&Path>, name: &str, args: &Up, inherited: &Inherited) -> Code {
    let mut refused = false;
    let first = up(config, name, args, inherited, &mut refused);
    if refused && !args.progress.json && password::can_ask() {
        line(format_args!("{name}: once more, in case the password was mistyped (Ctrl-C to leave it)"));
        return match up(config, name, args, inherited, &mut refused) {
            Ok(code) | Err(code) => code,
        };
    }
    match first {
        Ok(code) | Err(code) => code,
    }
}

/// Sets `refused` if the server has refused a password that the user typed.
fn up(
    config: Option<&Path>,
    name: &str,
    args: &Up,
    inherited: &Inherited,
    refused: &mut bool,
) -> Result<Code, Code> {
    let started = Instant::now();
    if !args.dry_run {
        output::need_root("up", output::FOR_A_TUNNEL)?;
        output::need_all_of_root("up")?;
    }
    let platform = args.platform.unwrap_or(Platform::host());
    let mut profile = output::profile(config, name, platform)?;
    profile.retry.from_start |= args.from_start;
    if !args.dry_run {
        render::need_proc(name)?;
    }
    if args.dry_run {
        // A plan for a named system is that of any host.
        let here = if args.platform.is_none() { supervisor::here(&profile) } else { Here::default() };
        show_plan(&profile, platform, &here);
        for warning in check::warnings_about(config, &profile.name, platform) {
            line(format_args!("# {warning}"));
        }
        return Ok(here.preview.refusal.map_or(exit::OK, |failure| Code::of(&failure)));
    }
    // Before anything exists that a signal could leave behind.
    let mut signals = Signals::listen().map_err(|wrong| {
        error(format_args!("{name}: {wrong}"));
        exit::INTERNAL
    })?;
    let lock = lock(name, args.progress.json, args.wait.then_some(&mut signals))?;
    put_back_remains(&profile, args.progress);
    let password = match password(&profile, inherited, &mut signals, args.progress) {
        Ok(password) => password,
        Err(code) => {
            lock.release();
            return Err(code);
        }
    };
    let source = match source(config, args) {
        Ok(source) => source,
        Err(code) => {
            lock.release();
            return Err(code);
        }
    };
    let job = TunnelJob { profile, source, password, lock, started, signals };
    let until = match job.profile.retry.from_start && !args.wait {
        true => progress::Until::FirstFailure,
        false => progress::Until::End,
    };
    if args.foreground {
        return foreground(job, inherited.clone(), args.progress);
    }
    let is_typed = job.profile.password.is_asked();
    background(job, inherited.clone(), until, args.progress).map_err(|end| {
        *refused = is_typed && end.blames_password;
        end.code
    })
}

/// Returns where `reload` reads the profile again.
fn source(config: Option<&Path>, args: &Up) -> Result<ProfileSource, Code> {
    let found = Locations::find(config).map_err(io::Error::other);
    found.and_then(|locations| ProfileSource::new(locations, args.from_start)).map_err(|wrong| {
        error(wrong);
        exit::INTERNAL
    })
}

/// The end of a tunnel that did not come up.
struct Unsuccessful {
    code: Code,
    blames_password: bool,
}

impl From<Code> for Unsuccessful {
    fn from(code: Code) -> Self {
        Self { code, blames_password: false }
    }
}

/// Shows the steps that `up` performs, and how they are undone: from the same plan.
pub fn show_plan(profile: &Profile, platform: Platform, here: &Here) {
    let mut transport = plan::transport(profile, platform).resolve(&here.facts);
    let mut network = plan::network(profile, platform, Path::new(platform.run_dir())).resolve(&here.facts);
    network.notes.extend(here.notes.iter().cloned());
    let collisions = &here.preview.collisions;
    match &here.preview.refusal {
        Some(failure) => {
            line(format_args!("# on this host `up` would fail now, in phase {failure}"));
            failure.hints.iter().for_each(|hint| line(format_args!("#   - {hint}")));
            line("# on a host without this collision:");
        }
        None => {
            (transport, network) = (transport.around(collisions), network.around(collisions));
            network.notes.extend(collisions.warnings());
        }
    }
    let step = |text: String| match &profile.link.netns {
        Some(netns) if platform == Platform::Linux => data(plan::line_in_netns(netns, &text)),
        _ => data(text),
    };
    if profile.password.is_asked() {
        line(format_args!(
            "# {}: the password is asked for at the terminal, before anything else",
            profile.name
        ));
    }
    line(format_args!("# {}: before anything is sent", profile.name));
    transport.lines().for_each(step);
    if let Some((title, told)) = supervisor::backend::displayed_configuration(profile) {
        line(format_args!("# {title}"));
        told.iter().for_each(line);
    }
    line("# when the link is up");
    network.lines().for_each(step);
    if !profile.retry.keep_routes {
        line("# while the tunnel is lost, until it is up again");
        network.withdraw_lines().for_each(step);
    }
    line("# down");
    network.undo_lines().chain(transport.undo_lines()).for_each(step);
    for note in transport.notes.iter().chain(&network.notes) {
        line(format_args!("# {note}"));
    }
}

/// Takes the lock of the profile. If a supervisor holds it, waits for its tunnel if `waiting` has the signals that end
/// the wait, and returns the exit status.
fn lock(name: &str, json: bool, waiting: Option<&mut Signals>) -> Result<Lock, Code> {
    // The supervisor signs again when it runs; until then the lock names this process.
    let signed = Lock::acquire(name).and_then(|mut lock| {
        // A running supervisor whose control directory was removed has lost its lock, too.
        let signed = match supervisor::supervisor_without_lock(name) {
            Some(pid) => Err(LockError::Held(pid)),
            None => lock.sign(),
        };
        match signed {
            Ok(()) => Ok(lock),
            Err(refused) => {
                lock.release();
                Err(refused)
            }
        }
    });
    // Without its files, a running supervisor is known by its ledger.
    let known = |refused| match supervisor::ipc::client::supervisor_in_ledger(name) {
        Some(pid) => LockError::Held(pid),
        None => refused,
    };
    signed.map_err(known).map_err(|refused| match refused {
        LockError::Held(pid) => {
            if let Some(signals) = waiting {
                return wait::until_up(name, json, signals);
            }
            let state = match supervisor::ipc::client::status(name) {
                Ok(status) => status.state,
                Err(supervisor::ClientError::NoSocket(_)) => "running".to_owned(),
                Err(_) => "coming up".to_owned(),
            };
            error(format_args!(
                "{name} is {state} already (supervisor {pid}); `pptpctl down {name}` ends it"
            ));
            exit::ALREADY_UP
        }
        LockError::Io { ref path, error: ref why } => {
            match supervisor::host_failure(Phase::Resolve, path, why) {
                Some(failure) => render::refuse(name, &failure),
                None => {
                    error(refused);
                    exit::INTERNAL
                }
            }
        }
    })
}

/// Undoes the steps of dead supervisors, of this profile and of others, which would conflict with the new
/// ones.
fn put_back_remains(profile: &Profile, progress: Progress) {
    let recovery = supervisor::recover_before_up(profile);
    for recovered in &recovery.recovered {
        remark(progress, recover::words(recovered));
    }
    for wrong in &recovery.errors {
        error(wrong);
    }
    // Another profile's remains are a warning; only a ledger of this profile prevents `up`, and `run` reports
    // it.
}

/// Prints a line that is no event: none if only failures are wanted, and not among the JSON lines.
fn remark(progress: Progress, words: impl Display) {
    match progress {
        Progress { quiet: true, .. } => {}
        Progress { json: true, .. } => output::complain(words),
        _ => line(words),
    }
}

fn password(
    profile: &Profile,
    inherited: &Inherited,
    signals: &mut Signals,
    progress: Progress,
) -> Result<crate::secret::Secret, Code> {
    // A prompt speaks for itself.
    if let Some(place) = profile.password.waits_for().filter(|_| !profile.password.is_asked()) {
        let limit = SecretAccess::of_this_process().limit.as_secs();
        remark(progress, format_args!("  {:<15} from {place}, within {limit} s", "password"));
    }
    let (source, access) = (profile.password.clone(), SecretAccess::of_profile(profile));
    let inherited = inherited.clone();
    supervisor::disable_core_files().map_err(|wrong| {
        error(format_args!(
            "{}: cannot disable core files, which would contain the password: {wrong}",
            profile.name
        ));
        exit::INTERNAL
    })?;
    // A password prompt may stay unanswered: Ctrl-C must leave nothing behind, not even the lock.
    let load = move || {
        let open_fd = move |fd| inherited.reader(fd);
        password::load(&source, &SecretAccess { open_fd: &open_fd, ..access })
    };
    match supervisor::unless_ended(signals, load) {
        Ok(Some(loaded)) => loaded.map_err(|wrong| {
            error(format_args!("{}: {wrong}", profile.name));
            exit::PROFILE
        }),
        Ok(None) => {
            error(format_args!("{}: {}", profile.name, FailureKind::Interrupted.words()));
            Err(Code::of_kind(FailureKind::Interrupted))
        }
        Err(wrong) => {
            error(format_args!("{}: {wrong}", profile.name));
            Err(exit::INTERNAL)
        }
    }
}

fn foreground(job: TunnelJob, inherited: Inherited, progress: Progress) -> Result<Code, Code> {
    inherited.close();
    let mut screen = Screen::new(job.profile.name.as_str(), progress, &job.profile.timeouts);
    // A user at a terminal wants the phases; the journal needs the log.
    let is_terminal = io::stdout().is_terminal();
    log::to_stderr(if is_terminal { crate::profile::LogLevel::Quiet } else { job.profile.loglevel });
    let reporter = match is_terminal || progress.json {
        true => Reporter::call(move |progress| screen.show(progress)),
        false => Reporter::call(|_| {}),
    };
    Ok(supervisor::run(job, reporter).map_or_else(|failure| Code::of(&failure), |()| exit::OK))
}

fn background(
    mut job: TunnelJob,
    inherited: Inherited,
    until: progress::Until,
    options: Progress,
) -> Result<Code, Unsuccessful> {
    let name = job.profile.name.as_str().to_owned();
    let internal = |error: io::Error| {
        output::error(format_args!("{name}: {error}"));
        exit::INTERNAL
    };
    let (mut reporter, waiting) = Reporter::pipe().map_err(internal)?;
    match Daemonize::new().working_directory("/").umask(0o077).execute() {
        Outcome::Parent(Ok(_)) => {
            let TunnelJob { signals, lock, password, profile, .. } = job;
            drop((reporter, lock, password));
            wait_for(Screen::new(&name, options, &profile.timeouts), &name, waiting, signals, until)
        }
        Outcome::Parent(Err(error)) => {
            job.lock.release();
            output::error(format_args!("{name}: cannot start the daemon: {error}"));
            Err(exit::INTERNAL.into())
        }
        Outcome::Child(daemonized) => {
            inherited.close();
            drop(waiting);
            let ready = daemonized.map_err(|error| error.to_string()).and_then(|_| {
                // The inherited signal listener is the parent's.
                job.signals = Signals::listen().map_err(|error| format!("cannot set up signals: {error}"))?;
                if let Some(note) = supervisor::open_log(&name, job.profile.loglevel) {
                    reporter.report(&progress::Progress::Note(note));
                }
                Ok(())
            });
            if let Err(error) = ready {
                job.lock.release();
                let failure = Failure::new(Phase::Resolve, FailureKind::Internal, error);
                reporter.report(&progress::Progress::Failed { failure, problems: Vec::new() });
                process::exit(i32::from(exit::INTERNAL.number()));
            }
            let end = supervisor::run(job, reporter);
            process::exit(i32::from(end.map_or_else(|failure| Code::of(&failure), |()| exit::OK).number()));
        }
    }
}

/// Renders the daemon's reports until the tunnel is up or has failed, or the supervisor goes on alone. Ctrl-C takes it
/// down again.
fn wait_for(
    mut screen: Screen,
    name: &str,
    waiting: std::os::unix::net::UnixStream,
    signals: Signals,
    until: progress::Until,
) -> Result<Code, Unsuccessful> {
    let interrupted = || {
        // What could not be undone is in the daemon's final report, which is still to come.
        let _reported = supervisor::ipc::client::down(name);
    };
    let interval = screen.interval();
    let each = |progress: Option<&progress::Progress>| match progress {
        Some(progress) => screen.show(progress),
        None => screen.tick(),
    };
    match progress::listen(waiting, signals, (until, interval), interrupted, each) {
        Ok(progress::Outcome::Up) => Ok(exit::OK),
        Ok(progress::Outcome::Trying) => {
            screen.left_alone();
            Ok(exit::OK)
        }
        Ok(progress::Outcome::Failed(failure)) => Err(Unsuccessful {
            code: Code::of(&failure),
            blames_password: supervisor::hints::blames_password(&failure),
        }),
        Err(wrong) => {
            error(format_args!("{name}: {wrong}; `pptpctl recover` undoes what it may have left"));
            Err(exit::INTERNAL.into())
        }
    }
}
