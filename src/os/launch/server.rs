//! The launcher's half: starts programs, and keeps them until their status is asked for.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::Child,
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

use super::{
    Allowed, Start, Streams,
    file_request::FileRequest,
    request::{self, Reply, Request},
};
use crate::os::{channel::Channel, netns, process, signals::Signals};

/// Hidden subcommand that runs the launcher.
pub const ROLE: &str = "__launcher";

/// Makes the list of what a launcher may do from the text that its supervisor has started it with.
pub type Renew<'a> = &'a dyn Fn(&str) -> Result<Allowed, String>;

/// Runs the launcher process, whose standard input is its channel, until the supervisor exits.
///
/// # Errors
/// Returns an error if the supervisor violates the protocol.
pub fn main(renew: Renew<'_>) -> io::Result<()> {
    process::set_name(c"pptpctl-launch");
    // It ends with the supervisor, which shuts the tunnel down first. Handlers, unlike SIG_IGN, are not inherited.
    let _handled = Signals::listen()?;
    let channel = Channel::to_parent()?;
    let Some(((allowed, origin), _)) = request::receive::<(Allowed, String)>(&channel)? else {
        return Ok(());
    };
    request::send(&channel, &Reply::Done, &[])?;
    let mut launcher = Launcher { allowed, children: BTreeMap::new(), renew: &|| renew(&origin) };
    while let Some((request, descriptors)) = request::receive(&channel)? {
        let (reply, opened) =
            launcher.serve(request, descriptors).unwrap_or_else(|error| (Reply::of_error(&error), None));
        let opened: Vec<_> = opened.iter().map(AsFd::as_fd).collect();
        request::send(&channel, &reply, &opened)?;
    }
    Ok(())
}

struct Launcher<'a> {
    allowed: Allowed,
    renew: &'a dyn Fn() -> Result<Allowed, String>,
    /// The programs that were started and not waited for, by pid.
    children: BTreeMap<u32, Child>,
}

