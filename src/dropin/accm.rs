//! Learns which control characters the PPP daemon wants escaped by watching LCP (RFC 1662 §7.1).
//!
//! Until the map is known, all control characters are escaped. It is known once the peer has acknowledged the
//! daemon's Configure-Request, and applies to data only: negotiation stays fully escaped, because it may
//! continue before the daemon has configured its kernel. A new Configure-Request of the daemon invalidates
//! the map.

use crate::ppp::{
    hdlc::Accm,
    wire::{ADDRESS_CONTROL, Options, Packet, code, protocol},
};

/// LCP option number of the Async-Control-Character-Map.
const OPTION: u8 = 2;

/// The map, as far as known.
#[derive(Debug, Default)]
pub(super) struct AccmWatch {
    agreed: Option<Accm>,
}

impl AccmWatch {
    /// Inspects a frame that the daemon sends.
    pub fn daemon_sends(&mut self, frame: &[u8]) {
        if lcp(frame).is_some_and(|packet| packet.code == code::CONFIGURE_REQUEST) {
            self.agreed = None;
        }
    }

    /// Inspects a frame for the daemon and returns the map to encode it with.
    pub fn daemon_gets(&mut self, frame: &[u8]) -> Accm {
        if is_data(frame) {
            return self.agreed.unwrap_or(Accm::ALL);
        }
        if let Some(packet) = lcp(frame)
            && packet.code == code::CONFIGURE_ACK
            && let Some(options) = Options::parse(packet.data)
        {
            let map = options.find(OPTION).and_then(|option| option.array());
            self.agreed = map.map(|map| Accm(u32::from_be_bytes(map)));
        }
        Accm::ALL
    }
}

/// Parses LCP, which always has its full header (RFC 1661 §6.6); a missing address is accepted.
fn lcp(frame: &[u8]) -> Option<Packet<'_>> {
    Packet::parse(without_address(frame).strip_prefix(&protocol::LCP.to_be_bytes())?)
}

fn is_data(frame: &[u8]) -> bool {
    let numbers = [protocol::IPV4, protocol::IPV6, protocol::COMPRESSED];
    let frame = without_address(frame);
    numbers
        .map(u16::to_be_bytes)
        .iter()
        .any(|[high, low]| frame.starts_with(&[*high, *low]) || frame.first() == Some(low))
}

fn without_address(frame: &[u8]) -> &[u8] {
    frame.strip_prefix(&ADDRESS_CONTROL).unwrap_or(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: [u8; 5] = [0xff, 0x03, 0x00, 0xfd, 1];
    const REQUEST: [u8; 14] = [0xff, 0x03, 0xc0, 0x21, 1, 1, 0, 10, 2, 6, 0, 0, 0, 0];
    const ACK: [u8; 14] = [0xff, 0x03, 0xc0, 0x21, 2, 1, 0, 10, 2, 6, 0, 0, 0, 1];
    const ACK_WITHOUT: [u8; 8] = [0xff, 0x03, 0xc0, 0x21, 2, 1, 0, 4];

    #[test]
    fn agreed_accm_applies_to_data_until_next_request() {
        let mut watch = AccmWatch::default();
        assert_eq!(watch.daemon_gets(&DATA), Accm::ALL);
        watch.daemon_sends(&REQUEST);
        assert_eq!(watch.daemon_gets(&ACK), Accm::ALL);
        assert_eq!(watch.daemon_gets(&DATA), Accm(1));
        assert_eq!(watch.daemon_gets(&[0x21, 0x45]), Accm(1));
        assert_eq!(watch.daemon_gets(&[0xff, 0x03, 0xc2, 0x23, 1, 1, 0, 4]), Accm::ALL, "authentication");
        watch.daemon_sends(&REQUEST);
        assert_eq!(watch.daemon_gets(&DATA), Accm::ALL);
        assert_eq!(watch.daemon_gets(&ACK_WITHOUT), Accm::ALL);
        assert_eq!(watch.daemon_gets(&DATA), Accm::ALL, "the default applies without the option");
    }
}
