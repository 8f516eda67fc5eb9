//! The byte stream to and from a PPP daemon at the other end of a pty: HDLC framing, and bounded output.
//!
//! No I/O: the owner reads and writes the pty. A daemon that does not read costs frames, never memory.

use super::hdlc::{Decoder, HdlcDrop};

/// Most bytes that wait for the daemon; further frames are dropped and counted.
pub const MAX_QUEUED: usize = 256 * 1024;

/// The state of a stream.
#[derive(Debug)]
pub struct PppStream {
    decoder: Decoder,
    /// Output for the daemon; already written up to `sent`.
    waiting: Vec<u8>,
    sent: usize,
}

/// Frames counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PppCounters {
    /// Frames from the daemon.
    pub from_ppp: u64,
    /// Frames queued for the daemon.
    pub to_ppp: u64,
    /// Frames for the daemon dropped because it does not read.
    pub ppp_full: u64,
    /// Frames from the daemon dropped, in the order of [`HdlcDrop::ALL`].
    pub hdlc: [u64; 5],
}

impl PppStream {
    /// Returns a stream on which nothing has passed. The daemon's frames have at most `longest` bytes.
    #[must_use]
    pub fn new(longest: usize) -> Self {
        Self { decoder: Decoder::new(longest), waiting: Vec::new(), sent: 0 }
    }

    /// Takes the bytes of one read and passes each valid frame to `deliver`, in order.
    pub fn read(&mut self, bytes: &[u8], counters: &mut PppCounters, mut deliver: impl FnMut(&[u8])) {
        self.decoder.feed(bytes, |frame| {
            counters.from_ppp += 1;
            deliver(frame);
        });
        counters.hdlc = self.decoder.counters().drops;
    }

    /// Queues a frame for the daemon, which `encode` appends as at most `longest` bytes; or drops and counts
    /// it.
    pub fn push(&mut self, longest: usize, counters: &mut PppCounters, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.to_write().len() + longest > MAX_QUEUED {
            counters.ppp_full += 1;
            return;
        }
        counters.to_ppp += 1;
        // Move the rest to the front once that is cheap, so that memory stays within twice the bound.
        if self.sent > MAX_QUEUED / 2 {
            self.waiting.drain(..self.sent);
            self.sent = 0;
        }
        encode(&mut self.waiting);
    }

    /// Returns the bytes to write to the daemon.
    #[must_use]
    pub fn to_write(&self) -> &[u8] {
        self.waiting.get(self.sent..).unwrap_or_default()
    }

    /// Removes `count` written bytes.
    pub fn written(&mut self, count: usize) {
        self.sent = (self.sent + count).min(self.waiting.len());
        if self.sent == self.waiting.len() {
            self.waiting.clear();
            self.sent = 0;
        }
    }
}

impl PppCounters {
    /// Returns every counter with its label.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        let mut named =
            vec![("from_ppp", self.from_ppp), ("to_ppp", self.to_ppp), ("ppp_full", self.ppp_full)];
        named.extend(HdlcDrop::ALL.map(HdlcDrop::label).into_iter().zip(self.hdlc));
        named
    }
}

#[cfg(test)]
impl PppStream {
    /// Returns the number of bytes in memory, written ones included.
    pub fn buffered(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_bytes_are_removed_once() {
        let (mut stream, mut counters) = (PppStream::new(1500), PppCounters::default());
        stream.push(5, &mut counters, |out| out.extend(b"first"));
        stream.push(6, &mut counters, |out| out.extend(b"second"));
        stream.written(3);
        assert_eq!(stream.to_write(), b"stsecond");
        stream.written(4);
        assert_eq!(stream.to_write(), b"cond");
        // More than there is.
        stream.written(100);
        assert_eq!((stream.to_write(), stream.buffered()), (&b""[..], 0));
        assert_eq!(counters.to_ppp, 2);
    }
}
