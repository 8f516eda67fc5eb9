//! One direction's session key and RC4 tables (RFC 3078 §7, RFC 3079 §3.4 `GetNewKeyFromSHA`).

use rc4::{KeyInit, Rc4, StreamCipher};
use sha1::{Digest, Sha1};
use zeroize::{Zeroize, Zeroizing};

use super::{Strength, keys::StartKey};

/// The longest thing hashed: two keys of 16 bytes and two pads of 40.
const HASHED: usize = 16 + 40 + 16 + 40;

/// Everything that a key change needs, and the cipher in its present state.
pub(super) struct Schedule {
    /// start key ‖ 40 × 00 ‖ session key ‖ 40 × F2, ready to be hashed: a key change rewrites its middle only.
    hashed: Zeroizing<[u8; HASHED]>,
    key_len: usize,
    strength: Strength,
    rc4: Rc4,
}

impl Schedule {
    /// Initial session key and tables: no self-encryption yet (RFC 3079 §3.5).
    pub(super) fn new(start: &StartKey, strength: Strength) -> Option<Self> {
        let start = start.bytes(strength)?;
        let key_len = start.len();
        let mut hashed = Zeroizing::new([0_u8; HASHED]);
        hashed.get_mut(..key_len)?.copy_from_slice(start);
        hashed.get_mut(key_len + 40..)?.get_mut(..key_len)?.copy_from_slice(start);
        hashed.get_mut(2 * key_len + 40..)?.get_mut(..40)?.fill(0xf2);
        let rc4 = Rc4::new_from_slice(start).ok()?;
        let mut schedule = Self { hashed, key_len, strength, rc4 };
        let mut key = schedule.next_key();
        schedule.adopt(&mut key);
        Some(schedule)
    }

    /// Changes the session key and starts RC4 with it (RFC 3078 §7.3).
    pub(super) fn rekey(&mut self) {
        let mut key = self.next_key();
        let mut own = Zeroizing::new(*key);
        if let Some(own) = own.get_mut(..self.key_len) {
            if let Ok(mut rc4) = Rc4::new_from_slice(own) {
                rc4.apply_keystream(own);
            }
            if let Some(key) = key.get_mut(..self.key_len) {
                key.copy_from_slice(own);
            }
        }
        self.adopt(&mut key);
    }

    /// Starts RC4 again with the present session key.
    pub(super) fn reinitialize(&mut self) {
        if let Some(key) = self.hashed.get(self.key_len + 40..).and_then(|rest| rest.get(..self.key_len)) {
            // RC4 takes any key of 1 to 256 bytes; these are 8 or 16.
            if let Ok(rc4) = Rc4::new_from_slice(key) {
                self.rc4 = rc4;
            }
        }
    }

    /// Runs RC4 over `buffer` in place.
    pub(super) fn apply(&mut self, buffer: &mut [u8]) {
        self.rc4.apply_keystream(buffer);
    }

    /// The session key in force.
    #[cfg(test)]
    pub(super) fn session_key(&self) -> &[u8] {
        &self.hashed[self.key_len + 40..][..self.key_len]
    }

    /// SHA-1 over start and session key, before it is cut and salted.
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

    /// Salts a short key (RFC 3079 §3.1: 40 bit D1 26 9E, §3.2: 56 bit D1), keeps it, starts RC4 with it.
    fn adopt(&mut self, key: &mut [u8; 16]) {
        let salt: &[u8] = match self.strength {
            Strength::Bits40 => &[0xd1, 0x26, 0x9e],
            Strength::Bits56 => &[0xd1],
            Strength::Bits128 => &[],
        };
        for (slot, byte) in key.iter_mut().zip(salt) {
            *slot = *byte;
        }
        for (slot, byte) in self.hashed.iter_mut().skip(self.key_len + 40).take(self.key_len).zip(key) {
            *slot = *byte;
        }
        self.reinitialize();
    }
}
