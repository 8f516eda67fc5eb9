//! Start keys from an authentication (RFC 3079 §2 and §3), one set for each direction.

use sha1::{Digest, Sha1};
use zeroize::{Zeroize, Zeroizing};

use super::Strength;
use crate::ppp::crypto::{LmHash, NT_RESPONSE, NtHash, SHORT_CHALLENGE};

/// Our role in the authentication. One end's send keys are the other end's receive keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// We were authenticated (the RFC's peer).
    Client,
    /// We authenticated the peer (the RFC's authenticator).
    Server,
}

/// The start keys of both directions, zeroed on drop.
#[derive(Clone)]
pub struct Keys {
    pub(super) send: StartKey,
    pub(super) receive: StartKey,
}

/// The keys of one direction: 16 bytes for 128-bit encryption, 8 for the two shorter strengths.
#[derive(Clone)]
pub(super) struct StartKey {
    long: Zeroizing<[u8; 16]>,
    short: Option<Zeroizing<[u8; 8]>>,
}

impl Keys {
    /// Derives the keys after MS-CHAPv2 (RFC 3079 §3).
    #[must_use]
    pub fn from_ms_chap_v2(end: End, hash: &NtHash, nt_response: &[u8; NT_RESPONSE]) -> Self {
        let master = master_key(&hash.hashed(), nt_response);
        let to_server = StartKey::asymmetric(&master, MAGIC_TO_SERVER);
        let to_client = StartKey::asymmetric(&master, MAGIC_TO_CLIENT);
        match end {
            End::Client => Self { send: to_server, receive: to_client },
            End::Server => Self { send: to_client, receive: to_server },
        }
    }

    /// Derives the keys after MS-CHAPv1 (RFC 3079 §2). Both directions share one key. Short keys need the LAN
    /// Manager hash.
    #[must_use]
    pub fn from_ms_chap_v1(hash: &NtHash, lm: Option<&LmHash>, challenge: &[u8; SHORT_CHALLENGE]) -> Self {
        let hash_hash = hash.hashed();
        let mut sha = Sha1::new();
        sha.update(*hash_hash);
        sha.update(*hash_hash);
        sha.update(challenge);
        let start = StartKey { long: truncate_digest(sha), short: lm.map(|lm| prefix(lm.expose())) };
        Self { send: start.clone(), receive: start }
    }

    /// Returns the start key of one direction for another implementation of MPPE, with zeros behind a short one; `None` if
    /// there is none of this strength.
    #[must_use]
    pub fn start(&self, transmit: bool, strength: Strength) -> Option<Zeroizing<[u8; 16]>> {
        let key = if transmit { &self.send } else { &self.receive };
        let mut padded = Zeroizing::new([0; 16]);
        padded.iter_mut().zip(key.bytes(strength)?).for_each(|(to, from)| *to = *from);
        Some(padded)
    }

    /// Returns whether there are keys of this strength. The short ones are missing only after MS-CHAPv1 with
    /// a password that has no LAN Manager hash (longer than 14 characters, or not ASCII).
    #[must_use]
    pub fn supports(&self, strength: Strength) -> bool {
        self.send.bytes(strength).is_some()
    }

    /// Returns the [`Strength::bit`]s of all supported strengths, for CCP.
    #[must_use]
    pub fn supported_bits(&self) -> u32 {
        Strength::ALL.into_iter().filter(|one| self.supports(*one)).fold(0, |bits, one| bits | one.bit())
    }
}

impl StartKey {
    /// Derives one direction's keys (`GetAsymmetricStartKey`, RFC 3079 §3.4); the short one is a prefix of
    /// the long one.
    fn asymmetric(master: &[u8; 16], magic: &[u8]) -> Self {
        let mut sha = Sha1::new();
        sha.update(master);
        sha.update([0_u8; 40]);
        sha.update(magic);
        sha.update([0xf2_u8; 40]);
        let long = truncate_digest(sha);
        let short = Some(prefix(&long));
        Self { long, short }
    }

    pub(super) fn bytes(&self, strength: Strength) -> Option<&[u8]> {
        match strength {
            Strength::Bits128 => Some(self.long.as_slice()),
            Strength::Bits40 | Strength::Bits56 => self.short.as_ref().map(|short| short.as_slice()),
        }
    }
}

/// Magic1 to Magic3 of RFC 3079 §3.4: for the master key and the two directions.
const MAGIC_MASTER: &[u8] = b"This is the MPPE Master Key";
const MAGIC_TO_SERVER: &[u8] =
    b"On the client side, this is the send key; on the server side, it is the receive key.";
const MAGIC_TO_CLIENT: &[u8] =
    b"On the client side, this is the receive key; on the server side, it is the send key.";

/// Derives the master key (`GetMasterKey`, RFC 3079 §3.4).
fn master_key(hash_hash: &[u8; 16], nt_response: &[u8; NT_RESPONSE]) -> Zeroizing<[u8; 16]> {
    let mut sha = Sha1::new();
    sha.update(hash_hash);
    sha.update(nt_response);
    sha.update(MAGIC_MASTER);
    truncate_digest(sha)
}

fn truncate_digest(sha: Sha1) -> Zeroizing<[u8; 16]> {
    let mut digest: [u8; 20] = sha.finalize().into();
    let mut key = Zeroizing::new([0; 16]);
    for (slot, byte) in key.iter_mut().zip(digest) {
        *slot = byte;
    }
    digest.zeroize();
    key
}

fn prefix(long: &[u8; 16]) -> Zeroizing<[u8; 8]> {
    let mut short = Zeroizing::new([0; 8]);
    for (slot, byte) in short.iter_mut().zip(long) {
        *slot = *byte;
    }
    short
}
