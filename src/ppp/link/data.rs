//! The data path: IP packets in and out, sealed and opened in place, nothing allocated.

use std::time::{Duration, Instant};

use super::{DownReason, Link, LinkDrop, Mppe, Phase, Received};
use crate::ppp::{
    mppe::{self, Demand, MppeDrop, Opener, Sealer},
    wire::{code, protocol, split_protocol},
};

/// While an answer to a CCP Reset-Request is awaited, it is asked again so often.
const RESET_AGAIN: Duration = Duration::from_millis(500);

/// How packets travel at present.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one for each link; a box would only cost the data path a detour"
)]
pub(super) enum Cipher {
    /// Not known yet, or being negotiated anew: they do not travel at all.
    Undecided,
    /// In clear. Never with encryption required.
    Clear,
    /// With MPPE; without it in one direction only if it is not required.
    On { sealer: Option<Sealer>, opener: Option<Opener>, mppe: Option<Mppe> },
}

impl Link {
    /// Frames an IP packet of either version, encrypting it where that was agreed; gives the frame's length. `out`
    /// needs the packet's length and [`Self::FRAME_OVERHEAD`].
    ///
    /// # Errors
    ///
    /// Why the packet may not leave. Nothing of it is in `out` in clear if it would have been encrypted.
    pub fn encapsulate(&mut self, ip: &[u8], out: &mut [u8]) -> Result<usize, LinkDrop> {
        match self.frame(ip, out) {
            Ok(length) => {
                self.counters.sent_packets = self.counters.sent_packets.saturating_add(1);
                self.counters.sent_bytes = self.counters.sent_bytes.saturating_add(bytes(ip));
                Ok(length)
            }
            Err(reason) => Err(self.counters.drop(reason)),
        }
    }

    fn frame(&mut self, ip: &[u8], out: &mut [u8]) -> Result<usize, LinkDrop> {
        if self.phase != Phase::Network || !self.up {
            return Err(if self.phase == Phase::Dead { LinkDrop::Ended } else { LinkDrop::NotUp });
        }
        let number = self.protocol_of(ip)?;
        if ip.len() > usize::from(self.mtu()) {
            return Err(LinkDrop::TooBig);
        }
        let header = self.header;
        match &mut self.cipher {
            Cipher::Undecided => Err(LinkDrop::EncryptionPending),
            Cipher::On { sealer: Some(sealer), .. } => {
                let start = header.emit(protocol::COMPRESSED, out).ok_or(LinkDrop::NoRoom)?;
                let sealed = out.get_mut(start..).ok_or(LinkDrop::NoRoom)?;
                let inner = sealed.get_mut(mppe::HEADER..).ok_or(LinkDrop::NoRoom)?;
                // The inner protocol number stays uncompressed, as Windows wants it.
                let (field, payload) = inner.split_first_chunk_mut::<2>().ok_or(LinkDrop::NoRoom)?;
                *field = number.to_be_bytes();
                payload.get_mut(..ip.len()).ok_or(LinkDrop::NoRoom)?.copy_from_slice(ip);
                let length = mppe::HEADER + 2 + ip.len();
                let packet = sealed.get_mut(..length).ok_or(LinkDrop::NoRoom)?;
                sealer.seal_in_place(packet).map_err(|_| LinkDrop::NotIp)?;
                Ok(start + length)
            }
            // Belt and braces: a required cipher is never clear, and if it were, nothing would leave.
            Cipher::Clear | Cipher::On { sealer: None, .. } if self.config.mppe.demand == Demand::Require => {
                Err(LinkDrop::EncryptionPending)
            }
            Cipher::Clear | Cipher::On { sealer: None, .. } => {
                let start = header.emit(number, out).ok_or(LinkDrop::NoRoom)?;
                let end = start + ip.len();
                out.get_mut(start..end).ok_or(LinkDrop::NoRoom)?.copy_from_slice(ip);
                Ok(end)
            }
        }
    }

