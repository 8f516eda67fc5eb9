//! What a coming-up tunnel says to whoever waits for it: the `up` in the foreground of a daemon, or its terminal.

use std::{
    io::{self, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    engine::failure::{Failure, Phase},
    net::{
        signals::{self, Signals},
        wait::{self, Interest},
    },
};

/// How long the last word waits for one who does not listen.
const LAST_WORD: Duration = Duration::from_secs(1);

/// One piece of news.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// A phase has begun, at this many milliseconds; `detail` is how the phase before it ended.
    Phase {
        /// The phase that begins.
        phase: Phase,
        /// What came of the one before; may be empty.
        detail: String,
        /// Since the start, in milliseconds.
        at_ms: u64,
    },
    /// Something that the person should know, though it goes on.
    Note(String),
    /// An attempt failed, and another one follows at once.
    Attempt(Failure),
    /// Packets may flow.
    Ready {
        /// The device.
        tun: String,
        /// Since the start, in milliseconds.
        at_ms: u64,
    },
    /// It is over before it was up.
    Failed {
        /// Why.
        failure: Failure,
        /// What could not be put back, one sentence each.
        problems: Vec<String>,
    },
}

/// Where news goes.
pub enum Reporter {
    /// To the `up` that waits at the other end; dropped once it is ready, or gone.
    Pipe(Option<UnixStream>),
    /// To a function: the foreground renders by itself.
    Call(Box<dyn FnMut(&Progress)>),
}

impl Reporter {
    /// Hands news to a function.
    #[must_use]
    pub fn call(render: impl FnMut(&Progress) + 'static) -> Self {
        Self::Call(Box::new(render))
    }

    /// A pair: the reporter for the daemon, and the end from which [`listen`] reads.
    ///
    /// # Errors
    /// The kernel's.
    pub fn pipe() -> io::Result<(Self, UnixStream)> {
        let (daemon, waiting) = UnixStream::pair()?;
        daemon.set_nonblocking(true)?;
        Ok((Self::Pipe(Some(daemon)), waiting))
    }

    /// Passes one piece of news on. Nobody listening is no error: the tunnel goes on without an audience. One who
    /// has fallen asleep (an `up` that was stopped, or whose terminal was) misses what does not fit any more, and
    /// keeps nobody from going on.
    pub fn say(&mut self, progress: &Progress) {
        match self {
            Self::Call(render) => render(progress),
            Self::Pipe(stream) => {
                let Some(open) = stream else { return };
                let last = matches!(progress, Progress::Ready { .. } | Progress::Failed { .. });
                let sent = serde_json::to_string(progress)
                    .map_err(io::Error::other)
                    .and_then(|line| tell(open, &format!("{line}\n"), last));
                if last || sent.is_err() {
                    *stream = None;
                }
            }
        }
    }
}

/// A line goes whole or not at all: it is far smaller than what the kernel would cut in two. The last word may
/// wait for a moment.
fn tell(stream: &mut UnixStream, line: &str, last: bool) -> io::Result<()> {
    if last {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(LAST_WORD))?;
    }
    match stream.write_all(line.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && !last => Ok(()),
        told => told,
    }
}

/// Reads news until the last of it, handing each piece to `each`. A signal that asks this process to end calls
/// `interrupted`; the last word then still follows. `earlier` are the signals of this process before the daemon left it.
///
/// # Errors
/// When the daemon ended without a last word.
pub fn listen(
    mut stream: UnixStream,
    mut earlier: Signals,
    mut interrupted: impl FnMut(),
    mut each: impl FnMut(&Progress),
) -> io::Result<Result<(), Failure>> {
    let mut signals = Signals::listen()?;
    // From now on only those: the daemon has the others too, and its signals would be taken for ours.
    if earlier.take() == Some(signals::Request::End) {
        interrupted();
    }
    drop(earlier);
    let mut text = Vec::new();
    loop {
        let [news, end] = wait::until(
            [Some((stream.as_fd(), Interest::Readable)), Some((signals.end(), Interest::Readable))],
            None,
        )?;
        if end && signals.take() == Some(signals::Request::End) {
            interrupted();
        }
        if !news {
            continue;
        }
        let mut bytes = [0; 4096];
        let size = stream.read(&mut bytes)?;
        if size == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the supervisor ended without a word"));
        }
        text.extend_from_slice(bytes.get(..size).unwrap_or_default());
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let progress: Progress = serde_json::from_slice(&line).map_err(io::Error::other)?;
            each(&progress);
            match progress {
                Progress::Ready { .. } => return Ok(Ok(())),
                Progress::Failed { failure, .. } => return Ok(Err(failure)),
                Progress::Phase { .. } | Progress::Note(_) | Progress::Attempt(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::failure::FailureKind;

    #[test]
    fn news_arrives_in_order_and_the_last_word_ends_it() {
        let (mut reporter, waiting) = Reporter::pipe().unwrap();
        let phase = Progress::Phase { phase: Phase::Connect, detail: "ok\u{1f600}".into(), at_ms: 3 };
        let failure = Failure::new(Phase::Lcp, FailureKind::GreFiltered, "");
        let failed = Progress::Failed { failure, problems: vec!["a route stays".into()] };
        for news in [&phase, &failed, &phase] {
            reporter.say(news);
        }
        let mut seen = Vec::new();
        let end =
            listen(waiting, Signals::none().unwrap(), || {}, |progress| seen.push(progress.clone())).unwrap();
        assert_eq!(seen, [phase, failed]);
        assert_eq!(end.unwrap_err().kind, FailureKind::GreFiltered);
    }

    #[test]
    fn an_audience_that_has_fallen_asleep_holds_nobody_up() {
        let (mut reporter, waiting) = Reporter::pipe().unwrap();
        let note = Progress::Note("x".repeat(500));
        let started = std::time::Instant::now();
        (0..2000).for_each(|_| reporter.say(&note));
        // Had each of them waited for even a hundredth of what the last one may, that would be over.
        assert!(started.elapsed() < 20 * LAST_WORD, "{:?}", started.elapsed());
        let started = std::time::Instant::now();
        reporter.say(&Progress::Ready { tun: "tun0".into(), at_ms: 1 });
        assert!(started.elapsed() < 20 * LAST_WORD, "{:?}", started.elapsed());
        drop(waiting);
    }

    #[test]
    fn a_daemon_that_dies_silently_is_noticed() {
        let (reporter, waiting) = Reporter::pipe().unwrap();
        drop(reporter);
        assert!(listen(waiting, Signals::none().unwrap(), || {}, |_| {}).is_err());
    }
}
