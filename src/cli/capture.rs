//! `capture`: what passes between this host and a server, and in the tunnel, as a pcapng file.
//!
//! The engine copies packets to this command by way of a socket (`supervisor::ipc::capture`); `file` makes blocks of
//! them, without I/O.

mod file;
mod headers;
mod pcapng;

use std::{
    fs::{self, OpenOptions},
    io::{self, BufWriter, Read, Write},
    os::{
        fd::AsFd,
        unix::fs::{OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use self::file::{File, Written};
use super::{
    exit::{self, Code},
    output::{self, bytes, data, error, line, many},
};
use crate::{
    platform,
    profile::ProfileName,
    supervisor::{
        ClientError, Signals,
        ipc::capture::{self, Captured, Decoder},
        wait::{Interest, until},
    },
};

/// Poll interval of `--wait` for the control socket: short, as the dial begins some milliseconds after it is there.
const POLL: Duration = Duration::from_millis(2);

/// Poll interval of `--wait` for a supervisor that refuses, or that a killed one has left its socket of.
const PAUSE: Duration = Duration::from_millis(300);

/// Arguments of `capture`.
#[derive(Debug, clap::Args)]
pub struct Capture {
    /// The profile
    name: String,
    /// The new file, in the pcapng format; one that exists is not overwritten
    file: PathBuf,
    /// Also the IP packets in the tunnel, not encrypted
    #[arg(long)]
    inner: bool,
    /// Wait for `pptpctl up NAME` if the tunnel is down, and begin with its first packet
    #[arg(long)]
    wait: bool,
    /// End when the file has this size, in bytes or with K, M or G (default: 64M)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    limit: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    time: Option<u32>,
    /// Print JSON lines for programs
    #[arg(long)]
    json: bool,
}

/// Size of the largest file without `--limit`.
const DEFAULT_LIMIT: u64 = 64 << 20;

/// The smallest limit.
const LEAST_LIMIT: u64 = 16 << 10;

/// Reads a number of bytes, which may end with K, M or G.
fn size(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.chars().next_back() {
        Some('K' | 'k') => (text.get(..text.len() - 1), 1 << 10),
        Some('M' | 'm') => (text.get(..text.len() - 1), 1 << 20),
        Some('G' | 'g') => (text.get(..text.len() - 1), 1 << 30),
        _ => (Some(text), 1),
    };
    let size = digits.and_then(|digits| digits.parse::<u64>().ok()).and_then(|size| size.checked_mul(factor));
    size.filter(|size| *size >= LEAST_LIMIT).ok_or_else(|| "a number of bytes, at least 16K".to_owned())
}

pub fn main(config: Option<&Path>, arguments: &Capture) -> Code {
    let name = arguments.name.as_str();
    if let Err(wrong) = ProfileName::new(name) {
        error(wrong);
        return exit::PROFILE;
    }
    if let Err(code) = output::need_root("capture", "what passes through a tunnel is for root only") {
        return code;
    }
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(wrong) => {
            error(wrong);
            return exit::INTERNAL;
        }
    };
    let path = arguments.file.as_path();
    let out = match create(path) {
        Ok(out) => out,
        Err(wrong) => {
            match wrong.kind() {
                io::ErrorKind::AlreadyExists => {
                    error(format_args!(
                        "{} exists and is not overwritten: name another file",
                        path.display()
                    ));
                }
                _ => error(format_args!("{}: {wrong}", path.display())),
            }
            return exit::INTERNAL;
        }
    };
    let captured = match begin(config, arguments, &mut signals) {
        Ok(captured) => captured,
        Err(code) => {
            let _stays_empty = fs::remove_file(path);
            return code;
        }
    };
    let limit = arguments.limit.unwrap_or(DEFAULT_LIMIT);
    announce(arguments, limit, captured.from_next_dial);
    let (mut file, first) = File::begin(arguments.inner, limit);
    let mut out = BufWriter::new(out);
    let ended = out.write_all(&first).map_err(End::File).and_then(|()| {
        let deadline =
            arguments.time.and_then(|time| Instant::now().checked_add(Duration::from_secs(time.into())));
        copy(captured, &mut file, &mut out, &mut signals, deadline)
    });
    let finished = out.write_all(&file.end(now())).and_then(|()| out.flush());
    let (packets, lost) = file.packets();
    let why = match ended {
        Ok(why) => why,
        Err(End::File(wrong)) => {
            error(format_args!("{}: {wrong}; it ends after {}", path.display(), many_packets(packets)));
            return exit::INTERNAL;
        }
        Err(End::Engine(wrong)) => {
            error(format_args!("{name}: {wrong}; {} has what came before", path.display()));
            return exit::INTERNAL;
        }
    };
    if let Err(wrong) = finished {
        error(format_args!("{}: {wrong}", path.display()));
        return exit::INTERNAL;
    }
    if arguments.json {
        data(serde_json::json!({
            "name": name, "state": "ended", "why": why, "file": path.to_string_lossy(), "packets": packets,
            "not_captured": lost,
        }));
        return exit::OK;
    }
    let lost = if lost == 0 { String::new() } else { format!(", {} not captured", many_packets(lost)) };
    line(format_args!("{why}; {}: {}{lost}", path.display(), many_packets(packets)));
    exit::OK
}

/// Says that the capture has begun, and what will be in the file.
fn announce(arguments: &Capture, limit: u64, from_next_dial: bool) {
    let Capture { name, file, inner, .. } = arguments;
    let file = file.to_string_lossy();
    let login = "the log-in is in it if the tunnel is dialled meanwhile: from an MS-CHAP exchange the password's hash can be \
                 found, which is as good as the password. Give the file to nobody whom you would not give that";
    let traffic = "it also has all traffic of the tunnel, not encrypted";
    let next_dial =
        "it begins with the next dial, as this system lets a running engine receive no descriptor";
    let remarks = [(login, true), (traffic, *inner), (next_dial, from_next_dial)];
    let remarks = remarks.into_iter().filter_map(|(words, applies)| applies.then_some(words));
    if arguments.json {
        data(serde_json::json!({
            "name": name, "state": "capturing", "file": file, "limit": limit, "inner": inner,
            "from_next_dial": from_next_dial, "remarks": remarks.collect::<Vec<_>>(),
        }));
        return;
    }
    line(format_args!("{name}: capturing into {file}, at most {}; Ctrl-C ends it", bytes(limit)));
    remarks.for_each(|words| line(format_args!("  {words}")));
}

fn many_packets(count: u64) -> String {
    many(count, "packet")
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Creates a file that only its owner can read. One that exists is an error, also if it is a symbolic link.
fn create(path: &Path) -> io::Result<fs::File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Asks for the capture, and waits for a supervisor if that is wanted.
fn begin(config: Option<&Path>, arguments: &Capture, signals: &mut Signals) -> Result<Captured, Code> {
    let name = arguments.name.as_str();
    let mut has_said = false;
    loop {
        let is_there = platform::control_socket(name).exists();
        let began = match is_there {
            true => capture::begin(name, arguments.inner),
            false => Err(ClientError::NotUp),
        };
        let pause = match began {
            Ok(captured) => return Ok(captured),
            Err(ClientError::NotUp | ClientError::NotYet(_) | ClientError::Died) if arguments.wait => {
                if is_there {
                    PAUSE
                } else {
                    POLL
                }
            }
            Err(why) => return Err(refused(config, name, &why)),
        };
        if !has_said {
            output::is_known(config, name)?;
            if arguments.json {
                data(serde_json::json!({ "name": name, "state": "waiting" }));
            } else {
                line(format_args!("{name}: waits for `pptpctl up {name}`"));
            }
            has_said = true;
        }
        let deadline = Instant::now() + pause;
        while Instant::now() < deadline {
            let ready = until([Some((signals.end(), Interest::Readable))], Some(deadline));
            if !matches!(ready, Ok([false])) && signals.take().is_some() {
                error(format_args!("{name}: interrupted before the tunnel was dialled"));
                return Err(exit::NOT_UP);
            }
        }
    }
}

fn refused(config: Option<&Path>, name: &str, why: &ClientError) -> Code {
    match why {
        ClientError::NotUp | ClientError::Died | ClientError::NotYet(_) => {
            if let Err(code) = output::is_known(config, name) {
                return code;
            }
            error(format_args!(
                "{name} is not up; with --wait the capture begins with `pptpctl up {name}` in another terminal"
            ));
            exit::NOT_UP
        }
        wrong => {
            error(format_args!("{name}: {wrong}"));
            exit::INTERNAL
        }
    }
}

/// Why a capture has failed.
enum End {
    /// The file cannot be written.
    File(io::Error),
    /// The engine's records cannot be read.
    Engine(String),
}

/// Writes what comes until the end, of which it returns the cause.
fn copy(
    captured: Captured,
    file: &mut File,
    out: &mut impl Write,
    signals: &mut Signals,
    deadline: Option<Instant>,
) -> Result<&'static str, End> {
    let mut stream = captured.stream;
    let mut decoder = Decoder::default();
    let mut chunk = vec![0; 256 * 1024];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return Ok("the tunnel has ended"),
            Ok(size) => {
                decoder.push(chunk.get(..size).unwrap_or_default());
                while let Some(record) = decoder.take().map_err(|wrong| End::Engine(wrong.to_string()))? {
                    match file.take(record) {
                        Written::Bytes(bytes) => out.write_all(&bytes).map_err(End::File)?,
                        Written::Full => return Ok("the file has its largest size"),
                    }
                }
                // Only a reader that keeps up reaches the end of the socket's buffer.
                if size == chunk.len() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
                    continue;
                }
            }
            Err(wrong) if wrong.kind() == io::ErrorKind::Interrupted => {}
            Err(wrong) if wrong.kind() == io::ErrorKind::WouldBlock => {}
            Err(wrong) if wrong.kind() == io::ErrorKind::ConnectionReset => {
                return Ok("the tunnel has ended");
            }
            Err(wrong) => return Err(End::Engine(wrong.to_string())),
        }
        out.flush().map_err(End::File)?;
        let sources = [(signals.end(), Interest::Readable), (stream.as_fd(), Interest::Readable)].map(Some);
        let [signal, _] = until(sources, deadline).map_err(End::File)?;
        if signal && signals.take().is_some() {
            return Ok("ended");
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok("the time is over");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!((size("65536"), size("16K"), size("1g")), (Ok(65_536), Ok(16_384), Ok(1 << 30)));
        for wrong in ["", "K", "1K", "-1", "99999999999G", "10 M", "é"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
