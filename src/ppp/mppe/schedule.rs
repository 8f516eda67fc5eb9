//! One direction's session key and RC4 tables (RFC 3078 §7, RFC 3079 §3.4 `GetNewKeyFromSHA`).

use sha1::{Digest, Sha1};
use zeroize::{Zeroize, Zeroizing};

use super::{
    Strength,
    ahead::{Ahead, LEAST},
    keys::StartKey,
    lanes::LANES,
    rc4::{KEY, Rc4},
};

/// Maximum length of the hash input: two keys of 16 bytes and two pads of 40.
const HASHED: usize = 16 + 40 + 16 + 40;

/// The input of a key change, and the current cipher state.
pub(super) struct Schedule {
    /// Hash input: start key ‖ 40 × 00 ‖ session key ‖ 40 × F2. A key change rewrites only the session key.
    hashed: Zeroizing<[u8; HASHED]>,
    key_len: usize,
    strength: Strength,
    rc4: Rc4,
    /// Space for the self-encryption of keys.
    spare: Rc4,
    /// Key changes so far.
    pub(super) changes: u64,
    /// Keys and streams of the next packets, once any were expected.
    ahead: Option<Box<Ahead>>,
    /// The lane of `ahead` that has the present stream, if not `rc4`.
    lane: Option<usize>,
}

impl Schedule {
    /// Derives the initial session key and RC4 tables, without the self-encryption of later keys (RFC 3079
    /// §3.5).
    pub(super) fn new(start: &StartKey, strength: Strength) -> Option<Self> {
        let start = start.bytes(strength)?;
        let key_len = start.len();
        let mut hashed = Zeroizing::new([0_u8; HASHED]);
        hashed.get_mut(..key_len)?.copy_from_slice(start);
        hashed.get_mut(key_len + 40..)?.get_mut(..key_len)?.copy_from_slice(start);
        hashed.get_mut(2 * key_len + 40..)?.get_mut(..40)?.fill(0xf2);
        let none = [0; KEY];
        let (rc4, spare) = (Rc4::new(&none), Rc4::new(&none));
        let mut schedule =
            Self { hashed, key_len, strength, rc4, spare, changes: 0, ahead: None, lane: None };
        let mut key = schedule.next_key();
        schedule.adopt(&mut key);
        schedule.reinitialize();
        Some(schedule)
    }

    /// Sets the lengths of the next packets for [`Schedule::rekey_next`]; those that come may differ.
    pub(super) fn expect(&mut self, mut lengths: impl Iterator<Item = usize>) {
        if let Some(ahead) = &mut self.ahead {
            return ahead.expect(lengths);
        }
        // Space is allocated when it is first of use: an idle tunnel needs none.
        let first: [Option<usize>; LEAST] = std::array::from_fn(|_| lengths.next());
        if first.iter().all(Option::is_some) {
            let mut ahead = Box::new(Ahead::new());
            ahead.expect(first.into_iter().flatten().chain(lengths));
            self.ahead = Some(ahead);
        }
    }

    /// Does the same as [`Schedule::rekey`], in less time if the next packets are known.
    pub(super) fn rekey_next(&mut self) {
        let Some(mut ahead) = self.ahead.take() else { return self.rekey() };
        let present = self.snapshot();
        let mut found = ahead.take(&present);
        if found.is_none()
            && let Some(lengths) = ahead.next_lengths()
        {
            self.make(&mut ahead, &present, lengths);
            found = ahead.take(&present);
        }
        self.ahead = Some(ahead);
        if let Some((lane, key)) = found {
            self.restore(&key);
            self.changes = self.changes.wrapping_add(1);
            self.lane = Some(lane);
        } else {
            self.rekey();
        }
    }

    /// Makes the keys and streams of the next packets.
    fn make(&mut self, ahead: &mut Ahead, present: &[u8; KEY], lengths: [usize; LANES]) {
        let (mut keys, mut ciphers) =
            (Zeroizing::new([*present; LANES + 1]), Zeroizing::new([[0; KEY]; LANES]));
        let changes = self.changes;
        for ((key, cipher), _) in keys
            .iter_mut()
            .skip(1)
            .zip(ciphers.iter_mut())
            .zip(lengths.iter().take_while(|length| **length > 0))
        {
            self.change_key();
            *key = *self.snapshot();
            *cipher = *cipher_key(self.session_key());
        }
        self.restore(present);
        self.changes = changes;
        ahead.make(*keys, &ciphers, lengths);
    }

    /// Changes the session key and initializes RC4 with it (RFC 3078 §7.3).
    pub(super) fn rekey(&mut self) {
        self.rekey_times(1);
    }

    /// Changes the session key `times` times; initializes RC4 only with the last key.
    pub(super) fn rekey_times(&mut self, times: u16) {
        for _ in 0..times {
            self.change_key();
        }
        if times > 0 {
            self.reinitialize();
        }
    }

