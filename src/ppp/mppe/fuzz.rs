//! The body of the fuzz target `ppp_mppe`; `src/fuzzing.rs` also runs it over the corpus. Each packet also passes a
//! sealer and an opener that were told lengths of the next packets, right or wrong, with the same results.

use super::{
    End, HEADER, Keys, MppeDrop, Opener, ResetStyle, SealError, Sealer, Strength, opener::LATE_WINDOW,
};
use crate::ppp::crypto::NtHash;

/// Drives a sealer and an opener with operations read from `data`: packets delivered, lost, duplicated,
/// delayed or corrupted, arbitrary packets, and resets.
///
/// # Panics
/// Panics if a packet opens to other bytes than were sealed, or fails to open although nothing was lost or
/// forged.
pub fn drive(data: &[u8]) {
    let Some((&[first, ..], mut rest)) = data.split_first_chunk::<1>() else { return };
    let mut road = Harness::new(first);
    while let Some((&[operation, length], after)) = rest.split_first_chunk::<2>() {
        let (bytes, after) = after.split_at_checked(usize::from(length)).unwrap_or((after, &[]));
        rest = after;
        road.expect(operation, bytes.len());
        if road.budget == 0 {
            return;
        }
        match operation & 7 {
            0 | 1 => road.packet_arrives(bytes),
            2 => road.packets_are_lost(bytes, u16::from(length) + 1),
            3 => road.packet_comes_late(),
            4 => road.forgery_arrives(bytes),
            5 => road.packet_arrives_bent(bytes),
            6 => road.request_reset(),
            _ => road.any_bytes_are_sealed(bytes),
        }
        if road.opener.is_hopeless() {
            return;
        }
        if road.opener.needs_reset() && operation & 0x80 != 0 {
            road.request_reset();
            road.opener.handle_reset_ack();
        }
    }
}

/// Both ends, and the invariants that still apply.
struct Harness {
    sealer: Sealer,
    opener: Opener,
    /// The same, with lengths of the next packets.
    ahead: (Sealer, Opener),
    /// Nothing has been forged yet: every opened packet must equal the sealed one.
    honest: bool,
    /// Nothing has been lost yet: every packet must be opened.
    whole: bool,
    /// The last packet delivered, plain and sealed, and how many have been sealed since.
    last: Option<(Vec<u8>, Vec<u8>)>,
    since: u16,
    /// Bounds the time that one input takes, in key changes. One input in 16 may lose many packets.
    budget: u16,
}

#[expect(clippy::panic, reason = "a fuzz target reports by panicking")]
impl Harness {
    fn new(kind: u8) -> Self {
        let strength = match kind & 3 {
            0 => Strength::Bits40,
            1 => Strength::Bits56,
            _ => Strength::Bits128,
        };
        let stateful = kind & 4 != 0;
        let hash = NtHash::of(b"fuzz");
        let client = Keys::from_ms_chap_v2(End::Client, &hash, &[3; 24]);
        let server = Keys::from_ms_chap_v2(End::Server, &hash, &[3; 24]);
        let ends = || {
            let (Some(mut sealer), Some(opener)) =
                (Sealer::new(&client, strength, stateful), Opener::new(&server, strength, stateful))
            else {
                panic!("MS-CHAPv2 gives keys of each strength");
            };
            sealer.set_reset_style(if kind & 8 == 0 { ResetStyle::NewKey } else { ResetStyle::SameKey });
            (sealer, opener)
        };
        let (sealer, opener) = ends();
        let budget = if kind >> 4 == 15 { 1200 } else { 160 };
        Self { sealer, opener, ahead: ends(), honest: true, whole: true, last: None, since: 0, budget }
    }

    /// Announces up to 15 packets of this length, and between two announcements as many as come.
    fn expect(&mut self, operation: u8, length: usize) {
        let count = usize::from(operation >> 3 & 0x0f);
        if count > 0 {
            self.ahead.0.expect((0..count).map(|n| length + n));
            self.ahead.1.expect((0..count).map(|n| length + 24 - n));
        }
    }

