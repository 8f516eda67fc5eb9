//! Session keys ahead of the expected count, in stateless mode: what one trial has computed serves the next ones.

use zeroize::Zeroizing;

use super::{COUNT_MASK, schedule::Schedule};

/// Counts from one stored key to the next: a trial of a count that was reached before costs fewer key changes.
pub(super) const SPACING: u16 = 16;

/// Stored keys: all that one round of the count has.
const SLOTS: usize = 256;

/// The keys of the counts that are multiples of [`SPACING`], as far as they have been computed.
pub(super) struct Checkpoints {
    keys: Zeroizing<Vec<[u8; 16]>>,
    /// Distance from the count of the current key up to which all keys are stored.
    known: u16,
}

impl Checkpoints {
    pub fn new() -> Self {
        Self { keys: Zeroizing::new(vec![[0; 16]; SLOTS]), known: 0 }
    }

    /// Advances the session key by `distance` counts, at most 4096, from `count`, the one that it is for. The caller
    /// then either keeps the key and reports that ([`Checkpoints::advanced`]), or restores the earlier one. RC4 is
    /// not initialized.
    pub fn seek(&mut self, schedule: &mut Schedule, count: u16, distance: u16) {
        let end = count + distance;
        let stored = (count + self.known.min(distance)) / SPACING * SPACING;
        let mut at = count;
        if stored > count
            && let Some(key) = self.keys.get(slot(stored))
        {
            schedule.restore(key);
            at = stored;
        }
        while at < end {
            schedule.change_key();
            at += 1;
            if at.is_multiple_of(SPACING)
                && at - count > self.known
                && let Some(key) = self.keys.get_mut(slot(at))
            {
                *key = *schedule.snapshot();
            }
        }
        self.known = self.known.max(distance);
    }

    /// Records that the current key has advanced by `distance` counts.
    pub fn advanced(&mut self, distance: u16) {
        self.known = self.known.saturating_sub(distance);
    }
}

/// Returns the place of a count's key.
fn slot(count: u16) -> usize {
    usize::from((count & COUNT_MASK) / SPACING)
}
