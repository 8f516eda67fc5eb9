//! An impaired network path: loss, duplication, delay and reordering. No I/O.
//!
//! Packets go in with the current time and come out when they have arrived. What happens to the n-th packet
//! depends only on the seed and n, so a failure can be reproduced.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::deadline::Deadline;

/// Most packets in transit; further ones are lost, as in a full queue.
const MAX_IN_TRANSIT: usize = 2048;

/// Impairment of one direction. All zero changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImpairmentConfig {
    /// Packets lost, per 1000.
    pub loss: u16,
    /// Packets duplicated, per 1000.
    pub duplicate: u16,
    /// Packets held up so that later ones overtake them, per 1000.
    pub reorder: u16,
    /// Delay of every packet, in microseconds.
    pub delay: u32,
    /// Additional delay of a packet that is held up, in microseconds.
    pub hold: u32,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl ImpairmentConfig {
    /// Returns whether the path changes nothing, so that packets may bypass it.
    #[must_use]
    pub const fn is_clear(&self) -> bool {
        self.loss == 0 && self.duplicate == 0 && self.reorder == 0 && self.delay == 0
    }
}

/// One direction of an impaired path.
#[derive(Debug)]
pub struct ImpairedPath<T> {
    config: ImpairmentConfig,
    random: u64,
    arriving: BTreeMap<(Instant, u64), T>,
    number: u64,
    counters: ImpairmentCounters,
}

/// Counts of what happened to the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImpairmentCounters {
    /// Lost at random.
    pub lost: u64,
    /// Lost because too many packets were in transit.
    pub overflowed: u64,
    /// Duplicated.
    pub duplicated: u64,
    /// Held up.
    pub held: u64,
    /// Arrived, duplicates included.
    pub arrived: u64,
}

impl<T: Clone> ImpairedPath<T> {
    /// Returns a path without packets.
    #[must_use]
    pub fn new(climate: ImpairmentConfig) -> Self {
        Self {
            config: climate,
            random: climate.seed,
            arriving: BTreeMap::new(),
            number: 0,
            counters: ImpairmentCounters::default(),
        }
    }

    /// Returns whether packets may bypass the path.
    #[must_use]
    pub const fn is_clear(&self) -> bool {
        self.config.is_clear()
    }

    /// Sends a packet into the path.
    pub fn send(&mut self, now: Instant, packet: T) {
        // The same number of draws for every packet: its fate depends only on its number.
        let [lost, twice, held] = [self.draw(), self.draw(), self.draw()];
        if lost < self.config.loss {
            self.counters.lost += 1;
            return;
        }
        let mut at = now + Duration::from_micros(u64::from(self.config.delay));
        if held < self.config.reorder {
            self.counters.held += 1;
            at += Duration::from_micros(u64::from(self.config.hold));
        }
        if twice < self.config.duplicate {
            self.counters.duplicated += 1;
            self.enqueue(at, packet.clone());
        }
        self.enqueue(at, packet);
    }

    /// Returns the next packet that has arrived by `now`.
    pub fn arrive(&mut self, now: Instant) -> Option<T> {
        let ((at, _), _) = self.arriving.first_key_value()?;
        if *at > now {
            return None;
        }
        self.counters.arrived += 1;
        self.arriving.pop_first().map(|(_, packet)| packet)
    }

    /// Returns when the next packet arrives.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Deadline> {
        self.arriving.first_key_value().map(|((at, _), _)| (*at, "packet in transit"))
    }

    /// Returns the counters.
    #[must_use]
    pub const fn counters(&self) -> ImpairmentCounters {
        self.counters
    }

    fn enqueue(&mut self, at: Instant, packet: T) {
        if self.arriving.len() >= MAX_IN_TRANSIT {
            self.counters.overflowed += 1;
            return;
        }
        self.number += 1;
        self.arriving.insert((at, self.number), packet);
    }

    /// Returns a random number from 0 to 999 (SplitMix64).
    fn draw(&mut self) -> u16 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        u16::try_from(z % 1000).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: ImpairmentConfig =
        ImpairmentConfig { loss: 100, duplicate: 50, reorder: 200, delay: 500, hold: 3_000, seed: 7 };

    fn send_through(config: ImpairmentConfig, count: u32) -> (Vec<u32>, ImpairmentCounters) {
        let start = Instant::now();
        let mut path = ImpairedPath::new(config);
        let mut out = Vec::new();
        for n in 0..count {
            let now = start + Duration::from_millis(u64::from(n));
            path.send(now, n);
            out.extend(std::iter::from_fn(|| path.arrive(now)));
        }
        while let Some((at, _)) = path.next_timeout() {
            out.extend(std::iter::from_fn(|| path.arrive(at)));
        }
        (out, path.counters())
    }

    #[test]
    fn default_config_changes_nothing() {
        let (out, counters) = send_through(ImpairmentConfig::default(), 100);
        assert_eq!(out, (0..100).collect::<Vec<_>>());
        assert_eq!(counters, ImpairmentCounters { arrived: 100, ..ImpairmentCounters::default() });
    }

    #[test]
    fn equal_seeds_give_equal_results() {
        assert_eq!(send_through(BAD, 500), send_through(BAD, 500));
        assert_ne!(send_through(BAD, 500).0, send_through(ImpairmentConfig { seed: 8, ..BAD }, 500).0);
    }

    #[test]
    fn rates_match_configuration() {
        let (out, counters) = send_through(BAD, 10_000);
        assert!((800..1200).contains(&counters.lost), "{counters:?}");
        assert!((350..550).contains(&counters.duplicated), "{counters:?}");
        assert!((1_600..2_000).contains(&counters.held), "{counters:?}");
        assert_eq!(counters.arrived, 10_000 - counters.lost + counters.duplicated);
        assert!(out.windows(2).any(|pair| pair[0] > pair[1]), "no packet was reordered");
    }

    #[test]
    fn packets_are_delayed_and_queue_is_bounded() {
        let now = Instant::now();
        let mut path = ImpairedPath::new(ImpairmentConfig { delay: 1_000, ..ImpairmentConfig::default() });
        for n in 0..MAX_IN_TRANSIT + 10 {
            path.send(now, n);
        }
        assert_eq!(path.arrive(now), None);
        assert_eq!(path.next_timeout(), Some((now + Duration::from_millis(1), "packet in transit")));
        assert_eq!(path.counters().overflowed, 10);
    }
}
