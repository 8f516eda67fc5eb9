//! A bad road for packets: loss, duplicates, delay and reordering by a seed. Pure, and the same every time.
//!
//! Packets go in with a moment and come out when they have arrived. What a seed does to the n-th packet depends on
//! n alone, so a failure under it can be had again.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// The most packets on their way; what is more is lost, as in a full queue.
const MOST: usize = 2048;

/// What a road does to packets. All zero is a good road.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImpairmentConfig {
    /// Lost, of 1000.
    pub loss: u16,
    /// Arriving twice, of 1000.
    pub duplicate: u16,
    /// Held up so that later ones overtake, of 1000.
    pub reorder: u16,
    /// How long every packet takes, in microseconds.
    pub delay: u32,
    /// How much longer one takes that is held up, in microseconds.
    pub hold: u32,
    /// Where the choice begins.
    pub seed: u64,
}

impl ImpairmentConfig {
    /// Whether it does nothing at all, so that nothing has to go through it.
    #[must_use]
    pub const fn is_clear(&self) -> bool {
        self.loss == 0 && self.duplicate == 0 && self.reorder == 0 && self.delay == 0
    }
}

/// One direction of a road.
#[derive(Debug)]
pub struct ImpairedPath<T> {
    climate: ImpairmentConfig,
    random: u64,
    arriving: BTreeMap<(Instant, u64), T>,
    number: u64,
    counters: ImpairmentCounters,
}

/// What became of the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImpairmentCounters {
    /// Lost by the climate.
    pub lost: u64,
    /// Lost because too many were on their way.
    pub overflowed: u64,
    /// Doubled.
    pub duplicated: u64,
    /// Held up.
    pub held: u64,
    /// Arrived, duplicates included.
    pub arrived: u64,
}

impl<T: Clone> ImpairedPath<T> {
    /// An empty road.
    #[must_use]
    pub fn new(climate: ImpairmentConfig) -> Self {
        Self {
            climate,
            random: climate.seed,
            arriving: BTreeMap::new(),
            number: 0,
            counters: ImpairmentCounters::default(),
        }
    }

    /// Whether packets may as well go around.
    #[must_use]
    pub const fn is_clear(&self) -> bool {
        self.climate.is_clear()
    }

    /// A packet sets out.
    pub fn send(&mut self, now: Instant, packet: T) {
        // Every packet draws as many numbers, so that each one's fate is its own.
        let [lost, twice, held] = [self.draw(), self.draw(), self.draw()];
        if lost < self.climate.loss {
            self.counters.lost += 1;
            return;
        }
        let mut at = now + Duration::from_micros(u64::from(self.climate.delay));
        if held < self.climate.reorder {
            self.counters.held += 1;
            at += Duration::from_micros(u64::from(self.climate.hold));
        }
        if twice < self.climate.duplicate {
            self.counters.duplicated += 1;
            self.set_out(at, packet.clone());
        }
        self.set_out(at, packet);
    }

    /// The next packet that has arrived by now.
    pub fn arrive(&mut self, now: Instant) -> Option<T> {
        let ((at, _), _) = self.arriving.first_key_value()?;
        if *at > now {
            return None;
        }
        self.counters.arrived += 1;
        self.arriving.pop_first().map(|(_, packet)| packet)
    }

    /// When the next one arrives.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.arriving.first_key_value().map(|((at, _), _)| *at)
    }

    /// What became of the packets so far.
    #[must_use]
    pub const fn counters(&self) -> ImpairmentCounters {
        self.counters
    }

    fn set_out(&mut self, at: Instant, packet: T) {
        if self.arriving.len() >= MOST {
            self.counters.overflowed += 1;
            return;
        }
        self.number += 1;
        self.arriving.insert((at, self.number), packet);
    }

    /// 0 to 999, evenly: SplitMix64.
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

    fn travel(climate: ImpairmentConfig, count: u32) -> (Vec<u32>, ImpairmentCounters) {
        let start = Instant::now();
        let mut road = ImpairedPath::new(climate);
        let mut out = Vec::new();
        for n in 0..count {
            let now = start + Duration::from_millis(u64::from(n));
            road.send(now, n);
            out.extend(std::iter::from_fn(|| road.arrive(now)));
        }
        while let Some(at) = road.next_timeout() {
            out.extend(std::iter::from_fn(|| road.arrive(at)));
        }
        (out, road.counters())
    }

    #[test]
    fn a_good_road_changes_nothing() {
        let (out, counters) = travel(ImpairmentConfig::default(), 100);
        assert_eq!(out, (0..100).collect::<Vec<_>>());
        assert_eq!(counters, ImpairmentCounters { arrived: 100, ..ImpairmentCounters::default() });
    }

    #[test]
    fn a_seed_does_the_same_every_time_and_another_does_not() {
        assert_eq!(travel(BAD, 500), travel(BAD, 500));
        assert_ne!(travel(BAD, 500).0, travel(ImpairmentConfig { seed: 8, ..BAD }, 500).0);
    }

    #[test]
    fn a_bad_road_loses_doubles_and_reorders_about_as_much_as_it_says() {
        let (out, counters) = travel(BAD, 10_000);
        assert!((800..1200).contains(&counters.lost), "{counters:?}");
        assert!((350..550).contains(&counters.duplicated), "{counters:?}");
        assert!((1_600..2_000).contains(&counters.held), "{counters:?}");
        assert_eq!(counters.arrived, 10_000 - counters.lost + counters.duplicated);
        assert!(out.windows(2).any(|pair| pair[0] > pair[1]), "nothing was overtaken");
    }

    #[test]
    fn nothing_arrives_early_and_no_road_grows_without_end() {
        let now = Instant::now();
        let mut road = ImpairedPath::new(ImpairmentConfig { delay: 1_000, ..ImpairmentConfig::default() });
        for n in 0..MOST + 10 {
            road.send(now, n);
        }
        assert_eq!(road.arrive(now), None);
        assert_eq!(road.next_timeout(), Some(now + Duration::from_millis(1)));
        assert_eq!(road.counters().overflowed, 10);
    }
}
