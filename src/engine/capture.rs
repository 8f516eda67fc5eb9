//! The engine's side of `pptpctl capture`: packets, control messages and what became of them, for a socket whose other
//! end that command has.
//!
//! Records are copied into a buffer of a fixed size and sent when the socket takes them. Nothing waits for the reader:
//! a record that does not fit is counted as lost.

pub mod record;

use std::{
    fmt,
    net::SocketAddrV4,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::{SystemTime, UNIX_EPOCH},
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, send},
};
use record::{Kind, Record};

/// Size of the buffer in bytes: some hundred packets.
const SPACE: usize = 512 * 1024;

/// A capture that is on.
pub struct Capture {
    sink: OwnedFd,
    /// Whether IP packets of the tunnel are captured, too.
    inner: bool,
    /// Records, of which the first `sent` bytes are with the reader.
    buffer: Vec<u8>,
    sent: usize,
    /// Bytes that were removed from the front of the buffer so far.
    removed: usize,
    /// Records that did not fit since the last one that did.
    lost: u64,
    /// The reader has gone.
    ended: bool,
}

impl Capture {
    /// Begins a capture. No call allocates after this one.
    #[must_use]
    pub fn new(sink: OwnedFd, inner: bool) -> Self {
        Self { sink, inner, buffer: Vec::with_capacity(SPACE), sent: 0, removed: 0, lost: 0, ended: false }
    }

    /// Adds a packet or a message; returns where it is, for [`Capture::comment`].
    pub fn add(&mut self, kind: Kind, data: &[u8]) -> Option<usize> {
        if matches!(kind, Kind::InnerIn | Kind::InnerOut) && !self.inner {
            return None;
        }
        if self.lost > 0 && self.put(Kind::Lost, &self.lost.to_le_bytes()).is_some() {
            self.lost = 0;
        }
        let at = if self.lost == 0 { self.put(kind, data) } else { None };
        if at.is_none() {
            self.lost = self.lost.saturating_add(1);
        }
        at
    }

    /// Sets the comment of a record that was added and not flushed.
    pub fn comment(&mut self, at: Option<usize>, comment: impl fmt::Display) {
        let record = at.and_then(|at| self.buffer.get_mut(at.checked_sub(self.removed)?..));
        if let Some(record) = record {
            record::set_comment(record, comment);
        }
    }

    /// Adds the two ends of the control connection.
    pub fn connection(&mut self, local: SocketAddrV4, server: SocketAddrV4) {
        self.add(Kind::Connection, &record::addresses(local, server));
    }

    /// Adds a text about the session.
    pub fn note(&mut self, text: impl fmt::Display) {
        let at = self.add(Kind::Note, &[]);
        self.comment(at, text);
    }

    fn put(&mut self, kind: Kind, data: &[u8]) -> Option<usize> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let record = Record { kind, time, comment: String::new(), data };
        if self.buffer.len() + record.size() > SPACE {
            self.buffer.copy_within(self.sent.., 0);
            self.buffer.truncate(self.buffer.len() - self.sent);
            self.removed = self.removed.wrapping_add(self.sent);
            self.sent = 0;
        }
        if self.ended || self.buffer.len() + record.size() > SPACE {
            return None;
        }
        let at = self.removed.wrapping_add(self.buffer.len());
        record.write(&mut self.buffer);
        Some(at)
    }

    /// Sends what the reader takes without blocking; returns whether there still is one.
    pub fn flush(&mut self) -> bool {
        loop {
            let rest = self.buffer.get(self.sent..).unwrap_or_default();
            if rest.is_empty() || self.ended {
                break;
            }
            match send(self.sink.as_raw_fd(), rest, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                Ok(size) => self.sent += size,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS) => return true,
                Err(_) => self.ended = true,
            }
        }
        self.removed = self.removed.wrapping_add(self.buffer.len());
        self.buffer.clear();
        self.sent = 0;
        !self.ended
    }

    /// Returns the socket to poll until it can be written, while records wait.
    #[must_use]
    pub fn pending(&self) -> Option<BorrowedFd<'_>> {
        (self.sent < self.buffer.len()).then(|| self.sink.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        os::unix::net::UnixStream,
        time::{Duration, Instant},
    };

    use super::{record::Decoder, *};

    /// Reads records until nothing has come for some time.
    fn read(reader: &mut UnixStream, decoder: &mut Decoder) -> Vec<(Kind, String, usize)> {
        reader.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut bytes = [0; 65536];
        while let Ok(size @ 1..) = reader.read(&mut bytes) {
            decoder.push(&bytes[..size]);
        }
        let mut found = Vec::new();
        while let Some(record) = decoder.take().unwrap() {
            found.push((record.kind, record.comment.clone(), record.data.len()));
        }
        found
    }

    #[test]
    fn records_have_their_comments_in_order() {
        let (mut reader, sink) = UnixStream::pair().unwrap();
        let mut capture = Capture::new(sink.into(), true);
        let outer = capture.add(Kind::GreIn, &[1; 100]);
        capture.add(Kind::InnerIn, &[2; 60]);
        capture.comment(outer, "dropped: gre.rx_duplicate");
        capture.note("phase lcp");
        assert!(capture.flush() && capture.pending().is_none());
        let found = read(&mut reader, &mut Decoder::default());
        let expected = [
            (Kind::GreIn, "dropped: gre.rx_duplicate".to_owned(), 100),
            (Kind::InnerIn, String::new(), 60),
            (Kind::Note, "phase lcp".to_owned(), 0),
        ];
        assert_eq!(found, expected);
        // Without leave there are no inner packets.
        let (_reader, sink) = UnixStream::pair().unwrap();
        let mut outer_only = Capture::new(sink.into(), false);
        assert_eq!(outer_only.add(Kind::InnerOut, &[2; 60]), None);
        assert_eq!((outer_only.buffer.len(), outer_only.lost), (0, 0));
    }

    #[test]
    fn silent_reader_costs_records_and_no_time() {
        let (mut reader, sink) = UnixStream::pair().unwrap();
        let mut capture = Capture::new(sink.into(), true);
        let began = Instant::now();
        let mut added = 0_u64;
        while capture.lost < 1000 {
            capture.add(Kind::GreOut, &[7; 1400]);
            added += 1;
            assert!(capture.flush());
        }
        assert!(began.elapsed() < Duration::from_secs(30) && capture.pending().is_some());
        assert_eq!(capture.buffer.capacity(), SPACE);
        let mut decoder = Decoder::default();
        let mut found = read(&mut reader, &mut decoder);
        assert!(capture.flush());
        found.extend(read(&mut reader, &mut decoder));
        // The number of lost ones comes before the next packet.
        capture.add(Kind::GreOut, &[7; 1400]);
        while capture.pending().is_some() {
            assert!(capture.flush());
            found.extend(read(&mut reader, &mut decoder));
        }
        let packets = u64::try_from(found.len()).unwrap() - 1;
        assert_eq!(found[found.len() - 2].0, Kind::Lost);
        assert_eq!(packets + 1000, added + 1);
        drop(reader);
        capture.add(Kind::GreOut, &[7; 1400]);
        assert!(!capture.flush());
    }
}
