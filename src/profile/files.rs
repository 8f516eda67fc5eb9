//! Where profiles are kept, and which files may be believed.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{libc, unistd::Uid};

use super::{report::Finding, source::Source};

/// The directory of root's profiles, on every platform.
pub const SYSTEM_DIRECTORY: &str = "/etc/pptpctl";

/// The most that one file may hold, in bytes.
const MAX_SIZE: usize = 1024 * 1024;

/// The places of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locations {
    /// `profiles.toml`, or what `--config` names.
    pub file: PathBuf,
    /// `profiles.d` beside it: each `*.toml` in it is read, in the order of the names.
    pub directory: PathBuf,
    /// Whether the files are obeyed with root's rights: then no one else may be able to write them.
    pub as_root: bool,
    /// Whether the person named the file, so that it has to exist.
    pub named: bool,
}

/// There is neither `--config` nor a home directory to look in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no place to look for profiles: $HOME is not set; name a file with --config")]
pub struct NoHome;

impl Locations {
    /// `config` (from `--config`) over all; else `/etc/pptpctl` for root, the user's configuration directory
    /// (`$XDG_CONFIG_HOME/pptpctl`, mostly `~/.config/pptpctl`) for others.
    ///
    /// # Errors
    /// [`NoHome`] when there is no directory to look in.
    pub fn find(config: Option<&Path>) -> Result<Self, NoHome> {
        let as_root = Uid::effective().is_root();
        if let Some(file) = config {
            let directory = file.parent().unwrap_or(Path::new("")).join("profiles.d");
            return Ok(Self { file: file.to_owned(), directory, as_root, named: true });
        }
        let directory = if as_root {
            PathBuf::from(SYSTEM_DIRECTORY)
        } else {
            let places = directories::ProjectDirs::from("", "", "pptpctl").ok_or(NoHome)?;
            places.config_dir().to_owned()
        };
        Ok(Self {
            file: directory.join("profiles.toml"),
            directory: directory.join("profiles.d"),
            as_root,
            named: false,
        })
    }
}

/// Reads every file that is there and may be believed; the rest becomes findings.
pub(super) fn read(locations: &Locations) -> (Vec<Source>, Vec<Finding>) {
    let mut sources = Vec::new();
    let mut findings = Vec::new();
    let mut paths = Vec::new();
    if locations.named || locations.file.symlink_metadata().is_ok() {
        paths.push(locations.file.clone());
    }
    match listing(&locations.directory) {
        Ok(more) => paths.extend(more),
        Err(error) => {
            findings.push(Finding::error(format!("cannot list {}: {error}", locations.directory.display())))
        }
    }
    if paths.is_empty() {
        findings.push(nothing_there(locations));
    }
    for path in paths {
        match read_one(&path, locations) {
            Ok(source) => sources.push(source),
            Err(finding) => findings.push(*finding),
        }
    }
    (sources, findings)
}

/// The `*.toml` of a directory, sorted, without hidden files; none when there is no directory.
fn listing(directory: &Path) -> io::Result<Vec<PathBuf>> {
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

fn nothing_there(locations: &Locations) -> Finding {
    let (file, directory) = (locations.file.display(), locations.directory.display());
    let mut finding = Finding::error("there are no profiles yet");
    finding.help.push(format!("looked for {file} and for *.toml in {directory}"));
    finding.help.push(format!("to start, copy profiles.example.toml to {file} and edit it"));
    if !locations.as_root {
        finding.help.push(format!("profiles in {SYSTEM_DIRECTORY} are root's: use sudo for those"));
    }
    finding
}

fn read_one(path: &Path, locations: &Locations) -> Result<Source, Box<Finding>> {
    let shown = path.display();
    let wrong = |title: String| Box::new(Finding::error(title));
    let failed = |error: io::Error| {
        let mut finding = Finding::error(format!("cannot read {shown}: {error}"));
        if error.kind() == io::ErrorKind::NotFound {
            finding.help.push(format!("to start, copy profiles.example.toml to {shown} and edit it"));
        }
        Box::new(finding)
    };
    // O_NONBLOCK: a pipe in the place of a file must not hang us. The checks are made on the open file.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    if !facts.is_file() {
        return Err(wrong(format!("{shown} is not a regular file")));
    }
    if locations.as_root {
        believable(path, &facts)?;
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

/// Whoever can change the file could run commands as root through `password.command`.
fn believable(path: &Path, facts: &Metadata) -> Result<(), Box<Finding>> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let around = fs::metadata(parent)
        .map_err(|error| Box::new(Finding::error(format!("cannot read {}: {error}", parent.display()))))?;
    // In a directory with the sticky bit, such as /tmp, others cannot replace our file.
    let sticky = around.mode() & 0o1000 != 0;
    let checks = [(path, facts, false), (parent, &around, sticky)];
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
            finding.help.push("who can change profiles could run commands as root through them".to_owned());
            finding.help.push(remedy);
            return Err(Box::new(finding));
        }
    }
    Ok(())
}
