//! What a launcher does for its supervisor: the programs that it starts, each with the arguments and variables that the
//! plan can produce, and the files that it opens. The list is the first message that it gets, before anything from outside
//! has reached the supervisor.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    ProgramFile, Start,
    file_request::{FileRequest, Opening},
};
use crate::platform::PROGRAM_PATH;

/// Everything that a launcher does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// The first arguments with which this program is started again; the second is a log level.
    pub roles: Vec<String>,
    /// The other programs.
    pub programs: Vec<AllowedProgram>,
    /// The files.
    pub files: Files,
}

/// A program that may be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedProgram {
    /// Its absolute path, or its name in one of the directories of [`PROGRAM_PATH`].
    pub file: PathBuf,
    /// Its lists of arguments.
    pub arguments: Vec<Arguments>,
    /// The variables of its environment, whose values are not restricted; besides `PATH` and `LANG`, whose values are fixed.
    pub variables: Vec<String>,
}

/// A list of arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    /// The first ones.
    pub words: Vec<Word>,
    /// What each further one is; `None` if there is none.
    pub rest: Option<Word>,
}

/// An argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// One of these.
    Among(Vec<String>),
    /// The name of a network device, and this after it.
    Device(String),
    /// An IP address.
    Address,
    /// The path of a pseudo-terminal.
    Terminal,
}

/// Files that a launcher opens, creates and removes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// Files that are read, also through symbolic links.
    pub read: Vec<PathBuf>,
    /// Files that are read, created, written, removed, and renamed to one of these.
    pub write: Vec<PathBuf>,
    /// The same for pid files: `/run/tun` stands for `/run/tun0.pid`, `/run/tun1.pid` and so on.
    pub numbered: Vec<PathBuf>,
    /// Files of the host, which may be symbolic links.
    pub linked: Vec<LinkedFile>,
    /// Directories that are created and removed; in them, empty directories whose names begin with a dot are removed.
    pub directories: Vec<PathBuf>,
    /// Unix sockets that are created and removed.
    pub sockets: Vec<PathBuf>,
}

/// A file of the host, or a symbolic link to it. What it leads to at any time may be used as the file itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkedFile {
    /// Its path.
    pub path: PathBuf,
    /// Whether it is written, too: then also the files beside it that have its name in place of `*`.
    pub beside: Option<Vec<String>>,
}

/// Appends what a list does not have yet.
fn append<T: PartialEq>(to: &mut Vec<T>, more: Vec<T>) {
    for one in more {
        if !to.contains(&one) {
            to.push(one);
        }
    }
}

impl Allowed {
    /// Permits also what another list does.
    pub(super) fn extend(&mut self, other: Self) {
        append(&mut self.roles, other.roles);
        append(&mut self.programs, other.programs);
        let Files { read, write, numbered, linked, directories, sockets } = other.files;
        for (to, more) in [
            (&mut self.files.read, read),
            (&mut self.files.write, write),
            (&mut self.files.numbered, numbered),
            (&mut self.files.directories, directories),
            (&mut self.files.sockets, sockets),
        ] {
            append(to, more);
        }
        append(&mut self.files.linked, linked);
    }

    /// Returns why this program may not be started so; `None` if it may.
    pub(super) fn refusal(&self, start: &Start) -> Option<String> {
        let ProgramFile::At(path) = &start.program else { return self.refusal_of_own(start) };
        // Two hooks may be one program.
        let mut programs = self.programs.iter().filter(|program| program.is_at(path)).peekable();
        if programs.peek().is_none() {
            return Some(format!("{} is not a program of this profile", path.display()));
        }
        if start.title.is_some() {
            return Some(format!("{}: a name of its own", path.display()));
        }
        let Some(program) =
            programs.find(|program| program.arguments.iter().any(|list| list.fit(&start.arguments)))
        else {
            return Some(format!("{}: not with the arguments {:?}", path.display(), start.arguments));
        };
        let foreign = start.environment.iter().find(|(name, value)| !program.has_variable(name, value));
        foreign.map(|(name, _)| format!("{}: not with the variable {name}", path.display()))
    }

    fn refusal_of_own(&self, start: &Start) -> Option<String> {
        let is_role = matches!(start.arguments.as_slice(), [role, level]
            if self.roles.contains(role) && level.parse::<u8>().is_ok());
        let is_permitted = is_role && start.environment.is_empty();
        (!is_permitted).then(|| format!("this program: not with the arguments {:?}", start.arguments))
    }
}

impl AllowedProgram {
    fn is_at(&self, path: &Path) -> bool {
        if self.file.is_absolute() {
            return self.file == path;
        }
        PROGRAM_PATH.split(':').any(|directory| Path::new(directory).join(&self.file) == path)
    }