    pub(super) fn receive_data<'a>(
        &mut self,
        now: Instant,
        number: u16,
        information: &'a mut [u8],
    ) -> Received<'a> {
        let opened = self.open_data(number, information);
        match opened {
            Ok(ip) => {
                self.echo.heard = true;
                self.counters.received_packets = self.counters.received_packets.saturating_add(1);
                self.counters.received_bytes = self.counters.received_bytes.saturating_add(bytes(ip));
                Received::Ip(ip)
            }
            Err(reason) => {
                if matches!(reason, LinkDrop::Mppe(_)) {
                    self.after_bad_packet(now, reason);
                }
                Received::Dropped(self.counters.drop(reason))
            }
        }
    }

    fn open_data<'a>(&mut self, number: u16, information: &'a mut [u8]) -> Result<&'a [u8], LinkDrop> {
        if self.phase != Phase::Network {
            return Err(LinkDrop::WrongPhase);
        }
        let required = self.config.mppe.demand == Demand::Require;
        let (number, ip) = match (&mut self.cipher, number) {
            (Cipher::On { opener: Some(opener), .. }, protocol::COMPRESSED) => {
                let plain = opener.open(information).map_err(LinkDrop::Mppe)?;
                split_protocol(plain).map_err(|_| LinkDrop::NotIp)?
            }
            (_, protocol::COMPRESSED) => return Err(LinkDrop::EncryptedUnexpected),
            (Cipher::On { opener: Some(_), .. }, _) => return Err(LinkDrop::ClearRefused),
            (_, _) if required => return Err(LinkDrop::ClearRefused),
            (Cipher::Undecided, _) => return Err(LinkDrop::WrongPhase),
            (Cipher::Clear | Cipher::On { opener: None, .. }, number) => (number, information),
        };
        match number {
            protocol::IPV4 | protocol::IPV6 => {}
            _ => return Err(LinkDrop::NotIp),
        }
        if !self.up {
            return Err(LinkDrop::WrongPhase);
        }
        if self
            .protocol_of(ip)
            .map_err(|why| if why == LinkDrop::NotUp { LinkDrop::WrongPhase } else { why })?
            != number
        {
            return Err(LinkDrop::BadIp);
        }
        Ok(ip)
    }

    /// The PPP protocol of an IP packet, if that version may flow.
    fn protocol_of(&self, ip: &[u8]) -> Result<u16, LinkDrop> {
        match ip.first().map(|first| first >> 4) {
            Some(4) => Ok(protocol::IPV4),
            Some(6) if self.ipv6cp.as_ref().is_some_and(|ipv6cp| ipv6cp.is_opened()) => Ok(protocol::IPV6),
            Some(6) => Err(LinkDrop::NotUp),
            _ => Err(LinkDrop::BadIp),
        }
    }

    /// Asks the peer for a fresh start where that helps, and gives up where nothing does.
    fn after_bad_packet(&mut self, now: Instant, reason: LinkDrop) {
        let Cipher::On { opener: Some(opener), .. } = &mut self.cipher else { return };
        if opener.is_hopeless() {
            self.fail(now, DownReason::EncryptionLost);
            return self.pump(now);
        }
        let waiting = reason == LinkDrop::Mppe(MppeDrop::AwaitingReset);
        let long_ago = self.reset_sent.is_none_or(|at| now.saturating_duration_since(at) >= RESET_AGAIN);
        if (opener.needs_reset() || waiting)
            && long_ago
            && let Some(ccp) = &mut self.ccp
        {
            ccp.send_new(code::RESET_REQUEST, &[]);
            self.reset_sent = Some(now);
            self.counters.resets_sent = self.counters.resets_sent.saturating_add(1);
            self.pump(now);
        }
    }
}

impl Cipher {
    pub(super) fn both(sealer: Sealer, opener: Opener, mppe: Mppe) -> Self {
        Self::On { sealer: Some(sealer), opener: Some(opener), mppe: Some(mppe) }
    }

    pub(super) fn is_undecided(&self) -> bool {
        matches!(self, Self::Undecided)
    }

    /// Encrypted both ways.
    pub(super) fn is_on(&self) -> bool {
        matches!(self, Self::On { sealer: Some(_), opener: Some(_), .. })
    }

    pub(super) fn mppe(&self) -> Option<Mppe> {
        match self {
            Self::On { mppe, .. } => *mppe,
            Self::Undecided | Self::Clear => None,
        }
    }

    /// Whether packets that we send are, or may become, longer by MPPE's overhead.
    pub(super) fn may_seal(&self) -> bool {
        matches!(self, Self::Undecided | Self::On { sealer: Some(_), .. })
    }
}

fn bytes(packet: &[u8]) -> u64 {
    u64::try_from(packet.len()).unwrap_or(u64::MAX)
}