    fn request_reset(&mut self) {
        self.sealer.handle_reset_request();
        self.ahead.0.handle_reset_request();
    }

    fn seal(&mut self, packet: &[u8]) -> Result<Vec<u8>, SealError> {
        let sealed = seal(&mut self.sealer, packet);
        if sealed != seal(&mut self.ahead.0, packet) {
            panic!("an expected packet is sealed differently");
        }
        sealed
    }

    fn open<'a>(&mut self, packet: &'a mut [u8]) -> Result<&'a mut [u8], MppeDrop> {
        let mut copy = packet.to_vec();
        let opened = self.opener.open(packet);
        let (one, two) = (&self.opener, &mut self.ahead.1);
        if opened.as_deref() != two.open(&mut copy).as_deref() || one.state() != two.state() {
            panic!("an expected packet is opened differently");
        }
        opened
    }

    fn packet_arrives(&mut self, payload: &[u8]) {
        let plain = ip_packet(payload);
        let Ok(mut sealed) = self.seal(&plain) else { panic!("an IP packet is not sealed") };
        let copy = sealed.clone();
        match self.open(&mut sealed) {
            Ok(opened) if self.honest && *opened != *plain => panic!("another packet came out"),
            Err(reason) if self.honest && self.whole => panic!("{reason} on a clean road"),
            Ok(_) | Err(_) => {}
        }
        (self.last, self.since) = (Some((plain, copy)), 0);
    }

    fn packets_are_lost(&mut self, payload: &[u8], count: u16) {
        self.whole = false;
        self.since = self.since.saturating_add(count);
        let plain = ip_packet(payload);
        for _ in 0..count.min(self.budget) {
            let _ = self.seal(&plain);
        }
        self.budget = self.budget.saturating_sub(count);
    }

    /// Delivers a copy of an earlier packet: it must be dropped or open to the same bytes.
    fn packet_comes_late(&mut self) {
        if let Some((plain, mut sealed)) = self.last.take()
            && self.since < LATE_WINDOW
            && let Ok(opened) = self.open(&mut sealed)
            && self.honest
            && *opened != *plain
        {
            panic!("an old packet came out as another");
        }
    }

    fn forgery_arrives(&mut self, bytes: &[u8]) {
        (self.honest, self.whole) = (false, false);
        let _ = self.open(&mut bytes.to_vec());
        self.budget = self.budget.saturating_sub(if self.budget > 160 { 200 } else { 20 });
    }

    fn packet_arrives_bent(&mut self, bytes: &[u8]) {
        (self.honest, self.whole) = (false, false);
        let mut sealed = self.seal(&ip_packet(bytes)).unwrap_or_default();
        sealed.iter_mut().zip(bytes).for_each(|(byte, mask)| *byte ^= mask);
        let _ = self.open(&mut sealed);
    }

    fn any_bytes_are_sealed(&mut self, bytes: &[u8]) {
        let _ = self.seal(bytes);
        self.whole = false;
    }
}

/// Encrypts a two-byte PPP protocol field and its payload.
fn seal(sealer: &mut Sealer, packet: &[u8]) -> Result<Vec<u8>, SealError> {
    let (protocol, payload) = packet.split_first_chunk().unwrap_or((&[0, 0], &[]));
    let mut sealed = vec![0; HEADER + 2 + payload.len()];
    sealer.seal_parts(u16::from_be_bytes(*protocol), payload, &mut sealed)?;
    Ok(sealed)
}

/// Returns an IPv4 packet with `payload`, behind a two-byte PPP protocol field.
fn ip_packet(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 20).unwrap_or(u16::MAX);
    let [high, low] = length.to_be_bytes();
    let mut packet = vec![0, 0x21, 0x45, 0, high, low];
    packet.resize(22, 0);
    packet.extend(payload);
    packet
}
