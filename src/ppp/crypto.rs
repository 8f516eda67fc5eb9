//! Hashes and responses of CHAP-MD5, MS-CHAPv1 and MS-CHAPv2, as functions of bytes.
//!
//! RFC 1994 §4.1 (MD5 response), RFC 2433 appendix A (MS-CHAPv1), RFC 2759 §8 (MS-CHAPv2). Key derivation for
//! MPPE is in [`crate::ppp::mppe`]; packets and state machines are in [`crate::ppp::auth`]. These algorithms
//! are broken by today's standards, but the protocol has no others; see SECURITY.md.

use des::{
    Des,
    cipher::{Array, BlockCipherEncrypt, KeyInit},
};
use md4::{Digest, Md4};
use md5::Md5;
use sha1::Sha1;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// Length of an MS-CHAPv1 challenge, and of the challenge that both versions encrypt with DES, in bytes.
pub const SHORT_CHALLENGE: usize = 8;
/// Length of an MS-CHAPv2 challenge, from server or client, in bytes.
const LONG_CHALLENGE: usize = 16;
/// Length of an NT response in bytes.
pub const NT_RESPONSE: usize = 24;
/// Length of `S=` and 40 hexadecimal digits, in bytes.
pub const AUTHENTICATOR_RESPONSE: usize = 42;

/// `NtPasswordHash`: MD4 of the password in UTF-16LE (RFC 2759 §8.3). Equivalent to the password, so it is
/// wiped on drop.
#[derive(Clone)]
pub struct NtHash(Zeroizing<[u8; 16]>);

impl NtHash {
    /// Hashes a password given in UTF-8. If the bytes are not UTF-8, they are read as Latin-1, one character
    /// each, which is what pppd does with every password.
    #[must_use]
    pub fn of(password: &[u8]) -> Self {
        let mut md4 = Md4::new();
        match std::str::from_utf8(password) {
            Ok(text) => text.encode_utf16().for_each(|unit| md4.update(unit.to_le_bytes())),
            Err(_) => password.iter().for_each(|byte| md4.update([*byte, 0])),
        }
        Self(wipe(md4.finalize().into()))
    }

    /// Returns `HashNtPasswordHash`: MD4 of the hash (RFC 2759 §8.4), the root of MPPE's 128-bit keys.
    #[must_use]
    pub fn hashed(&self) -> Zeroizing<[u8; 16]> {
        wipe(Md4::digest(*self.0).into())
    }

    /// Returns the 16 bytes of the hash.
    #[must_use]
    pub fn expose(&self) -> &[u8; 16] {
        &self.0
    }
}

/// `LmPasswordHash` (RFC 2433 §A.1). Never used for a response; MPPE at 40 and 56 bit after MS-CHAPv1 takes
/// its key from it (RFC 3079 §2.1, §2.2).
#[derive(Clone)]
pub struct LmHash(Zeroizing<[u8; 16]>);

impl LmHash {
    /// Hashes a password of 0 to 14 ASCII characters. Returns `None` for any other: its LAN Manager hash
    /// depends on the server's OEM code page, so the two ends may not agree on it.
    #[must_use]
    pub fn of(password: &[u8]) -> Option<Self> {
        let mut upper = Zeroizing::new([0_u8; 14]);
        if !password.is_ascii() || password.len() > upper.len() {
            return None;
        }
        for (slot, byte) in upper.iter_mut().zip(password) {
            *slot = byte.to_ascii_uppercase();
        }
        let mut hash = Zeroizing::new([0_u8; 16]);
        for (half, key) in hash.chunks_exact_mut(8).zip(upper.chunks_exact(7)) {
            half.copy_from_slice(&des_encrypt(key, *b"KGS!@#$%"));
        }
        Some(Self(hash))
    }

