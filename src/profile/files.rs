//! Finds the files with profiles, and checks which of them can be trusted.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{libc, unistd::Uid};

use super::{report::Finding, source::Source};
use crate::platform::CONFIG_DIR;

/// The largest file, in bytes.
const MAX_SIZE: usize = 1024 * 1024;

/// The paths where profiles are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locations {
    /// `profiles.toml`, or the argument of `--config`.
    pub file: PathBuf,
    /// `profiles.d` beside it, in which each `*.toml` is read, sorted by name.
    pub directory: PathBuf,
    /// Whether the profiles are used with root's rights, so that only root may be able to write the files.
    pub as_root: bool,
    /// Whether the user named the file, so that it has to exist.
    pub is_explicit: bool,
}

/// There is neither `--config` nor a home directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no place to look for profiles: $HOME is not set; name a file with --config")]
pub struct NoHome;

impl Locations {
    /// Returns the paths for `config` (from `--config`) if it is given; otherwise those in `/etc/pptpctl` for
    /// root, and in the configuration directory (`$XDG_CONFIG_HOME/pptpctl`, usually `~/.config/pptpctl`) for
    /// other users.
    ///
    /// # Errors
    /// Returns [`NoHome`] if there is no such directory.
    pub fn find(config: Option<&Path>) -> Result<Self, NoHome> {
        let as_root = Uid::effective().is_root();
        if let Some(file) = config {
            let directory = file.parent().unwrap_or(Path::new("")).join("profiles.d");
            return Ok(Self { file: file.to_owned(), directory, as_root, is_explicit: true });
        }
        let directory = if as_root {
            PathBuf::from(CONFIG_DIR)
        } else {
            let places = directories::ProjectDirs::from("", "", "pptpctl").ok_or(NoHome)?;
            places.config_dir().to_owned()
        };
        Ok(Self {
            file: directory.join("profiles.toml"),
            directory: directory.join("profiles.d"),
            as_root,
            is_explicit: false,
        })
    }
}

/// Opens a file for reading, without waiting for the other end of a FIFO.
pub type Open<'a> = &'a dyn Fn(&Path) -> io::Result<File>;

/// Opens a file in this process.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// Reads every file that exists and can be trusted; all others become findings.
pub(super) fn read(locations: &Locations, open: Open<'_>) -> (Vec<Source>, Vec<Finding>) {
    let mut sources = Vec::new();
    let mut findings = Vec::new();
    let mut paths = Vec::new();
    if locations.is_explicit || locations.file.symlink_metadata().is_ok() {
        paths.push(locations.file.clone());
    }
    match toml_files(&locations.directory) {
        Ok(more) => paths.extend(more),
        Err(error) => {
            findings.push(Finding::error(format!("cannot list {}: {error}", locations.directory.display())))
        }
    }
    if paths.is_empty() {
        findings.push(no_profiles(locations));
    }
    for path in paths {
        match read_one(&path, locations, open) {
            Ok(source) => sources.push(source),
            Err(finding) => findings.push(*finding),
        }
    }
    (sources, findings)
}

/// Returns the `*.toml` of a directory, sorted, without hidden files; none if the directory does not exist.
fn toml_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn no_profiles(locations: &Locations) -> Finding {
    let (file, directory) = (locations.file.display(), locations.directory.display());
    let of_root = Path::new(CONFIG_DIR).join("profiles.toml").exists()
        || Path::new(CONFIG_DIR).join("profiles.d").exists();
    if !locations.as_root && of_root {
        let mut finding = Finding::error("you have no profiles of your own");
        finding.help.push(format!("those in {CONFIG_DIR} belong to root: use sudo for them"));
        finding.help.push(format!("looked for {file} and for *.toml in {directory}"));
        return finding;
    }
    let mut finding = Finding::error("there are no profiles yet");
    finding.help.push(format!("looked for {file} and for *.toml in {directory}"));
    finding.help.push("to start, `pptpctl init NAME` asks for what a profile needs, as root".to_owned());
    finding.help.push(format!("or copy profiles.example.toml to {file} and edit it"));
    if !locations.as_root {
        finding.help.push(format!("profiles in {CONFIG_DIR} belong to root: use sudo for those"));
    }
    finding
}

fn read_one(path: &Path, locations: &Locations, open: Open<'_>) -> Result<Source, Box<Finding>> {
    let shown = path.display();
    let wrong = |title: String| Box::new(Finding::error(title));
    let failed = |error: io::Error| {
        let mut finding = Finding::error(format!("cannot read {shown}: {error}"));
        if error.kind() == io::ErrorKind::NotFound {
            finding
                .help
                .push("to start, `pptpctl init NAME` asks for what a profile needs, as root".to_owned());
            finding.help.push(format!("or copy profiles.example.toml to {shown} and edit it"));
        }
        Box::new(finding)
    };
    // The checks are made on the open file.
    let file = open(path).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    if !facts.is_file() {
        return Err(wrong(format!("{shown} is not a regular file")));
    }
    if locations.as_root {
        check_ownership(path, &facts)?;
    }
    let bytes = read_bounded(file).map_err(failed)?;
    if bytes.len() > MAX_SIZE {
        return Err(wrong(format!("{shown} is larger than {MAX_SIZE} bytes")));
    }
    let owned = facts.uid() == 0 || facts.uid() == Uid::effective().as_raw();
    let is_private = owned && facts.mode() & 0o077 == 0;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(path, text, is_private)),
        Err(error) => {
            let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
            let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
            Err(wrong(format!("{shown}:{line}: not UTF-8 text")))
        }
    }
}

fn read_bounded(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_SIZE).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Checks that only root can change the file, a directory above it or a link on its path: another user could run
/// commands as root through `password.command`.
fn check_ownership(path: &Path, facts: &Metadata) -> Result<(), Box<Finding>> {
    let failed = |place: &Path, error: io::Error| {
        Box::new(Finding::error(format!("cannot read {}: {error}", place.display())))
    };
    let absolute = std::path::absolute(path).map_err(|error| failed(path, error))?;
    let resolved = fs::canonicalize(path).map_err(|error| failed(path, error))?;
    // The names as they were given, of which one may be a link that another user can change, and what they lead to.
    let given = absolute.ancestors().filter(|place| place.is_symlink());
    let above = resolved.ancestors().skip(1);
    let mut checks = vec![(path.to_owned(), facts.clone(), false)];
    for place in given.chain(above) {
        let found = fs::symlink_metadata(place).map_err(|error| failed(place, error))?;
        // Every mode of a link is 0777. In a directory with the sticky bit, such as /tmp, other users cannot replace
        // what is root's.
        let excused = found.is_symlink() || found.mode() & 0o1000 != 0;
        checks.push((place.to_owned(), found, excused));
    }
    for (place, facts, excused) in checks {
        let shown = place.display();
        let complaint = if facts.uid() != 0 {
            Some((
                format!("{shown} belongs to user {}, not to root", facts.uid()),
                format!("chown root {shown}"),
            ))
        } else if facts.mode() & 0o022 != 0 && !excused {
            Some((format!("{shown} can be written by others than root"), format!("chmod go-w {shown}")))
        } else {
            None
        };
        if let Some((title, remedy)) = complaint {
            let mut finding = Finding::error(title);
            finding
                .help
                .push("a user who can change profiles could run commands as root through them".to_owned());
            finding.help.push(remedy);
            return Err(Box::new(finding));
        }
    }
    Ok(())
}
