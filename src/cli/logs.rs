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
        log_parts, log_path,
        wait::{self, Interest},
    },
};

/// Poll interval of a followed log.
const LOOK: Duration = Duration::from_millis(200);

pub fn main(name: &str, follow: bool, json: bool) -> Code {
    if let Err(wrong) = ProfileName::new(name) {
        error(wrong);
        return exit::PROFILE;
    }
    let path = log_path(name);
    let shown = match json {
        true => show(&path, follow, &mut JsonLines { out: io::stdout().lock(), begun: Vec::new() }),
        false => show(&path, follow, &mut io::stdout().lock()),
    };
    match shown {
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

fn show(path: &Path, follow: bool, out: &mut impl Write) -> io::Result<()> {
    let mut file = File::open(path)?;
    pass_on(&mut file, out)?;
    if !follow {
        return Ok(());
    }
    loop {
        // Detects a reader that has gone. The next write may be days away, so it is not left to that.
        if wait::until([Some((io::stdout().as_fd(), Interest::HangUp))], Some(Instant::now() + LOOK))?
            == [true]
        {
            return Ok(());
        }
        // Checked before the rest is read: nothing is written to the file after it was renamed, so that read
        // reaches its end. In the other order, lines written in between are lost.
        let moved = has_moved(&file, path);
        pass_on(&mut file, out)?;
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

/// Makes a JSON line of each line of the log, however it is written.
struct JsonLines<W> {
    out: W,
    /// A line whose end is still to come.
    begun: Vec<u8>,
}

impl<W: Write> Write for JsonLines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(part);
            if self.begun.ends_with(b"\n") {
                let line = to_json(&String::from_utf8_lossy(&self.begun));
                self.begun.clear();
                writeln!(self.out, "{line}")?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Returns a line of the log for programs. A line without time and level is a text: a panic has such.
fn to_json(line: &str) -> serde_json::Value {
    let line = line.trim_end();
    match log_parts(line) {
        Some([time, level, text]) => serde_json::json!({ "time": time, "level": level, "text": text }),
        None => serde_json::json!({ "time": null, "level": null, "text": line }),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_log_become_json_lines_however_they_are_read() {
        let log = "2026-11-30T10:00:00.123456Z  INFO vpn: up on tun0\n\
                   2026-11-30T10:00:01.000000Z ERROR \"quoted\" \u{1b}[1m\n\
                   thread 'main' panicked\n\
                   2026-11-30T10:00:02.000000Z  WARN not yet whole";
        let expected = [
            r#"{"level":"INFO","text":"vpn: up on tun0","time":"2026-11-30T10:00:00.123456Z"}"#,
            r#"{"level":"ERROR","text":"\"quoted\" \u001b[1m","time":"2026-11-30T10:00:01.000000Z"}"#,
            r#"{"level":null,"text":"thread 'main' panicked","time":null}"#,
        ];
        for size in [1, 7, log.len()] {
            let mut lines = JsonLines { out: Vec::new(), begun: Vec::new() };
            log.as_bytes().chunks(size).for_each(|part| lines.write_all(part).unwrap());
            assert_eq!(String::from_utf8(lines.out).unwrap().lines().collect::<Vec<_>>(), expected, "{size}");
        }
    }
}