    fn has_variable(&self, name: &str, value: &str) -> bool {
        match name {
            "PATH" => value == PROGRAM_PATH,
            "LANG" => value == "C",
            _ => self.variables.iter().any(|known| known == name),
        }
    }
}

impl Arguments {
    /// Returns exactly these arguments.
    #[must_use]
    pub fn exactly<T: AsRef<str>>(words: &[T]) -> Self {
        let among = |word: &T| Word::Among(vec![word.as_ref().to_owned()]);
        Self { words: words.iter().map(among).collect(), rest: None }
    }

    /// Returns whether these arguments are such a list.
    pub fn fit(&self, arguments: &[String]) -> bool {
        let Some((first, rest)) = arguments.split_at_checked(self.words.len()) else { return false };
        let is_rest = |argument: &String| self.rest.as_ref().is_some_and(|word| word.fits(argument));
        self.words.iter().zip(first).all(|(word, argument)| word.fits(argument)) && rest.iter().all(is_rest)
    }
}

impl Word {
    fn fits(&self, argument: &str) -> bool {
        match self {
            Self::Among(words) => words.iter().any(|word| word == argument),
            Self::Device(suffix) => argument.strip_suffix(suffix.as_str()).is_some_and(is_device),
            Self::Address => argument.parse::<IpAddr>().is_ok(),
            Self::Terminal => argument.strip_prefix("/dev/pts/").is_some_and(is_number),
        }
    }
}

/// As the kernel's dev_valid_name(), without what a program could take for an option.
fn is_device(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && !name.starts_with(['-', '.'])
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Files {
    /// Takes up what the links lead to now. What they led to before stays: it may have to be restored.
    pub(super) fn follow_links(&mut self) {
        for linked in self.linked.clone() {
            if let Ok(path) = linked.path.canonicalize()
                && !self.linked.iter().any(|known| known.path == path)
            {
                self.linked.push(LinkedFile { path, ..linked });
            }
        }
    }

    /// Returns whether an operation is permitted.
    pub(super) fn permit(&self, request: &FileRequest) -> bool {
        match request {
            FileRequest::Open { path, opening: Opening::Follow } => self.read.contains(path),
            FileRequest::Open { path, opening: Opening::Read } => self.may_read(path),
            FileRequest::Open { path, .. } => self.may_write(path),
            FileRequest::Rename { from, to } => self.may_write(from) && self.may_write(to),
            FileRequest::Remove { path } => self.may_write(path) || self.sockets.contains(path),
            FileRequest::MakeDirectory { path, mode } => {
                self.directories.contains(path) && mode & 0o7022 == 0
            }
            FileRequest::RemoveDirectory { path } => {
                let is_hidden =
                    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
                let is_inside =
                    path.parent().is_some_and(|parent| self.directories.iter().any(|at| at == parent));
                self.directories.contains(path) || is_hidden && is_inside
            }
            FileRequest::Listen { path, .. } => self.sockets.contains(path),
            FileRequest::SetMode { path, mode } => self.sockets.contains(path) && mode & 0o7007 == 0,
        }
    }

    fn may_read(&self, path: &Path) -> bool {
        self.read.iter().any(|known| known == path)
            || self.linked.iter().any(|known| known.path == path)
            || self.may_write(path)
            || self.is_above_written(path)
    }

    fn may_write(&self, path: &Path) -> bool {
        self.write.iter().any(|known| known == path)
            || self.numbered.iter().any(|start| is_numbered(start, path))
            || self.linked.iter().any(|known| known.is_written_at(path))
    }

    /// Returns whether a path is the directory of a file that is written: fsync(2) of it makes a change permanent.
    fn is_above_written(&self, path: &Path) -> bool {
        let written = self.linked.iter().filter(|known| known.beside.is_some()).map(|known| &known.path);
        let all = self.write.iter().chain(&self.numbered).chain(&self.directories).chain(written);
        all.into_iter().any(|file| file.parent() == Some(path))
    }
}

impl LinkedFile {
    fn is_written_at(&self, path: &Path) -> bool {
        let Some(beside) = &self.beside else { return false };
        let Some(name) = self.path.file_name().and_then(|name| name.to_str()) else { return false };
        let is_beside = |pattern: &String| self.path.with_file_name(pattern.replace('*', name)) == path;
        self.path == path || beside.iter().any(is_beside)
    }
}

fn is_numbered(start: &Path, path: &Path) -> bool {
    let (Some(start), Some(path)) = (start.to_str(), path.to_str()) else { return false };
    path.strip_prefix(start).and_then(|rest| rest.strip_suffix(".pid")).is_some_and(is_number)
}

#[cfg(test)]
mod tests;
