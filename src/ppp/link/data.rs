//! The data path: IP packets in both directions, encrypted and decrypted in place, without allocation.

use std::time::{Duration, Instant};

use super::{DownReason, Link, LinkDrop, Mppe, Phase, Received};
use crate::ppp::{
    mppe::{Demand, Opener, SealError, Sealer},
    wire::{self, code, protocol, split_protocol},
};

/// Interval at which an ineffective CCP Reset-Request is repeated, as in pppd.
const RESET_INTERVAL: Duration = Duration::from_secs(1);

/// For how long no data packet of the peer may be readable while packets come, before the link ends.
const UNREADABLE_MAX: Duration = Duration::from_secs(5);
/// Unreadable packets that end the link at least: fewer may be strays or forged.
const UNREADABLE_LEAST: u32 = 8;
/// Unreadable packets further apart than this are unrelated.
const UNREADABLE_APART: Duration = Duration::from_secs(10);

/// Data packets of the peer that could not be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unreadable {
    since: Instant,
    last: Instant,
    count: u32,
}

/// How packets are sent at present.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one for each link; a box would only cost the data path a detour"
)]
pub(super) enum Cipher {
    /// Not decided yet, or being renegotiated: no packets are sent or accepted.
    Undecided,
    /// In clear. Never with encryption required.
    Clear,
    /// With MPPE; one direction may lack it if encryption is not required.
    On { sealer: Option<Sealer>, opener: Option<Opener>, mppe: Option<Mppe> },
}

impl Link {
    /// Returns whether no packet may pass in clear: by configuration, or because the link has been encrypted. Any
    /// host can forge the packets that would end the encryption.
    pub(super) fn requires_encryption(&self) -> bool {
        self.config.mppe.demand == Demand::Require || self.was_encrypted
    }

    /// Frames an IP packet of either version, encrypts it if that was agreed, and returns the frame's length.
    /// `out` needs room for the packet and [`Self::FRAME_OVERHEAD`].
    ///
    /// # Errors
    ///
    /// Returns the reason if the packet cannot be sent. `out` then contains no clear text of a packet that
    /// had to be encrypted.
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

    /// Returns whether [`Self::expect_packets`] saves time: each packet is encrypted with a key of its own.
    #[must_use]
    pub fn is_sealing_ahead(&self) -> bool {
        matches!(&self.cipher, Cipher::On { sealer: Some(sealer), .. } if !sealer.is_stateful())
    }

    /// Sets the lengths of the next packets for [`Self::encapsulate`]; others may come.
    pub fn expect_packets(&mut self, lengths: impl Iterator<Item = usize>) {
        if let Cipher::On { sealer: Some(sealer), .. } = &mut self.cipher {
            sealer.expect(lengths);
        }
    }

