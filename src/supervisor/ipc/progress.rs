//! Progress reports of a tunnel that is coming up: from a daemon to the `up` that started it, or to the
//! terminal of a foreground `up`.

use std::{
    io::{self, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::carrier::Carrier;
use crate::{
    failure::{Failure, Phase},
    os::{
        signals::{self, Signals},
        wait::{self, Interest},
    },
};

/// How long sending the final report may block on a reader that does not read.
const FINAL_REPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// A progress report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// A phase has begun.
    Phase {
        /// The phase that begins.
        phase: Phase,
        /// Result of the previous phase; may be empty.
        detail: String,
        /// Time since `up` was called, in milliseconds.
        at_ms: u64,
    },
    /// Something that the user should know; the attempt continues.
    Note(String),
    /// An attempt failed, and the next one follows at once.
    Attempt(Failure),
    /// The tunnel waits for its next attempt: one that has never been up (`retry.from-start`), or, in the foreground, one
    /// that was lost.
    Trying {
        /// Why the last attempt failed.
        failure: Option<Failure>,
        /// The wait in milliseconds; `None` for the wait for a network.
        wait_ms: Option<u64>,
    },
    /// The tunnel carries packets.
    Ready {
        /// Its device and addresses.
        carrier: Carrier,
        /// Time since `up` was called, in milliseconds.
        at_ms: u64,
    },
    /// The tunnel has ended with a failure.
    Failed {
        /// The cause.
        failure: Failure,
        /// What could not be undone, one sentence each.
        problems: Vec<String>,
    },
}

/// How long `up` without `--wait` waits for the first attempts of a tunnel with `retry.from-start`, so that it
/// does not block the boot.
const FIRST_ATTEMPTS: Duration = Duration::from_secs(20);

/// The result of waiting for a tunnel.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The tunnel carries packets.
    Up,
    /// The tunnel is not up yet, and the supervisor goes on.
    Trying,
    /// The tunnel has ended.
    Failed(Failure),
}

/// What `up` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The final report.
    End,
    /// The final report or the first failure, but at most for a short time.
    FirstFailure,
}

/// Destination of progress reports.
pub enum Reporter {
    /// The `up` at the other end; `None` after the final report, or when the reader has gone.
    Pipe(Option<UnixStream>),
    /// A function, which renders the reports in the foreground.
    Call(Box<dyn FnMut(&Progress)>),
}

impl Reporter {
    /// Returns a reporter that passes reports to a function.
    #[must_use]
    pub fn call(render: impl FnMut(&Progress) + 'static) -> Self {
        Self::Call(Box::new(render))
    }

    /// Returns the reporter for the daemon, and the stream that [`listen`] reads.
    ///
    /// # Errors
    /// Returns the kernel's error if there is no socket pair.
    pub fn pipe() -> io::Result<(Self, UnixStream)> {
        let (daemon, waiting) = UnixStream::pair()?;
        daemon.set_nonblocking(true)?;
        Ok((Self::Pipe(Some(daemon)), waiting))
    }

    /// Sends one report. A reader that has gone is no error: the tunnel continues. A reader that does not
    /// read (an `up` or a terminal that was stopped) misses what does not fit into the socket's buffer, and
    /// blocks nothing.
    pub fn report(&mut self, progress: &Progress) {
        match self {
            Self::Call(render) => render(progress),
            Self::Pipe(stream) => {
                let Some(open) = stream else { return };
                let last = matches!(progress, Progress::Ready { .. } | Progress::Failed { .. });
                let sent = serde_json::to_string(progress)
                    .map_err(io::Error::other)
                    .and_then(|line| send_line(open, &format!("{line}\n"), last));
                if last || sent.is_err() {
                    *stream = None;
                }
            }
        }
    }
}

/// Sends a line whole or not at all: it is far shorter than what the kernel splits. The final report may
/// block for up to [`FINAL_REPORT_TIMEOUT`].
fn send_line(stream: &mut UnixStream, line: &str, last: bool) -> io::Result<()> {
    if last {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(FINAL_REPORT_TIMEOUT))?;
    }
    match stream.write_all(line.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && !last => Ok(()),
        told => told,
    }
}

