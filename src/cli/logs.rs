//! `logs`: shows the log of a tunnel's supervisor and engine.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
    time::{Duration, Instant},
};

use super::{
    exit::{self, Code},
    output::error,
};
use crate::{
    profile::ProfileName,
    supervisor::{
        log_path,
        wait::{self, Interest},
    },
};

/// Poll interval of a followed log.
const LOOK: Duration = Duration::from_millis(200);

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
            error(format_args!("{}: {wrong}; only root can read the log", path.display()));
            exit::NOT_ROOT
        }
        Err(wrong) if wrong.get_ref().is_some_and(|inner| inner.is::<WriteFailed>()) => {
            error(wrong);
            exit::INTERNAL
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
    pass_on(&mut file, &mut out)?;
    if !follow {
        return Ok(());
    }
    loop {
        // Detects a reader that has gone. The next write may be days away, so it is not left to that.
        if wait::until([Some((out.as_fd(), Interest::HangUp))], Some(Instant::now() + LOOK))? == [true] {
            return Ok(());
        }
        // Checked before the rest is read: nothing is written to the file after it was renamed, so that read
        // reaches its end. In the other order, lines written in between are lost.
        let moved = has_moved(&file, path);
        pass_on(&mut file, &mut out)?;
        if moved {
            file = File::open(path)?;
        } else if file.stream_position()? > file.metadata()?.size() {
            file.seek(SeekFrom::Start(0))?;
        }
    }
}

/// Copies the log from here to its end. Errors of standard output are marked as such.
fn pass_on(file: &mut File, out: &mut impl Write) -> io::Result<()> {
    let mut chunk = [0; 16 * 1024];
    loop {
        let size = match file.read(&mut chunk) {
            Err(wrong) if wrong.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let passed = match chunk.get(..size) {
            Some(text) if size > 0 => out.write_all(text),
            _ => return out.flush().map_err(of_output),
        };
        passed.map_err(of_output)?;
    }
}

fn of_output(wrong: io::Error) -> io::Error {
    match wrong.kind() {
        io::ErrorKind::BrokenPipe => wrong,
        _ => io::Error::other(WriteFailed(wrong)),
    }
}

/// An error of standard output, not of the log.
#[derive(Debug, thiserror::Error)]
#[error("standard output: {0}")]
struct WriteFailed(io::Error);

fn has_moved(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(there)) => ours.ino() != there.ino(),
        _ => false,
    }
}
