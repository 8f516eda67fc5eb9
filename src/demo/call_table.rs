//! Finds the call of a GRE packet by source address and call id (RFC 2637 §4.1). No I/O.
//!
//! The server assigns the ids, each to one call at a time. The source must match too, so that no host can
//! inject packets into the call of another.

use std::{collections::BTreeMap, net::Ipv4Addr};

/// Most calls at a time: those of the benchmark of many tunnels, and a bound of the memory.
pub const MAX_CALLS: usize = 1024;

/// Identifies a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Call id assigned by the server; incoming packets carry it.
    pub call_id: u16,
    /// Required source address of the packets.
    pub peer: Ipv4Addr,
}

/// The calls of a server, by call id.
#[derive(Debug)]
pub struct CallTable<T> {
    calls: BTreeMap<u16, (Ipv4Addr, T)>,
    last: u16,
}

/// Why a packet belongs to no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCall {
    /// Too short to contain a call id.
    Short,
    /// No call has this id.
    UnknownId,
    /// The call belongs to another host.
    WrongSource,
}

impl<T> CallTable<T> {
    /// Returns an empty table; ids follow `last`.
    #[must_use]
    pub fn new(last: u16) -> Self {
        Self { calls: BTreeMap::new(), last }
    }

    /// Returns a key with an unused id for the next call of a host; `None` when there are too many calls.
    pub fn next_key(&mut self, peer: Ipv4Addr) -> Option<Key> {
        if self.calls.len() >= MAX_CALLS {
            return None;
        }
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if !self.calls.contains_key(&self.last) {
                return Some(Key { call_id: self.last, peer });
            }
        }
    }

    /// Inserts a call under its key.
    pub fn insert(&mut self, key: Key, call: T) {
        self.calls.insert(key.call_id, (key.peer, call));
    }

    /// Returns the call of a GRE packet without its IP header.
    ///
    /// # Errors
    /// Returns why there is none.
    pub fn of_packet(&mut self, source: Ipv4Addr, packet: &[u8]) -> Result<&mut T, NoCall> {
        let &[_, _, _, _, _, _, high, low, ..] = packet else { return Err(NoCall::Short) };
        let id = u16::from_be_bytes([high, low]);
        match self.calls.get_mut(&id) {
            None => Err(NoCall::UnknownId),
            Some((peer, _)) if *peer != source => Err(NoCall::WrongSource),
            Some((_, call)) => Ok(call),
        }
    }

    /// Returns the call with this id.
    pub fn get_mut(&mut self, call_id: u16) -> Option<&mut T> {
        self.calls.get_mut(&call_id).map(|(_, call)| call)
    }

    /// Removes a call.
    pub fn remove(&mut self, call_id: u16) -> Option<T> {
        self.calls.remove(&call_id).map(|(_, call)| call)
    }

    /// Iterates over all calls.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.calls.iter().map(|(id, (peer, call))| (Key { call_id: *id, peer: *peer }, call))
    }

    /// Iterates over all calls, mutably.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.calls.iter_mut().map(|(id, (peer, call))| (Key { call_id: *id, peer: *peer }, call))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
    const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);

    fn packet(call_id: u16) -> Vec<u8> {
        let [high, low] = call_id.to_be_bytes();
        vec![0x30, 1, 0x88, 0x0B, 0, 0, high, low, 0, 0, 0, 1]
    }

    #[test]
    fn packet_is_matched_by_source_and_id() {
        let mut table = CallTable::new(0);
        for (peer, name) in [(ONE, "one"), (OTHER, "other")] {
            let key = table.next_key(peer).unwrap();
            table.insert(key, name);
        }
        assert_eq!(table.of_packet(ONE, &packet(1)), Ok(&mut "one"));
        assert_eq!(table.of_packet(OTHER, &packet(2)), Ok(&mut "other"));
        assert_eq!(table.of_packet(OTHER, &packet(1)), Err(NoCall::WrongSource));
        assert_eq!(table.of_packet(ONE, &packet(3)), Err(NoCall::UnknownId));
        assert_eq!(table.of_packet(ONE, &packet(1)[..7]), Err(NoCall::Short));
        assert_eq!(table.remove(1), Some("one"));
        assert_eq!(table.of_packet(ONE, &packet(1)), Err(NoCall::UnknownId));
    }

    #[test]
    fn call_ids_skip_zero_and_ids_in_use() {
        let mut table = CallTable::new(u16::MAX - 1);
        let ids: Vec<u16> = (0..3)
            .map(|_| {
                let key = table.next_key(ONE).unwrap();
                table.insert(key, ());
                key.call_id
            })
            .collect();
        assert_eq!(ids, [u16::MAX, 1, 2]);
        table.last = u16::MAX - 1;
        assert_eq!(table.next_key(ONE).unwrap().call_id, 3);
    }

    #[test]
    fn number_of_calls_is_bounded() {
        let mut table = CallTable::new(0);
        while let Some(key) = table.next_key(ONE) {
            table.insert(key, ());
        }
        assert_eq!(table.iter().count(), MAX_CALLS);
    }
}
