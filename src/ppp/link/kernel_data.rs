//! A link whose data packets the kernel moves, between a PPP unit and GRE. The link negotiates and watches as ever;
//! [`Link::unit`] says what the unit is to do, and [`Link::mppe_start`] which keys it needs for a CCP frame.
//!
//! The kernel begins MPPE in one direction when it sees a Configure-Ack pass in that direction, with the key that it was
//! given before. Frames that it could not decrypt come to the link, as those of an unknown protocol do.

use std::time::Instant;

use zeroize::Zeroizing;

use super::{Cipher, Link, LinkDrop, Phase, Received};
use crate::ppp::{
    automaton::Automaton,
    mppe::{MppeDrop, Strength, option},
    wire::{self, Options, Packet, code, protocol},
};

/// What a unit is to do now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// IPv4 packets pass.
    pub ipv4: bool,
    /// IPv6 packets pass.
    pub ipv6: bool,
    /// CCP is used: its frames begin and end MPPE.
    pub ccp: bool,
    /// CCP is open, and at least one direction is encrypted.
    pub ccp_up: bool,
    /// No packet may pass in clear.
    pub must_encrypt: bool,
}

/// The parameters of MPPE for one direction, before the Configure-Ack that begins it.
#[derive(Clone)]
pub struct MppeStart {
    /// Whether this is for packets that we send.
    pub transmit: bool,
    /// CCP's option, as in the frame.
    pub option: [u8; 6],
    /// The start key.
    pub key: Zeroizing<[u8; 16]>,
}

impl Link {
    /// Returns what the unit is to do now. Whatever is no longer to be done has to end before the next frame is sent, what
    /// is new begins after it.
    #[must_use]
    pub fn unit(&self) -> Unit {
        let network = self.phase == Phase::Network;
        let must_encrypt = self.requires_encryption();
        let is_decided = self.cipher.is_on() || !(must_encrypt || self.cipher.is_undecided());
        let passes = network && self.up && is_decided;
        Unit {
            ipv4: passes,
            ipv6: passes && self.ipv6cp.as_ref().is_some_and(Automaton::is_opened),
            ccp: network && self.ccp.is_some(),
            ccp_up: network && matches!(self.cipher, Cipher::On { .. }),
            must_encrypt,
        }
    }

    /// Returns the parameters of MPPE that a frame to be sent agrees to (a Configure-Ack of CCP) or asks for (its
    /// Configure-Request, which the peer may acknowledge).
    #[must_use]
    pub fn mppe_start(&self, frame: &[u8]) -> Option<MppeStart> {
        let frame = frame.strip_prefix(&wire::ADDRESS_CONTROL).unwrap_or(frame);
        let packet = Packet::parse(frame.strip_prefix(&protocol::CCP.to_be_bytes())?)?;
        let transmit = match packet.code {
            code::CONFIGURE_ACK => true,
            code::CONFIGURE_REQUEST => false,
            _ => return None,
        };
        let bits: [u8; 4] = Options::parse(packet.data)?.find(option::TYPE)?.array()?;
        let policy = self.config.mppe;
        let strength = Strength::strongest(u32::from_be_bytes(bits), policy.min, policy.max)?;
        let key = self.keys.as_ref()?.start(transmit, strength)?;
        let [a, b, c, d] = bits;
        Some(MppeStart { transmit, option: [option::TYPE, 6, a, b, c, d], key })
    }

    /// Returns whether a received frame makes the kernel stop MPPE in at least one direction, whatever this link thinks of
    /// the frame: a Configure-Request, Terminate-Request or Terminate-Ack of CCP.
    #[must_use]
    pub fn stops_mppe(frame: &[u8]) -> bool {
        let frame = frame.strip_prefix(&wire::ADDRESS_CONTROL).unwrap_or(frame);
        let code = frame.strip_prefix(&protocol::CCP.to_be_bytes()).and_then(|packet| packet.first());
        code.is_some_and(|code| {
            matches!(*code, code::CONFIGURE_REQUEST | code::TERMINATE_REQUEST | code::TERMINATE_ACK)
        })
    }

    /// Records that data packets have come, which only the kernel sees.
    pub fn note_data(&mut self) {
        self.echo.received = true;
        self.rejected = None;
    }

    /// Returns the MPPE strengths that can be used, as bits of the option: Linux has no 56-bit keys.
    pub(super) const fn supported_strengths(&self) -> u32 {
        if self.config.kernel_data { !option::BITS_56 } else { u32::MAX }
    }

    /// Handles a data packet that the kernel did not take: an encrypted one that it could not decrypt. It takes none
    /// before the peer's Reset-Ack has passed.
    pub(super) fn receive_undecrypted(&mut self, now: Instant, number: u16) -> Received<'static> {
        if number != protocol::COMPRESSED || self.phase != Phase::Network {
            return Received::Dropped(self.counters.drop(LinkDrop::WrongPhase));
        }
        let reason = if self.cipher.has_keys() {
            LinkDrop::Mppe(MppeDrop::AwaitingReset)
        } else {
            LinkDrop::EncryptedUnexpected
        };
        self.note_unreadable(now, reason);
        if self.cipher.has_keys() {
            self.request_reset(now);
        }
        Received::Dropped(self.counters.drop(reason))
    }
}
