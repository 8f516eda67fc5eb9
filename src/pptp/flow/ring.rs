//! The packets that wait for an earlier one, and what is known about the numbers around them.
//!
//! A slot for each of 256 sequence numbers, found by the number's low byte: insertion and lookup cost the
//! same however much waits. Buffers are made when first needed and then used again, as many as have ever
//! waited at once; nothing is allocated for a packet.

use std::time::Instant;

/// Slots in the ring: the greatest distance over which order is repaired.
pub(super) const SLOTS: u32 = 256;
/// The longest payload that can wait; PPTP's is 1532 bytes (RFC 2637 §4.2).
pub(super) const SLOT_SIZE: usize = 2048;

type Buffer = Box<[u8; SLOT_SIZE]>;

/// What is known about one sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nothing.
    Unknown,
    /// Not here, although a later one was at `since`, when the flow had advanced `advances` times.
    Missing { since: Instant, advances: u32 },
    /// Here, waiting.
    Waiting,
    /// Has been delivered.
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
    looks: std::cell::Cell<u64>,
}

impl Ring {
    pub fn new() -> Self {
        let slots = std::array::from_fn(|_| Slot { seq: 0, mark: Mark::Unknown, length: 0, buffer: None });
        Self {
            slots: Box::new(slots),
            spare: Vec::new(),
            #[cfg(test)]
            looks: std::cell::Cell::default(),
        }
    }

    /// What is known about `seq`.
    pub fn mark(&self, seq: u32) -> Mark {
        let slot = self.slot(seq);
        if slot.seq == seq { slot.mark } else { Mark::Unknown }
    }

    /// Notes something about `seq`, and forgets what the slot knew before. A waiting packet must have been
    /// taken out.
    pub fn set(&mut self, seq: u32, mark: Mark) {
        let slot = self.slot_mut(seq);
        slot.seq = seq;
        slot.mark = mark;
    }

    /// Lets a packet wait; `false` if it is too long for that.
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

    /// Hands out the packet that waits as `seq`, which is then delivered; `false` if none does.
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

    /// Forgets everything; no packet may be waiting.
    pub fn clear(&mut self) {
        for slot in self.slots.iter_mut() {
            slot.mark = Mark::Unknown;
        }
    }

    /// How many buffers have been made.
    #[cfg(test)]
    pub fn buffers(&self) -> usize {
        self.spare.len() + self.slots.iter().filter(|slot| slot.buffer.is_some()).count()
    }

    /// How often it has been looked into.
    #[cfg(test)]
    pub fn looks(&self) -> u64 {
        self.looks.get()
    }

    #[expect(clippy::indexing_slicing, reason = "one byte cannot be out of 256 slots")]
    fn slot(&self, seq: u32) -> &Slot {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        &self.slots[index(seq)]
    }

    #[expect(clippy::indexing_slicing, reason = "one byte cannot be out of 256 slots")]
    fn slot_mut(&mut self, seq: u32) -> &mut Slot {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        &mut self.slots[index(seq)]
    }
}

fn index(seq: u32) -> usize {
    let [.., low] = seq.to_be_bytes();
    usize::from(low)
}

/// Kept out of the way of the data path, which comes here at most once for each slot.
#[cold]
fn new_buffer() -> Buffer {
    Box::new([0; SLOT_SIZE])
}
