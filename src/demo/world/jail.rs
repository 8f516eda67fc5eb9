//! The client's jail (FreeBSD), with a network stack of its own, and the process that removes it.
//!
//! The jail's root is an empty file system in a temporary directory, with /dev, and read-only views of the directories
//! that a program needs. The keeper, a process outside the jail, makes it, starts the demo in it, and removes jail,
//! mounts and directory when the demo has ended, or when the process that the user started has, however it ended.

use std::{
    io::{self, Read},
    os::unix::{fs::DirBuilderExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    time::Duration,
};

use crate::{
    demo::Outcome,
    os::bsd::jails::{self, Mounts},
};

/// The hidden subcommand of the keeper.
pub const KEEPER: &str = "__demo-keeper";
/// The hidden subcommand of the demo in the jail; the name of the jail follows.
pub const INSIDE: &str = "__demo-inside";

/// Directories of the host that programs in the jail read.
const VISIBLE: [&str; 4] = ["/lib", "/libexec", "/usr/lib", "/etc"];
/// Directories in the jail that are empty at first.
const EMPTY: [&str; 4] = ["var/run", "var/db", "var/log", "tmp"];
/// Directory of this program in the jail.
const PROGRAM: &str = "/demo";

/// How often the keeper looks whether the demo has ended.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs the demo in a jail, and returns how its process ended.
///
/// # Errors
/// Returns the kernel's error if no process could be started.
pub fn run() -> io::Result<ExitStatus> {
    let mut keeper = Command::new(std::env::current_exe()?)
        .arg(KEEPER)
        .env_clear()
        .stdin(Stdio::piped())
        // Ctrl-C ends only this process; the keeper then removes the jail.
        .process_group(0)
        .spawn()?;
    // The keeper's standard input stays open until this process ends.
    let _open = keeper.stdin.take();
    keeper.wait()
}

/// Runs the keeper, and returns its exit status, which is that of the demo if it could make the jail.
#[must_use]
pub fn keep() -> ExitCode {
    let name = format!("pptpctl-demo-{}", std::process::id());
    let root = PathBuf::from(format!("/tmp/{name}"));
    let mut mounts = Mounts::default();
    let started = std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&root)
        .map_err(|error| format!("make {}: {error}", root.display()))
        .and_then(|()| start(&name, &root, &mut mounts));
    let code = match started {
        Ok(mut demo) => {
            // Ends with the process that the user started.
            let master = std::thread::spawn(|| io::stdin().lock().read(&mut [0]));
            wait(&mut demo, || master.is_finished())
        }
        Err(why) => {
            super::super::complain(format_args!("it could not {why}"));
            Outcome::NoNamespaces.code()
        }
    };
    jails::remove(&name);
    drop(mounts);
    if let Err(error) = std::fs::remove_dir(&root) {
        super::super::complain(format_args!("{}: {error}", root.display()));
    }
    code.into()
}

/// Waits for the demo, and kills it if it must end before.
fn wait(demo: &mut Child, is_over: impl Fn() -> bool) -> u8 {
    loop {
        match demo.try_wait() {
            Ok(Some(status)) => {
                return status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
            }
            Ok(None) if !is_over() => std::thread::sleep(PAUSE),
            _ => {
                let _gone = demo.kill();
                let _status = demo.wait();
                return 1;
            }
        }
    }
}

/// Mounts the jail's root, makes the jail, and starts the demo in it.
fn start(name: &str, root: &Path, mounts: &mut Mounts) -> Result<Child, String> {
    let program = std::env::current_exe().map_err(|error| format!("find its own program: {error}"))?;
    let directory = program.parent().unwrap_or(Path::new("/"));
    let failed = |place: &Path| {
        let place = place.display().to_string();
        move |error: io::Error| format!("mount {place}: {error}")
    };
    mounts.add("tmpfs", root).map_err(failed(root))?;
    std::fs::set_permissions(root, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .map_err(failed(root))?;
    let place = |path: &str| root.join(path.trim_start_matches('/'));
    let make = |path: &Path| {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o755).create(path).map_err(failed(path))
    };
    for path in EMPTY {
        make(&place(path))?;
    }
    for (source, path) in VISIBLE.iter().map(|path| (Path::new(path), *path)).chain([(directory, PROGRAM)]) {
        if source.is_dir() {
            let at = place(path);
            make(&at)?;
            mounts.add_directory(source, &at).map_err(|error| {
                format!("mount {} with nullfs(5): {error}; `kldload nullfs` loads it", at.display())
            })?;
        }
    }
    let devices = place("dev");
    make(&devices)?;
    mounts.add("devfs", &devices).map_err(failed(&devices))?;
    let jail = jails::create(name, root, 1).map_err(|error| {
        format!("make a jail with a network stack of its own (vnet): {error}; a jail itself needs children.max of at least 2")
    })?;
    Command::new(&program)
        .args([INSIDE, &jail.to_string()])
        .env_clear()
        .arg(Path::new(PROGRAM).join(program.file_name().unwrap_or_default()))
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| format!("start: {error}"))
}

/// Enters the jail that the arguments name, and returns the path of this program in it.
///
/// # Errors
/// Returns the kernel's error.
pub fn enter() -> io::Result<PathBuf> {
    let mut arguments = std::env::args_os().skip(2);
    let jail = arguments.next().and_then(|jail| jail.to_str()?.parse().ok());
    let program = arguments.next().map(PathBuf::from);
    let (jail, program) = jail.zip(program).ok_or(io::ErrorKind::InvalidInput)?;
    jails::enter(jail)?;
    Ok(program)
}
