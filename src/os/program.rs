//! Runs a foreign program to its end, within limits.
//!
//! The caller makes the command: arguments, environment, streams. It
//! blocks until the program has ended. Nothing here interprets the output.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use zeroize::Zeroizing;

use super::{
    child::{self, Awaited, POLL_INTERVAL},
    launch::{Spawned, Start},
    process::Process,
    wait::{self, Interest},
};

/// How long a program may take to exit after SIGTERM.
const GRACE: Duration = Duration::from_secs(1);

/// The limits of a program, and how it is ended when it exceeds them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest run time.
    pub time: Duration,
    /// The most bytes of each output that are kept.
    pub output: usize,
    /// Whether the output is a secret: the buffers never grow, which would leave copies behind, and more
    /// output ends the program. Otherwise more output is read and discarded.
    pub output_is_secret: bool,
    /// Whether the program gets a separate process group: Ctrl-C at the terminal does not reach it, and its
    /// children are ended with it, by SIGTERM and then SIGKILL. Otherwise it can use the terminal, and it
    /// alone is killed.
    pub separate_group: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// The program exited by itself, or by a signal that was not sent here.
    Exited(ExitStatus),
    /// It exceeded its time limit and was ended.
    OutOfTime,
    /// It exceeded its output limit and was ended.
    TooMuchOutput,
}

/// The result of a run.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub end: End,
    /// What was kept of its standard output.
    pub stdout: Zeroizing<Vec<u8>>,
    /// What was kept of its standard error.
    pub stderr: Zeroizing<Vec<u8>>,
}

/// A running program.
#[derive(Debug)]
pub struct Run {
    child: Spawned,
    /// `None` before Linux 5.3.
    process: Option<Process>,
    limits: Limits,
    stdin: Option<File>,
    input: Vec<u8>,
    outputs: [Output; 2],
}

/// An output pipe of a program, and the bytes read from it.
#[derive(Debug)]
struct Output {
    pipe: Option<File>,
    kept: Zeroizing<Vec<u8>>,
    /// Whether bytes were discarded.
    is_cut: bool,
}

impl Run {
    /// Starts a program, through the launcher if there is one, with `input` as its standard input.
    ///
    /// # Errors
    /// Returns the kernel's error, or why the launcher did not start it.
    pub fn start(start: &Start, input: Vec<u8>, limits: Limits) -> io::Result<Self> {
        let [(stdout, output), (stderr, errors)] = [io::pipe()?, io::pipe()?];
        let (stdin, source) = match input.is_empty() {
            true => (None, None),
            false => {
                let (theirs, ours) = io::pipe()?;
                (Some(OwnedFd::from(ours)), Some(OwnedFd::from(theirs)))
            }
        };
        let child = start.spawn([source, Some(output.into()), Some(errors.into())])?;
        Ok(Self::of(child, stdin, [Some(stdout.into()), Some(stderr.into())], input, limits))
    }

