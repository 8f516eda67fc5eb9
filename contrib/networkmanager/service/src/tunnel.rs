//! Runs pptpctl: makes the profile, brings the tunnel up, reads its events.

use std::{
    ffi::OsStr,
    fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use crate::{
    report::Failure,
    settings::{self, Settings},
};

/// The directory of the profiles, for root only.
const DIRECTORY: &str = "/run/nm-pptpctl";

/// What the profile's importer says about what this service does itself.
const NEEDLESS_REMARKS: [&str; 5] =
    ["taken for ", "profile `", "needs no setting", "no password", "write it there"];

/// A profile in its file, which is removed on drop.
pub struct Profile {
    name: String,
    file: PathBuf,
}

impl Drop for Profile {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.file);
    }
}

impl Profile {
    /// Makes the profile of a connection, with `pptpctl import`.
    pub fn of(settings: &Settings) -> Result<Self, Failure> {
        let name = settings.profile();
        let mut import = pptpctl(["import", "--from", "networkmanager", "--name", &name, "-"]);
        let output = with_input(&mut import, settings.keyfile().as_bytes())
            .map_err(|error| Failure::own(format!("cannot run pptpctl: {error}")))?;
        let remarks = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            let remarks: Vec<&str> = remarks.lines().map(str::trim).collect();
            return Err(Failure::own(format!("pptpctl cannot use this connection: {}", remarks.join("; "))));
        }
        let needless = |line: &str| NEEDLESS_REMARKS.iter().any(|words| line.contains(words));
        for remark in remarks.lines().map(str::trim).filter(|line| !line.is_empty() && !needless(line)) {
            eprintln!("{name}: {remark}");
        }
        let text = settings::profile(&String::from_utf8_lossy(&output.stdout));
        remove_remains();
        // Of this process alone: that of the last connection may still be at its end.
        let file = Path::new(DIRECTORY).join(format!("{name}.{}.toml", std::process::id()));
        write_private(&file, &text)
            .map_err(|error| Failure::own(format!("cannot write {}: {error}", file.display())))?;
        Ok(Self { name, file })
    }

    /// Takes down what a service that was killed has left.
    pub fn take_remains_down(&self) {
        let mut down =
            pptpctl([OsStr::new("--config"), self.file.as_ref(), "down".as_ref(), self.name.as_ref()]);
        // It is not up as a rule, which is no failure.
        let _status = down.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }

    /// Starts `up`. The password goes through a pipe.
    pub fn up(&self, password: &str) -> io::Result<Child> {
        let arguments: [&OsStr; 6] = [
            "--config".as_ref(),
            self.file.as_ref(),
            "up".as_ref(),
            "--foreground".as_ref(),
            "--json".as_ref(),
            self.name.as_ref(),
        ];
        // Its log goes to NetworkManager's, by standard error.
        let mut child = pptpctl(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // One that has ended already says why.
            let _sent = writeln!(input, "{password}");
        }
        Ok(child)
    }
}

/// Calls `each` with each line that the child prints, until it closes its output.
pub fn each_line(child: &mut Child, mut each: impl FnMut(&str)) {
    let Some(output) = child.stdout.take() else { return };
    for line in BufReader::new(output).lines() {
        let Ok(line) = line else { break };
        each(&line);
    }
}

/// Returns a command of the program, with an environment of its own.
fn pptpctl(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(program());
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.current_dir("/");
    command
}

/// Finds pptpctl: beside this program, else where it is installed.
fn program() -> PathBuf {
    let own = std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned));
    let places = own.into_iter().chain(["/usr/local/bin", "/usr/bin"].map(PathBuf::from));
    let found = places.map(|directory| directory.join("pptpctl")).find(|path| path.is_file());
    found.unwrap_or_else(|| PathBuf::from("pptpctl"))
}

fn with_input(command: &mut Command, input: &[u8]) -> io::Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        let _sent = pipe.write_all(input);
    }
    child.wait_with_output()
}

/// Removes the profiles of services that were killed.
fn remove_remains() {
    for entry in fs::read_dir(DIRECTORY).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_suffix(".toml")?.rsplit_once('.'));
        if owner.is_some_and(|(_, pid)| !Path::new("/proc").join(pid).exists()) {
            let _gone = fs::remove_file(entry.path());
        }
    }
}

fn write_private(file: &Path, text: &str) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(DIRECTORY) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // One that a killed service has left.
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    file.write_all(text.as_bytes())
}