    /// Returns the 16 bytes of the hash.
    #[must_use]
    pub fn expose(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Computes the CHAP-MD5 response: MD5(identifier ‖ secret ‖ challenge) (RFC 1994 §4.1).
#[must_use]
pub fn chap_md5(identifier: u8, secret: &[u8], challenge: &[u8]) -> [u8; 16] {
    let mut md5 = Md5::new();
    md5.update([identifier]);
    md5.update(secret);
    md5.update(challenge);
    md5.finalize().into()
}

/// Computes `ChallengeResponse`: the challenge under three DES keys cut from the hash (RFC 2759 §8.5). This
/// is also MS-CHAPv1's whole NT response (RFC 2433 §A.4).
#[must_use]
pub fn challenge_response(challenge: &[u8; SHORT_CHALLENGE], hash: &NtHash) -> [u8; NT_RESPONSE] {
    let mut padded = Zeroizing::new([0_u8; 21]);
    for (slot, byte) in padded.iter_mut().zip(hash.expose()) {
        *slot = *byte;
    }
    let mut response = [0; NT_RESPONSE];
    for (third, key) in response.chunks_exact_mut(8).zip(padded.chunks_exact(7)) {
        third.copy_from_slice(&des_encrypt(key, *challenge));
    }
    response
}

/// Computes `ChallengeHash` (RFC 2759 §8.2). The name is hashed without its domain, as in every
/// implementation.
#[must_use]
fn challenge_hash(
    peer_challenge: &[u8; LONG_CHALLENGE],
    authenticator_challenge: &[u8; LONG_CHALLENGE],
    name: &[u8],
) -> [u8; SHORT_CHALLENGE] {
    let mut sha = Sha1::new();
    sha.update(peer_challenge);
    sha.update(authenticator_challenge);
    sha.update(without_domain(name));
    let digest: [u8; 20] = sha.finalize().into();
    first(&digest)
}

/// Computes `GenerateNTResponse` (RFC 2759 §8.1).
#[must_use]
pub fn nt_response(
    peer_challenge: &[u8; LONG_CHALLENGE],
    authenticator_challenge: &[u8; LONG_CHALLENGE],
    name: &[u8],
    hash: &NtHash,
) -> [u8; NT_RESPONSE] {
    challenge_response(&challenge_hash(peer_challenge, authenticator_challenge, name), hash)
}

/// Computes `GenerateAuthenticatorResponse`: `S=` and 40 upper-case hexadecimal digits (RFC 2759 §8.7).
#[must_use]
pub fn authenticator_response(
    hash: &NtHash,
    nt_response: &[u8; NT_RESPONSE],
    peer_challenge: &[u8; LONG_CHALLENGE],
    authenticator_challenge: &[u8; LONG_CHALLENGE],
    name: &[u8],
) -> [u8; AUTHENTICATOR_RESPONSE] {
    let mut sha = Sha1::new();
    sha.update(*hash.hashed());
    sha.update(nt_response);
    sha.update(b"Magic server to client signing constant");
    let digest = sha.finalize();

    let mut sha = Sha1::new();
    sha.update(digest);
    sha.update(challenge_hash(peer_challenge, authenticator_challenge, name));
    sha.update(b"Pad to make it do more than one iteration");

    let mut text = [0; AUTHENTICATOR_RESPONSE];
    let digits = sha.finalize().into_iter().flat_map(|byte| [hex_digit(byte >> 4), hex_digit(byte & 15)]);
    for (slot, byte) in text.iter_mut().zip(b"S=".iter().copied().chain(digits)) {
        *slot = byte;
    }
    text
}

/// Returns whether the received response equals the expected one, in time that depends on the lengths only.
/// Lower-case hexadecimal digits are accepted, because some servers send them.
#[must_use]
pub fn same_authenticator_response(received: &[u8], expected: &[u8; AUTHENTICATOR_RESPONSE]) -> bool {
    let mut upper = [0; AUTHENTICATOR_RESPONSE];
    for (slot, byte) in upper.iter_mut().zip(received) {
        *slot = byte.to_ascii_uppercase();
    }
    received.len() == expected.len() && constant_time_eq(&upper, expected)
}

/// Compares two byte strings in constant time.
#[must_use]
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// Returns `user` of `DOMAIN\user`: the part after the last backslash.
#[must_use]
fn without_domain(name: &[u8]) -> &[u8] {
    name.rsplit(|byte| *byte == b'\\').next().unwrap_or(name)
}

/// Computes `DesEncrypt` (RFC 2759 §8.6).
fn des_encrypt(key: &[u8], clear: [u8; 8]) -> [u8; 8] {
    let mut key = Array(des_key(key));
    let des = Des::new(&key);
    let mut block = Array(clear);
    des.encrypt_block(&mut block);
    key.0.zeroize();
    block.0
}

/// Spreads a 56-bit key over eight bytes, seven bits in each; DES ignores the lowest, which is for parity.
fn des_key(key: &[u8]) -> [u8; 8] {
    let mut bits = key.iter().take(7).fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
    let mut spread = 0_u64;
    for shift in (0..56).step_by(7).rev() {
        spread = (spread << 8) | ((bits >> shift) & 0x7f) << 1;
    }
    let bytes = spread.to_be_bytes();
    bits.zeroize();
    spread.zeroize();
    bytes
}

fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 }
}

fn wipe(mut bytes: [u8; 16]) -> Zeroizing<[u8; 16]> {
    let kept = Zeroizing::new(bytes);
    bytes.zeroize();
    kept
}

