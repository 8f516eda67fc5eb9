//! Which call a GRE packet belongs to: by its source and its call id (RFC 2637 §4.1). Pure.
//!
//! Ids are the server's own and never given twice at a time; the source must match too, so that nobody can speak
//! in the call of another host.

use std::{collections::BTreeMap, net::Ipv4Addr};

/// The most calls at a time.
pub const MOST: usize = 64;

/// One call's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The server's identifier: the key of packets that come in.
    pub call_id: u16,
    /// Where they have to come from.
    pub peer: Ipv4Addr,
}

/// The calls of a server.
#[derive(Debug)]
pub struct CallTable<T> {
    calls: BTreeMap<u16, (Ipv4Addr, T)>,
    last: u16,
}

/// Why a packet belongs to no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCall {
    /// Too short to say.
    Short,
    /// Nobody has this id.
    UnknownId,
    /// Another host has it.
    WrongSource,
}

impl<T> CallTable<T> {
    /// No calls yet; ids follow `last`.
    #[must_use]
    pub fn new(last: u16) -> Self {
        Self { calls: BTreeMap::new(), last }
    }

    /// An id that nobody has, for a host's next call; `None` when there are too many calls.
    pub fn next_key(&mut self, peer: Ipv4Addr) -> Option<Key> {
        if self.calls.len() >= MOST {
            return None;
        }
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if !self.calls.contains_key(&self.last) {
                return Some(Key { call_id: self.last, peer });
            }
        }
    }

    /// Puts a call in its place.
    pub fn insert(&mut self, key: Key, call: T) {
        self.calls.insert(key.call_id, (key.peer, call));
    }

    /// The call that a GRE packet, its IP header off, belongs to.
    ///
    /// # Errors
    /// [`NoCall`]: why there is none.
    pub fn of_packet(&mut self, source: Ipv4Addr, packet: &[u8]) -> Result<&mut T, NoCall> {
        let &[_, _, _, _, _, _, high, low, ..] = packet else { return Err(NoCall::Short) };
        let id = u16::from_be_bytes([high, low]);
        match self.calls.get_mut(&id) {
            None => Err(NoCall::UnknownId),
            Some((peer, _)) if *peer != source => Err(NoCall::WrongSource),
            Some((_, call)) => Ok(call),
        }
    }

    /// The call with this id.
    pub fn get_mut(&mut self, call_id: u16) -> Option<&mut T> {
        self.calls.get_mut(&call_id).map(|(_, call)| call)
    }

    /// Takes a call out.
    pub fn remove(&mut self, call_id: u16) -> Option<T> {
        self.calls.remove(&call_id).map(|(_, call)| call)
    }

    /// All calls.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.calls.iter().map(|(id, (peer, call))| (Key { call_id: *id, peer: *peer }, call))
    }

    /// All calls, to be changed.
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
    fn a_packet_finds_its_call_by_source_and_id() {
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
    fn ids_pass_over_zero_and_over_those_in_use() {
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
    fn there_is_an_end_to_calls() {
        let mut table = CallTable::new(0);
        while let Some(key) = table.next_key(ONE) {
            table.insert(key, ());
        }
        assert_eq!(table.iter().count(), MOST);
    }
}
