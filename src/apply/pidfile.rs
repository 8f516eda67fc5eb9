//! `tunX.pid`: never overwritten while its process runs, and removed only while it holds our pid.

use std::{
    fs::Permissions,
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use nix::errno::Errno;

use super::{
    Cause, Host,
    error::known,
    ledger::PriorState,
    steps::{Perform, UndoContext},
};
use crate::{
    os::{
        crash,
        launch::files::{self, Opening},
        process,
    },
    plan::PidFileStep,
};

impl Perform for PidFileStep {
    fn perform(&self, _host: &mut Host, _before: &PriorState, _notes: &mut Vec<String>) -> Result<(), Cause> {
        write(&self.path(), *known(&self.pid)?)
    }

    fn undo(&self, _host: &mut Host, _before: &PriorState, _context: UndoContext<'_>) -> Result<(), Cause> {
        remove(&self.path(), *known(&self.pid)?)
    }
}

/// Writes the pid file, world-readable.
fn write(path: &Path, pid: u32) -> Result<(), Cause> {
    let failed = |error| Cause::File { path: path.to_owned(), error };
    match read(path).map_err(failed)? {
        Content::Absent => {}
        Content::Pid(found) if found == pid => return Ok(()),
        Content::Pid(found) if process::exists(found) => {
            return Err(Cause::Taken(format!("{} belongs to process {found}, which runs", path.display())));
        }
        // The file of a dead process, or one that a crash left incomplete.
        Content::Pid(_) | Content::Other => files::remove(path).map_err(failed)?,
    }
    crash::point(format_args!("make {}", path.display()));
    let mut file = files::open(path, Opening::New).map_err(failed)?;
    // Override the umask, which is meant for sockets: a user who may list processes may read the pid.
    file.set_permissions(Permissions::from_mode(0o644)).map_err(failed)?;
    crash::point(format_args!("fill {}", path.display()));
    file.write_all(format!("{pid}\n").as_bytes()).map_err(failed)
}

/// Removes the file if it holds this pid or is still empty.
fn remove(path: &Path, pid: u32) -> Result<(), Cause> {
    let failed = |error| Cause::File { path: path.to_owned(), error };
    crash::point(format_args!("remove {}", path.display()));
    match read(path).map_err(failed)? {
        Content::Pid(found) if found == pid => files::remove(path).map_err(failed),
        Content::Other
            if std::fs::symlink_metadata(path).is_ok_and(|data| data.is_file() && data.len() == 0) =>
        {
            files::remove(path).map_err(failed)
        }
        Content::Absent | Content::Pid(_) | Content::Other => Ok(()),
    }
}

enum Content {
    Absent,
    Pid(u32),
    Other,
}

fn read(path: &Path) -> io::Result<Content> {
    let file = match files::open(path, Opening::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::Absent),
        Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => return Ok(Content::Other),
        file => file?,
    };
    let mut text = String::new();
    if file.take(64).read_to_string(&mut text).is_err() {
        return Ok(Content::Other);
    }
    Ok(text.trim().parse().map_or(Content::Other, Content::Pid))
}
