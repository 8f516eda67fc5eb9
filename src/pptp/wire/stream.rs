//! Decodes a TCP stream into control messages, whatever its segmentation.
//!
//! After a lost boundary, the decoder skips bytes one by one until length, type and magic cookie agree (the
//! purpose of the cookie, RFC 2637 §2). It buffers at most one message, whatever the peer sends.

use super::{CONTROL, HEADER_LENGTH, Header, MAGIC_COOKIE, MAX_LENGTH, Message};

/// Splits the stream into messages.
#[derive(Debug)]
pub struct StreamDecoder {
    buffer: [u8; MAX_LENGTH],
    filled: usize,
    counters: StreamCounters,
}

/// Counters of a stream decoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// Messages of a known type.
    pub messages: u64,
    /// Bytes skipped in search of a message boundary.
    pub skipped_bytes: u64,
    /// Well-formed messages of a type that RFC 2637 does not define, ignored.
    pub unknown_type: u64,
    /// Messages whose reserved field in the header is not zero (some Cisco devices), accepted.
    pub reserved_not_zero: u64,
}

impl Default for StreamDecoder {
    fn default() -> Self {
        Self { buffer: [0; MAX_LENGTH], filled: 0, counters: StreamCounters::default() }
    }
}

impl StreamDecoder {
    /// Takes bytes off the front of `input` until a message is complete; `None` once `input` is used up.
    /// An unfinished message stays buffered for the next call.
    pub fn next_message(&mut self, input: &mut &[u8]) -> Option<Message> {
        loop {
            self.slide();
            // This copies even a message that is whole in `input`, which is cheap at a message a minute.
            let wanted = self.wanted();
            if self.filled < wanted {
                if input.is_empty() {
                    return None;
                }
                self.fill(input, wanted);
                continue;
            }
            if let Some(message) = self.take_message() {
                return Some(message);
            }
        }
    }

    /// Returns the counters of this decoder.
    #[must_use]
    pub const fn counters(&self) -> &StreamCounters {
        &self.counters
    }

    /// Drops bytes from the front until the rest can be the beginning of a message.
    fn slide(&mut self) {
        let held = self.held();
        let start =
            (0..held.len()).find(|at| held.get(*at..).is_some_and(may_begin_message)).unwrap_or(held.len());
        self.counters.skipped_bytes += start as u64;
        self.drop_front(start);
    }

    /// Returns how many bytes must be buffered before the next decision.
    fn wanted(&self) -> usize {
        if self.filled < HEADER_LENGTH {
            return HEADER_LENGTH;
        }
        Header::read(self.held()).map_or(HEADER_LENGTH, |header| usize::from(header.length))
    }

    fn fill(&mut self, input: &mut &[u8], wanted: usize) {
        let take = wanted.saturating_sub(self.filled).min(input.len());
        if let (Some((head, rest)), Some(to)) =
            (input.split_at_checked(take), self.buffer.get_mut(self.filled..self.filled + take))
        {
            to.copy_from_slice(head);
            *input = rest;
            self.filled += take;
        }
    }

    /// Removes and returns the message at the front; `None` if its type is unknown.
    fn take_message(&mut self) -> Option<Message> {
        let Some(header) = Header::read(self.held()) else {
            // Unreachable after `slide`; if it happens, skip a byte rather than stall.
            self.counters.skipped_bytes += 1;
            self.drop_front(1);
            return None;
        };
        let length = usize::from(header.length);
        let message = self.held().get(..length).and_then(Message::decode);
        self.drop_front(length);
        if message.is_some() {
            self.counters.messages += 1;
            self.counters.reserved_not_zero += u64::from(header.reserved != 0);
        } else {
            self.counters.unknown_type += 1;
        }
        message
    }

    fn held(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }

    fn drop_front(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        self.buffer.copy_within(count.min(self.filled)..self.filled, 0);
        self.filled = self.filled.saturating_sub(count);
    }
}

/// Returns whether `bytes`, possibly cut short, can be the beginning of a message: with a possible length,
/// PPTP message type 1 or 2, the cookie, and for a known control message type its exact length.
fn may_begin_message(bytes: &[u8]) -> bool {
    const COOKIE: [u8; 4] = MAGIC_COOKIE.to_be_bytes();
    let byte_fits = |(at, byte): (usize, &u8)| match at {
        0 | 2 => *byte == 0,
        1 => (HEADER_LENGTH..=MAX_LENGTH).contains(&usize::from(*byte)),
        3 => *byte == 1 || *byte == 2,
        4..=7 => COOKIE.get(at - 4) == Some(byte),
        _ => true,
    };
    if !bytes.iter().take(8).enumerate().all(byte_fits) {
        return false;
    }
    let Some([l0, l1, t0, t1, _, _, _, _, k0, k1]) = bytes.first_chunk::<10>() else {
        return true;
    };
    let length = u16::from_be_bytes([*l0, *l1]);
    let kind = u16::from_be_bytes([*k0, *k1]);
    u16::from_be_bytes([*t0, *t1]) != CONTROL || Message::length_of(kind).is_none_or(|only| only == length)
}