impl Launcher<'_> {
    fn file(&mut self, request: &FileRequest) -> io::Result<Option<OwnedFd>> {
        self.allowed.files.follow_links();
        if !self.allowed.files.permit(request) {
            return Err(io::Error::other(format!("not permitted for this profile: {request:?}")));
        }
        request.perform()
    }

    /// Returns the reply to a request, with the descriptor of a file that was opened.
    fn serve(&mut self, request: Request, descriptors: Vec<OwnedFd>) -> io::Result<(Reply, Option<OwnedFd>)> {
        let reply = match request {
            Request::Start { start, streams, namespace } => {
                Reply::Started(self.start(&start, streams, namespace, descriptors)?)
            }
            Request::Status(pid) => match self.child(pid)?.try_wait()? {
                None => Reply::Runs,
                Some(status) => {
                    self.children.remove(&pid);
                    Reply::Ended(status.into_raw())
                }
            },
            Request::Signal { pid, signal, group } => {
                let signal = Signal::try_from(signal)?;
                // It has not been waited for, so the pid is still its own.
                let pid =
                    i32::try_from(self.child(pid)?.id()).map(Pid::from_raw).map_err(io::Error::other)?;
                if group { killpg(pid, signal) } else { kill(pid, signal) }?;
                Reply::Done
            }
            Request::Renew => {
                self.allowed.extend((self.renew)().map_err(io::Error::other)?);
                Reply::Done
            }
            Request::File(request) => return Ok((Reply::Done, self.file(&request)?)),
        };
        Ok((reply, None))
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
        if let Some(why) = self.allowed.refusal(start) {
            return Err(io::Error::other(why));
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
    use crate::os::{
        launch::{AllowedProgram, Arguments, Files, ProgramFile, Word, file_request::Opening},
        process::Process,
    };

    /// Scripts of these tests, which may be any.
    const SCRIPTS: [&str; 3] = [PRINTS, "sleep 60; :", ""];
    const PRINTS: &str = "umask; echo $WORD; pwd; env | wc -l; exit 7";

    fn launcher() -> Launcher<'static> {
        let script = Word::Among(SCRIPTS.map(str::to_owned).into());
        let arguments = Arguments { words: vec![Word::Among(vec!["-c".to_owned()]), script], rest: None };
        let program = |file: &str| AllowedProgram {
            file: file.into(),
            arguments: vec![arguments.clone()],
            variables: vec!["WORD".to_owned()],
        };
        let allowed = Allowed { programs: vec![program("sh"), program("/etc/hook")], ..Allowed::default() };
        Launcher { allowed, children: BTreeMap::new(), renew: &|| Err("no profile".to_owned()) }
    }

    fn serve(launcher: &mut Launcher<'_>, request: Request) -> io::Result<Reply> {
        launcher.serve(request, Vec::new()).map(|(reply, _)| reply)
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

    fn run(launcher: &mut Launcher<'_>, start: Start, streams: [bool; 3], given: Vec<OwnedFd>) -> Reply {
        let request = Request::Start { start, streams, namespace: false };
        launcher.serve(request, given).map_or_else(|error| Reply::of_error(&error), |(reply, _)| reply)
    }

    fn ended(launcher: &mut Launcher<'_>, pid: u32) -> i32 {
        let process = Process::open(pid.try_into().unwrap()).unwrap();
        assert!(process.wait_until(Instant::now() + Duration::from_secs(60)).unwrap());
        match serve(launcher, Request::Status(pid)).unwrap() {
            Reply::Ended(status) => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn program_gets_environment_umask_and_streams() {
        let (mut output, theirs) = io::pipe().unwrap();
        let mut launcher = launcher();
        let script = shell(PRINTS);
        let Reply::Started(pid) = run(&mut launcher, script, [false, true, false], vec![theirs.into()])
        else {
            panic!("not started")
        };
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        // sh(1) adds PWD.
        assert_eq!(text, "0027\ntwo words\n/\n2\n");
        assert_eq!(ended(&mut launcher, pid), 7 << 8);
        assert!(serve(&mut launcher, Request::Status(pid)).is_err(), "the status was returned before");
    }

    #[test]
    fn program_is_signalled_with_its_group() {
        let mut launcher = launcher();
        let Reply::Started(pid) = run(&mut launcher, shell("sleep 60; :"), [false; 3], vec![]) else {
            panic!("not started")
        };
        assert!(matches!(serve(&mut launcher, Request::Status(pid)), Ok(Reply::Runs)));
        let signal = Request::Signal { pid, signal: libc::SIGTERM, group: true };
        assert!(matches!(serve(&mut launcher, signal), Ok(Reply::Done)));
        assert_eq!(ended(&mut launcher, pid), libc::SIGTERM);
        let signal = Request::Signal { pid, signal: libc::SIGTERM, group: true };
        assert!(serve(&mut launcher, signal).is_err(), "the pid may be another process's now");
    }

    #[test]
    fn other_programs_and_missing_ones_are_refused() {
        let mut launcher = launcher();
        let other = Start { program: ProgramFile::At("/bin/true".into()), ..shell("") };
        assert!(matches!(run(&mut launcher, other, [false; 3], vec![]), Reply::Refused(_)));
        let missing = Start { program: ProgramFile::At("/etc/hook".into()), ..shell("") };
        assert!(matches!(run(&mut launcher, missing, [false; 3], vec![]), Reply::Failed(libc::ENOENT)));
    }

    #[test]
    fn files_are_opened_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        let (own, other) = (home.join("own"), home.join("other"));
        std::fs::write(&other, "").unwrap();
        let mut launcher = launcher();
        launcher.allowed.files = Files { write: vec![own.clone()], ..Files::default() };
        let mut open = |path: &std::path::Path, opening| {
            let request = Request::File(FileRequest::Open { path: path.to_owned(), opening });
            launcher.serve(request, Vec::new()).map(|(reply, file)| (format!("{reply:?}"), file))
        };
        let (reply, file) = open(&own, Opening::New).unwrap();
        assert_eq!(reply, "Done");
        io::Write::write_all(&mut File::from(file.unwrap()), b"text").unwrap();
        assert_eq!(std::fs::read(&own).unwrap(), b"text");
        assert_eq!(open(&own, Opening::New).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let refused = open(&other, Opening::Read).unwrap_err();
        assert!(refused.to_string().contains("not permitted for this profile"), "{refused}");
    }

    #[test]
    fn list_is_renewed_and_keeps_what_it_had() {
        let mut launcher = launcher();
        let read = |launcher: &mut Launcher<'_>, path: &str| {
            let request = FileRequest::Open { path: path.into(), opening: Opening::Read };
            serve(launcher, Request::File(request)).is_ok()
        };
        assert!(serve(&mut launcher, Request::Renew).unwrap_err().to_string().contains("no profile"));
        launcher.allowed.files.read = vec!["/etc/passwd".into()];
        launcher.renew = &|| {
            let files = Files { read: vec!["/etc/group".into()], ..Files::default() };
            Ok(Allowed { files, ..Allowed::default() })
        };
        assert!(read(&mut launcher, "/etc/passwd") && !read(&mut launcher, "/etc/group"));
        for _ in 0..2 {
            assert!(matches!(serve(&mut launcher, Request::Renew), Ok(Reply::Done)));
            assert!(read(&mut launcher, "/etc/passwd") && read(&mut launcher, "/etc/group"));
        }
        assert_eq!((launcher.allowed.programs.len(), launcher.allowed.files.read.len()), (2, 2));
    }
}
