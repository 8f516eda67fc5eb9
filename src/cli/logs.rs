//! `logs`: what a tunnel's supervisor and engine have written.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

use super::{
    exit::{self, Code},
    output::error,
};
use crate::{profile::ProfileName, supervisor::log_path};

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Runs the command.
pub fn main(name: &str, follow: bool) -> Code {
    if let Err(wrong) = ProfileName::new(name) {
        error(wrong);
        return exit::PROFILE;
    }
    let path = log_path(name);
    match show(&path, follow) {
        Ok(()) => exit::OK,
        Err(wrong) if wrong.kind() == io::ErrorKind::BrokenPipe => exit::OK,
        Err(wrong) if wrong.kind() == io::ErrorKind::NotFound => {
            error(format_args!(
                "no log of {name} ({}): never brought up, or only with --foreground, whose log is in the journal",
                path.display()
            ));
            exit::NOT_UP
        }
        Err(wrong) if wrong.kind() == io::ErrorKind::PermissionDenied => {
            error(format_args!("{}: {wrong}; the log is root's", path.display()));
            exit::NOT_ROOT
        }
        Err(wrong) => {
            error(format_args!("{}: {wrong}", path.display()));
            exit::INTERNAL
        }
    }
}

fn show(path: &Path, follow: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut file = File::open(path)?;
    io::copy(&mut file, &mut out)?;
    if !follow {
        return out.flush();
    }
    loop {
        out.flush()?;
        std::thread::sleep(LOOK);
        // Asked before the rest is read: nothing is written any more to a file that has moved away, so what is read
        // after that is its end. The other way round, lines between the two would be lost.
        let moved = has_moved(&file, path);
        io::copy(&mut file, &mut out)?;
        if moved {
            file = File::open(path)?;
        } else if file.stream_position()? > file.metadata()?.size() {
            file.seek(SeekFrom::Start(0))?;
        }
    }
}

fn has_moved(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(there)) => ours.ino() != there.ino(),
        _ => false,
    }
}