    /// Changes the session key once, without initializing RC4 with it.
    pub(super) fn change_key(&mut self) {
        #[cfg(not(feature = "fuzzing"))]
        let mut key = self.changed_key();
        #[cfg(feature = "fuzzing")]
        let mut key = super::memo::change(&self.input(), || *self.changed_key());
        self.adopt(&mut key);
        self.changes = self.changes.wrapping_add(1);
    }

    /// Returns what determines the key that follows.
    #[cfg(feature = "fuzzing")]
    fn input(&self) -> super::memo::Input {
        let mut input = [[0; 16]; 2];
        for (slot, from) in input.iter_mut().zip([0, self.key_len + 40]) {
            if let (Some(slot), Some(key)) =
                (slot.get_mut(..self.key_len), self.hashed.get(from..from + self.key_len))
            {
                slot.copy_from_slice(key);
            }
        }
        input
    }

    /// Returns the session key that follows, not salted.
    fn changed_key(&mut self) -> Zeroizing<[u8; 16]> {
        let mut key = self.next_key();
        self.spare.restart(&cipher_key(key.get(..self.key_len).unwrap_or_default()));
        self.spare.apply(key.get_mut(..self.key_len).unwrap_or_default());
        key
    }

    /// Reinitializes RC4 with the current session key.
    pub(super) fn reinitialize(&mut self) {
        let key = cipher_key(self.session_key());
        self.rc4.restart(&key);
        self.lane = None;
    }

    /// Runs RC4 over `buffer` in place.
    pub(super) fn apply(&mut self, buffer: &mut [u8]) {
        let mut rest = buffer;
        if let (Some(lane), Some(ahead)) = (self.lane, &mut self.ahead) {
            rest = ahead.apply(lane, rest);
            if rest.is_empty() {
                return;
            }
            self.rc4 = ahead.rest(lane);
            self.lane = None;
        }
        self.rc4.apply(rest);
    }

    /// Runs RC4 from `from` to `to`; returns `false`, with no effect, if their lengths differ.
    pub(super) fn apply_to(&mut self, from: &[u8], to: &mut [u8]) -> bool {
        if from.len() != to.len() {
            return false;
        }
        to.copy_from_slice(from);
        self.apply(to);
        true
    }

    /// Decrypts the start of `sealed` with a freshly initialized cipher. Changes neither the session key nor
    /// the cipher state.
    pub(super) fn preview<const N: usize>(&self, sealed: &[u8]) -> [u8; N] {
        let mut start = [0; N];
        for (slot, byte) in start.iter_mut().zip(sealed) {
            *slot = *byte;
        }
        Rc4::new(&cipher_key(self.session_key())).apply(&mut start);
        start
    }

    /// Returns the current session key.
    pub(super) fn session_key(&self) -> &[u8] {
        self.hashed.get(self.key_len + 40..).and_then(|rest| rest.get(..self.key_len)).unwrap_or_default()
    }

    /// Returns a copy of the session key for [`Self::restore`].
    pub(super) fn snapshot(&self) -> Zeroizing<[u8; 16]> {
        let mut key = Zeroizing::new([0; 16]);
        for (slot, byte) in key.iter_mut().zip(self.session_key()) {
            *slot = *byte;
        }
        key
    }

    /// Restores an earlier session key. The next use must reinitialize the RC4 tables.
    pub(super) fn restore(&mut self, key: &[u8; 16]) {
        for (slot, byte) in self.hashed.iter_mut().skip(self.key_len + 40).take(self.key_len).zip(key) {
            *slot = *byte;
        }
    }

    /// Hashes start and session key with SHA-1; the result is not yet cut to the key length or salted.
    fn next_key(&self) -> Zeroizing<[u8; 16]> {
        let used = self.hashed.get(..2 * self.key_len + 80).unwrap_or_default();
        let mut digest: [u8; 20] = Sha1::digest(used).into();
        let mut key = Zeroizing::new([0; 16]);
        for (slot, byte) in key.iter_mut().zip(digest) {
            *slot = byte;
        }
        digest.zeroize();
        key
    }

    /// Salts a short key (RFC 3079 §3.1: 40 bit D1 26 9E, §3.2: 56 bit D1) and makes it the session key.
    fn adopt(&mut self, key: &mut [u8; 16]) {
        let salt: &[u8] = match self.strength {
            Strength::Bits40 => &[0xd1, 0x26, 0x9e],
            Strength::Bits56 => &[0xd1],
            Strength::Bits128 => &[],
        };
        for (slot, byte) in key.iter_mut().zip(salt) {
            *slot = *byte;
        }
        self.restore(key);
    }
}

/// Returns a session key as RC4 takes it: one of 8 bytes twice, which gives the same cipher.
fn cipher_key(key: &[u8]) -> Zeroizing<[u8; KEY]> {
    let mut all = Zeroizing::new([0; KEY]);
    for (slot, byte) in all.iter_mut().zip(key.iter().cycle()) {
        *slot = *byte;
    }
    all
}
