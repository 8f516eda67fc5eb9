//! The launcher's half: starts programs, and keeps them until their status is asked for.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::Child,
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

use super::{
    Allowed, Start, Streams,
    request::{self, Reply, Request},
};
use crate::os::{channel::Channel, netns, process, signals::Signals};

/// Hidden subcommand that runs the launcher.
pub const ROLE: &str = "__launcher";

/// Runs the launcher process, whose standard input is its channel, until the supervisor exits.
///
/// # Errors
/// Returns an error if the supervisor violates the protocol.
pub fn main() -> io::Result<()> {
    process::set_name(c"pptpctl-launch");
    // It ends with the supervisor, which shuts the tunnel down first. Handlers, unlike SIG_IGN, are not inherited.
    let _handled = Signals::listen()?;
    let channel = Channel::to_parent()?;
    let Some((allowed, _)) = request::receive(&channel)? else { return Ok(()) };
    request::send(&channel, &Reply::Done, &[])?;
    let mut launcher = Launcher { allowed, children: BTreeMap::new() };
    while let Some((request, descriptors)) = request::receive(&channel)? {
        let reply = launcher.serve(request, descriptors).unwrap_or_else(|error| Reply::of_error(&error));
        request::send(&channel, &reply, &[])?;
    }
    Ok(())
}

struct Launcher {
    allowed: Allowed,
    /// The programs that were started and not waited for, by pid.
    children: BTreeMap<u32, Child>,
}

impl Launcher {
    fn serve(&mut self, request: Request, descriptors: Vec<OwnedFd>) -> io::Result<Reply> {
        match request {
            Request::Start { start, streams, namespace } => {
                self.start(&start, streams, namespace, descriptors).map(Reply::Started)
            }
            Request::Status(pid) => {
                let Some(status) = self.child(pid)?.try_wait()? else { return Ok(Reply::Runs) };
                self.children.remove(&pid);
                Ok(Reply::Ended(status.into_raw()))
            }
            Request::Signal { pid, signal, group } => {
                let signal = Signal::try_from(signal)?;
                // It has not been waited for, so the pid is still its own.
                let pid =
                    i32::try_from(self.child(pid)?.id()).map(Pid::from_raw).map_err(io::Error::other)?;
                if group { killpg(pid, signal) } else { kill(pid, signal) }?;
                Ok(Reply::Done)
            }
        }
    }

    fn child(&mut self, pid: u32) -> io::Result<&mut Child> {
        self.children.get_mut(&pid).ok_or_else(|| io::Error::other(format!("process {pid} is not a child")))
    }

    fn start(
        &mut self,
        start: &Start,
        streams: [bool; 3],
        in_namespace: bool,
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<u32> {
        if !self.allowed.includes(&start.program) {
            let words = format!("{:?} is not a program of this profile", start.program);
            return Err(io::Error::other(words));
        }
        let mut descriptors = descriptors.into_iter();
        let streams: Streams = streams.map(|set| if set { descriptors.next() } else { None });
        let child = if in_namespace {
            let namespace = File::from(descriptors.next().ok_or(io::ErrorKind::InvalidInput)?);
            netns::inside(&namespace, || start.spawn_here(streams))??
        } else {
            start.spawn_here(streams)?
        };
        let pid = child.id();
        self.children.insert(pid, child);
        Ok(pid)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::os::{launch::ProgramFile, process::Process};

    fn launcher() -> Launcher {
        let allowed = Allowed { names: vec!["sh".to_owned()], paths: vec!["/etc/hook".into()] };
        Launcher { allowed, children: BTreeMap::new() }
    }

    fn shell(script: &str) -> Start {
        Start {
            program: ProgramFile::At("/bin/sh".into()),
            title: None,
            arguments: vec!["-c".to_owned(), script.to_owned()],
            environment: vec![("WORD".to_owned(), "two words".to_owned())],
            umask: Some(0o027),
            separate_group: true,
            ends_with_parent: false,
        }
    }

    fn run(launcher: &mut Launcher, start: Start, streams: [bool; 3], given: Vec<OwnedFd>) -> Reply {
        let request = Request::Start { start, streams, namespace: false };
        launcher.serve(request, given).unwrap_or_else(|error| Reply::of_error(&error))
    }

    fn ended(launcher: &mut Launcher, pid: u32) -> i32 {
        let process = Process::open(pid.try_into().unwrap()).unwrap();
        assert!(process.wait_until(Instant::now() + Duration::from_secs(60)).unwrap());
        match launcher.serve(Request::Status(pid), Vec::new()).unwrap() {
            Reply::Ended(status) => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn program_gets_environment_umask_and_streams() {
        let (mut output, theirs) = io::pipe().unwrap();
        let mut launcher = launcher();
        let script = shell("umask; echo $WORD; pwd; env | wc -l; exit 7");
        let Reply::Started(pid) = run(&mut launcher, script, [false, true, false], vec![theirs.into()])
        else {
            panic!("not started")
        };
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        // sh(1) adds PWD.
        assert_eq!(text, "0027\ntwo words\n/\n2\n");
        assert_eq!(ended(&mut launcher, pid), 7 << 8);
        assert!(launcher.serve(Request::Status(pid), Vec::new()).is_err(), "the status was returned before");
    }

    #[test]
    fn program_is_signalled_with_its_group() {
        let mut launcher = launcher();
        let Reply::Started(pid) = run(&mut launcher, shell("sleep 60; :"), [false; 3], vec![]) else {
            panic!("not started")
        };
        assert!(matches!(launcher.serve(Request::Status(pid), vec![]), Ok(Reply::Runs)));
        let signal = Request::Signal { pid, signal: libc::SIGTERM, group: true };
        assert!(matches!(launcher.serve(signal, vec![]), Ok(Reply::Done)));
        assert_eq!(ended(&mut launcher, pid), libc::SIGTERM);
        let signal = Request::Signal { pid, signal: libc::SIGTERM, group: true };
        assert!(launcher.serve(signal, vec![]).is_err(), "the pid may be another process's now");
    }

    #[test]
    fn other_programs_and_missing_ones_are_refused() {
        let mut launcher = launcher();
        let other = Start { program: ProgramFile::At("/bin/true".into()), ..shell("") };
        assert!(matches!(run(&mut launcher, other, [false; 3], vec![]), Reply::Refused(_)));
        let missing = Start { program: ProgramFile::At("/etc/hook".into()), ..shell("") };
        assert!(matches!(run(&mut launcher, missing, [false; 3], vec![]), Reply::Failed(libc::ENOENT)));
    }
}
