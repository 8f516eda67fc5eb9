//! What a server agreed to when the tunnel last came up, to be requested first on the next dial. No I/O.
//!
//! A server that gives the same address again can acknowledge the first request, which saves a round trip. Kept in
//! memory only, for one server, and never for authentication or encryption. A dial that does not come up, or that gets
//! something else than it asked for, leaves nothing behind.

use std::net::SocketAddrV4;

use crate::engine::{message::LinkUp, spec::Remembered};

/// The memory of one supervisor.
#[derive(Debug, Default)]
pub struct RedialMemory {
    known: Option<(SocketAddrV4, Remembered)>,
    /// Server of the dial under way, and what it asks for.
    dialled: Option<(SocketAddrV4, Option<Remembered>)>,
}

impl RedialMemory {
    /// Returns what to ask this server for, and forgets it until the link is up.
    pub fn dial(&mut self, server: SocketAddrV4) -> Option<Remembered> {
        let known = self.known.take().and_then(|(known, remembered)| (known == server).then_some(remembered));
        if let Some(before) = &known {
            tracing::debug!("the server is asked for {} again", before.address);
        }
        self.dialled = Some((server, known.clone()));
        known
    }

    /// Records a link that is up, unless it surprises: the server was asked for something else.
    pub fn link_up(&mut self, up: &LinkUp) {
        let Some((server, asked)) = self.dialled.take() else { return };
        let given = Remembered { address: up.local, dns: up.dns.clone(), mru: up.mru };
        if asked.is_none_or(|asked| asked == given) {
            self.known = Some((server, given));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(last: u8) -> SocketAddrV4 {
        SocketAddrV4::new([192, 0, 2, last].into(), 1723)
    }

    fn up(last: u8) -> LinkUp {
        LinkUp { local: [10, 0, 0, last].into(), mru: Some(1436), ..LinkUp::example() }
    }

    #[test]
    fn same_server_is_asked_for_what_it_gave() {
        let mut memory = RedialMemory::default();
        assert_eq!(memory.dial(server(1)), None);
        memory.link_up(&up(7));
        for _ in 0..3 {
            let asked = memory.dial(server(1)).unwrap();
            assert_eq!((asked.address, asked.mru), ([10, 0, 0, 7].into(), Some(1436)));
            assert_eq!(asked.dns, LinkUp::example().dns);
            memory.link_up(&up(7));
        }
    }

    #[test]
    fn another_server_a_failure_and_a_surprise_clear_the_memory() {
        let mut memory = RedialMemory::default();
        memory.dial(server(1));
        memory.link_up(&up(7));
        assert_eq!(memory.dial(server(2)), None, "another server");
        assert_eq!(memory.dial(server(1)), None, "forgotten at the other dial");
        memory.link_up(&up(7));
        assert!(memory.dial(server(1)).is_some());
        assert_eq!(memory.dial(server(1)), None, "the dial before did not come up");
        memory.link_up(&up(7));
        for surprise in [up(8), LinkUp { mru: None, ..up(7) }, LinkUp { dns: Vec::new(), ..up(7) }] {
            assert!(memory.dial(server(1)).is_some());
            memory.link_up(&surprise);
            assert_eq!(memory.dial(server(1)), None, "{surprise:?}");
            memory.link_up(&up(7));
        }
        assert!(memory.dial(server(1)).is_some(), "a plain dial is recorded again");
        memory.link_up(&up(9));
        memory.link_up(&up(9));
        assert_eq!(memory.dial(server(1)), None, "a renegotiation is no dial");
    }
}