    /// Starts a program with what its command says; only the streams that are pipes are limited. It makes itself a session,
    /// which is a process group too, if `limits.separate_group` is set.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn command(command: &mut Command, limits: Limits) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let pipes = [child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from)];
        Ok(Self::of(child.into(), None, pipes, Vec::new(), limits))
    }

    fn of(
        child: Spawned,
        stdin: Option<OwnedFd>,
        pipes: [Option<OwnedFd>; 2],
        input: Vec<u8>,
        limits: Limits,
    ) -> Self {
        let process = i32::try_from(child.id()).map_err(io::Error::other).and_then(Process::open);
        let process = process.inspect_err(|error| tracing::debug!(%error, "looked for instead")).ok();
        let capacity = if limits.output_is_secret { limits.output } else { 0 };
        let outputs = pipes.map(|pipe| Output {
            pipe: pipe.map(File::from),
            kept: Zeroizing::new(Vec::with_capacity(capacity)),
            is_cut: false,
        });
        Self { stdin: stdin.map(File::from), child, process, limits, input, outputs }
    }

    /// Waits until the program has ended, and ends it when it exceeds a limit. Processes that it leaves
    /// running may hold its outputs open; they are not waited for.
    ///
    /// # Errors
    /// Returns the kernel's error if waiting fails; the program has been ended then.
    pub fn finish(mut self) -> io::Result<Finished> {
        let end = self.watch(Instant::now() + self.limits.time);
        if !matches!(end, Ok(End::Exited(_))) {
            self.kill();
        }
        let [stdout, stderr] = self.outputs.map(|output| output.kept);
        Ok(Finished { end: end?, stdout, stderr })
    }

    fn watch(&mut self, deadline: Instant) -> io::Result<End> {
        let [_, pipes @ ..] = self.sources();
        pipes.into_iter().flatten().try_for_each(|(fd, _)| wait::set_nonblocking(fd))?;
        loop {
            let exited = self.child.try_wait()?;
            // Also after the exit: the last output is still in the pipes.
            self.transfer();
            if self.limits.output_is_secret && self.outputs.iter().any(|output| output.is_cut) {
                return Ok(End::TooMuchOutput);
            }
            if let Some(status) = exited {
                return Ok(End::Exited(status));
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(End::OutOfTime);
            }
            let wake = if self.process.is_some() { deadline } else { deadline.min(now + POLL_INTERVAL) };
            wait::until(self.sources(), Some(wake))?;
        }
    }

    /// Returns the descriptors to poll: the end of the process, then its pipes.
    fn sources(&self) -> [Option<(BorrowedFd<'_>, Interest)>; 4] {
        let readable = |fd| (fd, Interest::Readable);
        let [stdout, stderr] =
            self.outputs.each_ref().map(|output| output.pipe.as_ref().map(AsFd::as_fd).map(readable));
        let stdin = self.stdin.as_ref().map(|pipe| (pipe.as_fd(), Interest::Writable));
        [self.process.as_ref().map(AsFd::as_fd).map(readable), stdout, stderr, stdin]
    }

    /// Writes and reads the pipes as far as possible without blocking.
    fn transfer(&mut self) {
        if let Some(pipe) = &mut self.stdin {
            match pipe.write(&self.input) {
                Ok(size) => {
                    self.input.drain(..size);
                    if self.input.is_empty() {
                        self.stdin = None;
                    }
                }
                Err(error) if is_later(&error) => {}
                // It has closed its standard input.
                Err(_) => self.stdin = None,
            }
        }
        for output in &mut self.outputs {
            output.read_available(self.limits.output);
        }
    }

    /// Ends the program, with its process group if that is separate, and waits until it is gone.
    fn kill(&mut self) {
        if self.limits.separate_group {
            // Do not reap the process in between: as long as it is a zombie its pid is not reused.
            let asked = self.child.signal_group(Signal::SIGTERM);
            self.wait_without_reaping(Instant::now() + GRACE);
            let killed = self.child.signal_group(Signal::SIGKILL);
            tracing::debug!(group = self.child.id(), ?asked, ?killed, "ended");
        }
        child::reap(&mut self.child);
        self.transfer();
    }

    /// Waits for the program to end, until the deadline, without reaping it.
    fn wait_without_reaping(&mut self, deadline: Instant) {
        while Instant::now() < deadline {
            let ready = wait::until(self.sources(), Some(deadline));
            self.transfer();
            if !matches!(ready, Ok([false, ..])) {
                return;
            }
        }
    }
}

impl Output {
    /// Reads without blocking; keeps `limit` bytes in all.
    fn read_available(&mut self, limit: usize) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut bytes = Zeroizing::new([0; 8192]);
        // Bounded, so that a program with endless output does not outlive its limit.
        for _ in 0..64 {
            match pipe.read(bytes.as_mut_slice()) {
                Err(error) if is_later(&error) => return,
                Ok(0) | Err(_) => {
                    self.pipe = None;
                    return;
                }
                Ok(size) => {
                    let space = limit.saturating_sub(self.kept.len());
                    self.is_cut |= size > space;
                    self.kept.extend_from_slice(bytes.get(..size.min(space)).unwrap_or_default());
                }
            }
        }
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