    /// Shows the next frames for [`Self::handle_input`], so that keys of encrypted ones are made together; others may
    /// come.
    pub fn expect_frames<'a>(&mut self, frames: impl Iterator<Item = &'a [u8]>) {
        if let Cipher::On { opener: Some(opener), .. } = &mut self.cipher {
            opener.expect(frames.filter_map(wire::compressed).map(<[u8]>::len));
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
        let required = self.requires_encryption();
        match &mut self.cipher {
            Cipher::Undecided => Err(LinkDrop::EncryptionPending),
            Cipher::On { sealer: Some(sealer), .. } => {
                let start = header.emit(protocol::COMPRESSED, out).ok_or(LinkDrop::NoRoom)?;
                let sealed = out.get_mut(start..).ok_or(LinkDrop::NoRoom)?;
                // The inner protocol number stays uncompressed, which every peer can read.
                let length = sealer.seal_parts(number, ip, sealed).map_err(|why| match why {
                    SealError::NoRoom => LinkDrop::NoRoom,
                    SealError::NotCarried => LinkDrop::BadIp,
                })?;
                Ok(start + length)
            }
            // Defence in depth: with encryption required the cipher is never clear, and if it were, nothing
            // is sent.
            Cipher::Clear | Cipher::On { sealer: None, .. } if required => Err(LinkDrop::EncryptionPending),
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
        if self.config.kernel_data {
            return self.receive_undecrypted(now, number);
        }
        match self.open_data(now, number, information) {
            Ok((version @ (protocol::IPV4 | protocol::IPV6), ip)) => match self.deliver(ip, version) {
                Ok(()) => Received::Ip(ip),
                Err(reason) => Received::Dropped(self.counters.drop(reason)),
            },
            // Some peers also encrypt control packets, although RFC 3078 §3 forbids it.
            Ok((inner, packet)) if number == protocol::COMPRESSED && wire::is_control(inner) => {
                self.receive_control(now, inner, packet)
            }
            Ok(_) => Received::Dropped(self.counters.drop(LinkDrop::NotIp)),
            Err(reason) => {
                self.note_unreadable(now, reason);
                if matches!(reason, LinkDrop::Mppe(_)) {
                    self.after_bad_packet(now, reason);
                }
                Received::Dropped(self.counters.drop(reason))
            }
        }
    }

    /// Returns protocol number and information field of a packet that the cipher accepts.
    fn open_data<'a>(
        &mut self,
        now: Instant,
        number: u16,
        information: &'a mut [u8],
    ) -> Result<(u16, &'a [u8]), LinkDrop> {
        if self.phase != Phase::Network {
            return Err(LinkDrop::WrongPhase);
        }
        let required = self.requires_encryption();
        match (&mut self.cipher, number) {
            (Cipher::On { opener: Some(opener), .. }, protocol::COMPRESSED) => {
                let (least, most) = self.lost;
                opener.set_lost(least, most);
                opener.set_time(now);
                let plain = opener.open(information).map_err(LinkDrop::Mppe)?;
                self.reset_sent = None;
                let (number, packet) = split_protocol(plain).map_err(|_| LinkDrop::NotIp)?;
                Ok((number, packet))
            }
            (_, protocol::COMPRESSED) => Err(LinkDrop::EncryptedUnexpected),
            (Cipher::On { opener: Some(_), .. }, _) => Err(LinkDrop::ClearRefused),
            (_, _) if required => Err(LinkDrop::ClearRefused),
            (Cipher::Undecided, _) => Err(LinkDrop::WrongPhase),
            (Cipher::Clear | Cipher::On { opener: None, .. }, number) => Ok((number, information)),
        }
    }

    /// Checks whether a received IP packet may go to the tunnel device, and counts it if so.
    fn deliver(&mut self, ip: &[u8], number: u16) -> Result<(), LinkDrop> {
        if !self.up {
            return Err(LinkDrop::WrongPhase);
        }
        match self.protocol_of(ip) {
            Ok(version) if version == number => {}
            Ok(_) => return Err(LinkDrop::BadIp),
            Err(LinkDrop::NotUp) => return Err(LinkDrop::WrongPhase),
            Err(reason) => return Err(reason),
        }
        self.echo.received = true;
        self.rejected = None;
        self.unreadable = None;
        self.counters.received_packets = self.counters.received_packets.saturating_add(1);
        self.counters.received_bytes = self.counters.received_bytes.saturating_add(bytes(ip));
        Ok(())
    }

    /// Returns the PPP protocol of an IP packet, if packets of that version may pass.
    fn protocol_of(&self, ip: &[u8]) -> Result<u16, LinkDrop> {
        match ip.first().map(|first| first >> 4) {
            Some(4) => Ok(protocol::IPV4),
            Some(6) if self.ipv6cp.as_ref().is_some_and(|ipv6cp| ipv6cp.is_opened()) => Ok(protocol::IPV6),
            Some(6) => Err(LinkDrop::NotUp),
            _ => Err(LinkDrop::BadIp),
        }
    }

    /// Counts a data packet that could not be read, and ends the link if packets have come for a while and none
    /// could be. LCP echoes alone would keep such a link up for ever.
    pub(super) fn note_unreadable(&mut self, now: Instant, reason: LinkDrop) {
        let is_about_keys =
            matches!(reason, LinkDrop::Mppe(_) | LinkDrop::ClearRefused | LinkDrop::EncryptedUnexpected);
        if !is_about_keys || !self.up || self.cipher.is_undecided() {
            return;
        }
        let begin = Unreadable { since: now, last: now, count: 0 };
        let recent = |one: &Unreadable| now.saturating_duration_since(one.last) < UNREADABLE_APART;
        let one = self.unreadable.filter(recent).unwrap_or(begin);
        let one = Unreadable { last: now, count: one.count.saturating_add(1), ..one };
        self.unreadable = Some(one);
        let lasted = now.saturating_duration_since(one.since);
        if lasted >= UNREADABLE_MAX && one.count >= UNREADABLE_LEAST {
            self.fail(now, DownReason::DataUnreadable { packets: one.count, lasted, last: reason });
            self.pump(now);
        }
    }

    /// Requests a reset from the peer if that helps, and ends the link if nothing does.
    fn after_bad_packet(&mut self, now: Instant, reason: LinkDrop) {
        let Cipher::On { opener: Some(opener), .. } = &mut self.cipher else { return };
        if opener.is_hopeless() {
            let (packets, lasted) =
                self.unreadable.map_or((1, Duration::ZERO), |one| (one.count, one.last - one.since));
            self.fail(now, DownReason::DataUnreadable { packets, lasted, last: reason });
            return self.pump(now);
        }
        if opener.needs_reset() {
            self.request_reset(now);
        }
    }

    /// Sends a CCP Reset-Request, unless one was sent a short time ago.
    pub(super) fn request_reset(&mut self, now: Instant) {
        let due = self.reset_sent.is_none_or(|at| now.saturating_duration_since(at) >= RESET_INTERVAL);
        if due && let Some(ccp) = &mut self.ccp {
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

    /// Returns whether both directions are encrypted.
    pub(super) fn is_on(&self) -> bool {
        matches!(self, Self::On { sealer: Some(_), opener: Some(_), .. })
    }

    /// Returns whether packets that we receive are encrypted.
    pub(super) fn has_keys(&self) -> bool {
        matches!(self, Self::On { opener: Some(_), .. })
    }

    pub(super) fn mppe(&self) -> Option<Mppe> {
        match self {
            Self::On { mppe, .. } => *mppe,
            Self::Undecided | Self::Clear => None,
        }
    }

    /// Returns whether packets that we send are, or may become, longer by MPPE's overhead.
    pub(super) fn may_seal(&self) -> bool {
        matches!(self, Self::Undecided | Self::On { sealer: Some(_), .. })
    }
}

fn bytes(packet: &[u8]) -> u64 {
    u64::try_from(packet.len()).unwrap_or(u64::MAX)
}