/// Reads reports until the event of `until` and passes each to `each`, and `None` when none has come for the length of
/// `tick`. A signal that asks this process to end calls
/// `interrupted`; the final report still follows. `earlier` is the signal listener from before the daemon was
/// forked.
///
/// # Errors
/// Returns an error if the daemon closes the stream without a final report.
pub fn listen(
    mut stream: UnixStream,
    mut earlier: Signals,
    (until, tick): (Until, Option<Duration>),
    mut interrupted: impl FnMut(),
    mut each: impl FnMut(Option<&Progress>),
) -> io::Result<Outcome> {
    let mut deadline = (until == Until::FirstFailure).then(|| Instant::now() + FIRST_ATTEMPTS);
    let mut signals = Signals::listen()?;
    // Read once and closed: the daemon shares `earlier`, and its signals must not be taken for ours.
    if earlier.take() == Some(signals::Request::End) {
        interrupted();
    }
    drop(earlier);
    let mut text = Vec::new();
    loop {
        let [news, end] = wait::until(
            [Some((stream.as_fd(), Interest::Readable)), Some((signals.end(), Interest::Readable))],
            [deadline, tick.map(|tick| Instant::now() + tick)].into_iter().flatten().min(),
        )?;
        if end && signals.take() == Some(signals::Request::End) {
            deadline = None;
            interrupted();
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Ok(Outcome::Trying);
        }
        if !news {
            each(None);
            continue;
        }
        let mut bytes = [0; 4096];
        let size = stream.read(&mut bytes)?;
        if size == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the supervisor exited without a message",
            ));
        }
        text.extend_from_slice(bytes.get(..size).unwrap_or_default());
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let progress: Progress = serde_json::from_slice(&line).map_err(io::Error::other)?;
            each(Some(&progress));
            match progress {
                Progress::Ready { .. } => return Ok(Outcome::Up),
                Progress::Failed { failure, .. } => return Ok(Outcome::Failed(failure)),
                Progress::Trying { .. } if deadline.is_some() => return Ok(Outcome::Trying),
                Progress::Phase { .. }
                | Progress::Note(_)
                | Progress::Attempt(_)
                | Progress::Trying { .. } => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureKind;

    #[test]
    fn reports_arrive_in_order_until_the_final_one() {
        let (mut reporter, waiting) = Reporter::pipe().unwrap();
        let phase = Progress::Phase { phase: Phase::Connect, detail: "ok\u{1f600}".into(), at_ms: 3 };
        let failure = Failure::new(Phase::Lcp, FailureKind::GreFiltered, "");
        let failed = Progress::Failed { failure: failure.clone(), problems: vec!["a route stays".into()] };
        let trying = Progress::Trying { failure: Some(failure.clone()), wait_ms: Some(1000) };
        for progress in [&phase, &trying, &failed, &phase] {
            reporter.report(progress);
        }
        let mut seen = Vec::new();
        let each = |progress: Option<&Progress>| seen.extend(progress.cloned());
        let end = listen(waiting, Signals::none().unwrap(), (Until::End, None), || {}, each).unwrap();
        assert_eq!(seen, [phase, trying, failed]);
        assert_eq!(end, Outcome::Failed(failure));
    }

    #[test]
    fn first_failure_ends_the_wait_if_the_supervisor_goes_on() {
        let (mut reporter, waiting) = Reporter::pipe().unwrap();
        let trying = Progress::Trying { failure: None, wait_ms: None };
        reporter.report(&trying);
        let end =
            listen(waiting, Signals::none().unwrap(), (Until::FirstFailure, None), || {}, |_| {}).unwrap();
        assert_eq!(end, Outcome::Trying);
        // The reader has gone; the tunnel continues.
        reporter.report(&trying);
        assert!(matches!(reporter, Reporter::Pipe(None)));
    }

    #[test]
    fn stopped_reader_does_not_block_the_reporter() {
        let (mut reporter, waiting) = Reporter::pipe().unwrap();
        let note = Progress::Note("x".repeat(500));
        let started = std::time::Instant::now();
        (0..2000).for_each(|_| reporter.report(&note));
        // If each report had waited for even a hundredth of the final one's limit, this would fail.
        assert!(started.elapsed() < 20 * FINAL_REPORT_TIMEOUT, "{:?}", started.elapsed());
        let started = std::time::Instant::now();
        reporter.report(&Progress::Ready { carrier: Carrier::default(), at_ms: 1 });
        assert!(started.elapsed() < 20 * FINAL_REPORT_TIMEOUT, "{:?}", started.elapsed());
        drop(waiting);
    }

    #[test]
    fn listen_fails_if_the_daemon_exits_without_a_report() {
        let (reporter, waiting) = Reporter::pipe().unwrap();
        drop(reporter);
        assert!(listen(waiting, Signals::none().unwrap(), (Until::End, None), || {}, |_| {}).is_err());
    }
}
