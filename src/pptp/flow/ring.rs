//! Packets that wait for an earlier one, and the state of the sequence numbers around them.
//!
//! The ring has a slot for each of 256 sequence numbers, indexed by the number's low byte: insertion and
//! lookup cost the same however many packets wait. Buffers are allocated when first needed and then reused;
//! there are as many as packets have ever waited at once.

use std::time::Instant;

/// Slots in the ring: the greatest distance over which packets are reordered.
pub(super) const SLOTS: u32 = 256;
/// The longest payload that can be buffered; PPTP's is 1532 bytes (RFC 2637 §4.2).
pub(super) const SLOT_SIZE: usize = 2048;

type Buffer = Box<[u8; SLOT_SIZE]>;

/// The state of one sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Unknown,
    /// Not received, although a later one was at `since`, when `Flow::advances` was `advances`.
    Missing {
        since: Instant,
        advances: u32,
    },
    /// Received and buffered.
    Waiting,
    Delivered,
}

#[derive(Debug)]
struct Slot {
    seq: u32,
    mark: Mark,
    length: u16,
    buffer: Option<Buffer>,
}

#[derive(Debug)]
pub(super) struct Ring {
    slots: Box<[Slot; SLOTS as usize]>,
    spare: Vec<Buffer>,
    #[cfg(test)]
    accesses: std::cell::Cell<u64>,
}

impl Ring {
    pub fn new() -> Self {
        let slots = std::array::from_fn(|_| Slot { seq: 0, mark: Mark::Unknown, length: 0, buffer: None });
        Self {
            slots: Box::new(slots),
            spare: Vec::new(),
            #[cfg(test)]
            accesses: std::cell::Cell::default(),
        }
    }

    /// Returns the state of `seq`.
    pub fn mark(&self, seq: u32) -> Mark {
        let slot = self.slot(seq);
        if slot.seq == seq { slot.mark } else { Mark::Unknown }
    }

    /// Sets the state of `seq`, replacing the slot's previous number; no packet may be waiting in the slot.
    pub fn set(&mut self, seq: u32, mark: Mark) {
        let slot = self.slot_mut(seq);
        slot.seq = seq;
        slot.mark = mark;
    }

    /// Buffers a packet; returns `false` if it is too long for that.
    pub fn put(&mut self, seq: u32, payload: &[u8]) -> bool {
        let Ok(length) = u16::try_from(payload.len()) else { return false };
        if payload.len() > SLOT_SIZE {
            return false;
        }
        let mut buffer = match self.spare.pop() {
            Some(buffer) => buffer,
            None => new_buffer(),
        };
        if let Some(to) = buffer.get_mut(..payload.len()) {
            to.copy_from_slice(payload);
        }
        let slot = self.slot_mut(seq);
        slot.seq = seq;
        slot.mark = Mark::Waiting;
        slot.length = length;
        slot.buffer = Some(buffer);
        true
    }

    /// Delivers the packet that waits as `seq`; returns `false` if none does.
    pub fn take(&mut self, seq: u32, deliver: impl FnOnce(&mut [u8])) -> bool {
        let slot = self.slot_mut(seq);
        if slot.seq != seq || slot.mark != Mark::Waiting {
            return false;
        }
        slot.mark = Mark::Delivered;
        let length = usize::from(slot.length);
        if let Some(mut buffer) = slot.buffer.take() {
            if let Some(payload) = buffer.get_mut(..length) {
                deliver(payload);
            }
            self.spare.push(buffer);
        }
        true
    }

    /// Resets every slot; no packet may be waiting.
    pub fn clear(&mut self) {
        for slot in self.slots.iter_mut() {
            slot.mark = Mark::Unknown;
        }
    }

    /// Returns how many buffers have been allocated.
    #[cfg(test)]
    pub fn buffers(&self) -> usize {
        self.spare.len() + self.slots.iter().filter(|slot| slot.buffer.is_some()).count()
    }

    /// Returns how many times a slot was accessed.
    #[cfg(test)]
    pub fn accesses(&self) -> u64 {
        self.accesses.get()
    }

    #[expect(clippy::indexing_slicing, reason = "one byte cannot be out of 256 slots")]
    fn slot(&self, seq: u32) -> &Slot {
        #[cfg(test)]
        self.accesses.set(self.accesses.get() + 1);
        &self.slots[index(seq)]
    }

    #[expect(clippy::indexing_slicing, reason = "one byte cannot be out of 256 slots")]
    fn slot_mut(&mut self, seq: u32) -> &mut Slot {
        #[cfg(test)]
        self.accesses.set(self.accesses.get() + 1);
        &mut self.slots[index(seq)]
    }
}

fn index(seq: u32) -> usize {
    let [.., low] = seq.to_be_bytes();
    usize::from(low)
}

/// Allocates a buffer. Kept out of the data path, which needs it at most once for each slot.
#[cold]
fn new_buffer() -> Buffer {
    Box::new([0; SLOT_SIZE])
}