fn first<const N: usize>(digest: &[u8; 20]) -> [u8; N] {
    let mut cut = [0; N];
    for (slot, byte) in cut.iter_mut().zip(digest) {
        *slot = *byte;
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &[u8] = b"User";
    const PASSWORD: &[u8] = b"clientPass";

    fn auth_challenge() -> [u8; 16] {
        unhex("5B5D7C7D7B3F2F3E3C2C602132262628")
    }

    fn peer_challenge() -> [u8; 16] {
        unhex("21402324255E262A28295F2B3A337C7E")
    }

    #[test]
    fn matches_rfc_2759_section_9_2() {
        assert_eq!(challenge_hash(&peer_challenge(), &auth_challenge(), USER), unhex("D02E4386BCE91226"));
        let hash = NtHash::of(PASSWORD);
        assert_eq!(*hash.expose(), unhex("44EBBA8D5312B8D611474411F56989AE"));
        assert_eq!(*hash.hashed(), unhex("41C00C584BD2D91C4017A2A12FA59F3F"));
        let response = nt_response(&peer_challenge(), &auth_challenge(), USER, &hash);
        assert_eq!(response, unhex("82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF"));
        let answer = authenticator_response(&hash, &response, &peer_challenge(), &auth_challenge(), USER);
        assert_eq!(&answer, b"S=407A5589115FD0D6209F510FE9C04566932CDA56");
    }

    /// RFC 2759 §9.3 and RFC 2433 §B.3, which print the keys with odd parity in the lowest bits.
    #[test]
    fn des_keys_match_rfc_examples_without_parity() {
        for (raw, printed) in
            [("FC156AF7EDCD6C", "FD0B5B5E7F6E34D9"), ("0EDDE333 7D427F", "0E6E796737EA08FE")]
        {
            let with_parity = unhex::<8>(printed);
            let spread = des_key(&unhex::<7>(raw));
            assert_eq!(spread, with_parity.map(|byte| byte & 0xfe));
            assert!(with_parity.iter().all(|byte| byte.count_ones() % 2 == 1));
        }
    }

    #[test]
    fn matches_rfc_2433_section_b_2() {
        let hash = NtHash::of(b"MyPw");
        assert_eq!(*hash.expose(), unhex("FC156AF7EDCD6C0EDDE3337D427F4EAC"));
        assert_eq!(
            challenge_response(&unhex("102DB5DF085D3041"), &hash),
            unhex("4E9D3C8F9CFD385D5BF4D3246791956CA4C351AB409A3D61")
        );
    }

    #[test]
    fn lm_hashes_match_known_values() {
        // RFC 3079 §2.5.1; the others are the widely printed values for these passwords.
        let hash = |password: &[u8]| *LmHash::of(password).unwrap().expose();
        assert_eq!(hash(b"clientPass"), unhex("76A152936096D7830E23902274 04AFD2"));
        assert_eq!(hash(b"CLIENTPASS"), hash(b"clientPass"));
        assert_eq!(hash(b""), unhex("AAD3B435B51404EEAAD3B435B51404EE"));
        assert!(LmHash::of(b"12345678901234").is_some());
        assert!(LmHash::of(b"123456789012345").is_none());
        assert!(LmHash::of("pässword".as_bytes()).is_none());
    }

    #[test]
    fn nt_hash_uses_utf_16() {
        assert_eq!(*NtHash::of(b"").expose(), unhex("31D6CFE0D16AE931B73C59D7E0C089C0"));
        let by_hand = |units: &[u16]| -> [u8; 16] {
            Md4::digest(units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<_>>()).into()
        };
        assert_eq!(*NtHash::of("ü".as_bytes()).expose(), by_hand(&[0xfc]));
        assert_eq!(*NtHash::of("\u{1f511}".as_bytes()).expose(), by_hand(&[0xd83d, 0xdd11]));
        assert_eq!(*NtHash::of(b"\xfc").expose(), by_hand(&[0xfc]), "Latin-1 when it is no UTF-8");
    }

    /// RFC 1994 has no test vector; this checks the order in which the parts are hashed.
    #[test]
    fn chap_md5_hashes_identifier_secret_challenge() {
        let direct: [u8; 16] = Md5::digest(b"\x01secretchallenge").into();
        assert_eq!(chap_md5(1, b"secret", b"challenge"), direct);
        assert_ne!(chap_md5(2, b"secret", b"challenge"), direct);
    }

    #[test]
    fn challenge_hash_ignores_the_domain() {
        let bare = challenge_hash(&peer_challenge(), &auth_challenge(), b"User");
        assert_eq!(challenge_hash(&peer_challenge(), &auth_challenge(), b"WORK\\User"), bare);
        assert_eq!(without_domain(b"A\\B\\c"), b"c");
        assert_eq!(without_domain(b""), b"");
        assert_eq!(without_domain(b"dom\\"), b"");
    }

    #[test]
    fn authenticator_response_must_match_whole() {
        let expected = b"S=407A5589115FD0D6209F510FE9C04566932CDA56";
        assert!(same_authenticator_response(expected, expected));
        assert!(same_authenticator_response(b"S=407a5589115fd0d6209f510fe9c04566932cda56", expected));
        assert!(!same_authenticator_response(b"S=407A5589115FD0D6209F510FE9C04566932CDA57", expected));
        assert!(!same_authenticator_response(b"S=407A5589115FD0D6209F510FE9C04566932CDA5", expected));
        assert!(!same_authenticator_response(b"", expected));
    }

    fn unhex<const N: usize>(text: &str) -> [u8; N] {
        let text = text.replace(' ', "");
        let bytes: Vec<u8> =
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect();
        bytes.try_into().unwrap()
    }
}
