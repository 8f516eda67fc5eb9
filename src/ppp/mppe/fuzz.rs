//! What the fuzz target `ppp_mppe` runs; also replayed over its corpus by `tests/fuzz_corpora.rs`.

use super::{End, HEADER, Keys, LATE_WINDOW, Opener, ResetStyle, Sealer, Strength};
use crate::ppp::crypto::NtHash;

/// Drives a sealer and an opener with operations read from `data`: packets that arrive, are lost, come twice, late
/// or bent, packets of any bytes, resets.
///
/// # Panics
/// When something sealed comes out other than it went in, or cannot be opened on a clean road.
#[doc(hidden)]
#[expect(clippy::panic, reason = "a fuzz target reports by panicking")]
pub fn drive(data: &[u8]) {
    let Some((&[first, ..], mut rest)) = data.split_first_chunk::<1>() else { return };
    let strength = match first & 3 {
        0 => Strength::Bits40,
        1 => Strength::Bits56,
        _ => Strength::Bits128,
    };
    let stateful = first & 4 != 0;
    let hash = NtHash::of(b"fuzz");
    let client = Keys::from_ms_chap_v2(End::Client, &hash, &[3; 24]);
    let server = Keys::from_ms_chap_v2(End::Server, &hash, &[3; 24]);
    let (Some(mut sealer), Some(mut opener)) =
        (Sealer::new(&client, strength, stateful), Opener::new(&server, strength, stateful))
    else {
        panic!("MS-CHAPv2 gives keys of each strength");
    };
    sealer.set_reset_style(if first & 8 == 0 { ResetStyle::NewKey } else { ResetStyle::SameKey });

    // Until something is forged, all that is opened must be what was sealed; and with no loss, all is opened.
    let (mut honest, mut whole) = (true, true);
    let mut held: Option<(Vec<u8>, Vec<u8>)> = None;
    let mut since = 0_u16;
    // Bounds the time that one input takes: key changes are slow under a sanitizer.
    let mut budget = 1200_u16;
    while let Some((&[operation, length], after)) = rest.split_first_chunk::<2>() {
        let (bytes, after) = after.split_at_checked(usize::from(length)).unwrap_or((after, &[]));
        rest = after;
        if budget == 0 {
            return;
        }
        let plain = ip_packet(bytes);
        let mut sealed = vec![0; plain.len() + HEADER];
        match operation & 7 {
            0 | 1 => {
                if sealer.seal(&plain, &mut sealed).is_err() {
                    panic!("an IP packet is not sealed");
                }
                let copy = sealed.clone();
                match opener.open(&mut sealed) {
                    Ok(opened) if honest && *opened != *plain => panic!("another packet came out"),
                    Err(reason) if honest && whole => panic!("{reason} on a clean road"),
                    Ok(_) | Err(_) => {}
                }
                (held, since) = (Some((plain, copy)), 0);
            }
            2 => {
                whole = false;
                since = since.saturating_add(u16::from(length) + 1);
                for _ in 0..(u16::from(length) + 1).min(budget) {
                    let _ = sealer.seal(&plain, &mut sealed);
                }
                budget = budget.saturating_sub(u16::from(length) + 1);
            }
            3 => {
                // The copy of an earlier packet: dropped, or it comes out as it was.
                if let Some((plain, mut sealed)) = held.take()
                    && since < LATE_WINDOW
                    && let Ok(opened) = opener.open(&mut sealed)
                    && honest
                    && *opened != *plain
                {
                    panic!("an old packet came out as another");
                }
            }
            4 => {
                (honest, whole) = (false, false);
                let _ = opener.open(&mut bytes.to_vec());
                budget = budget.saturating_sub(200);
            }
            5 => {
                (honest, whole) = (false, false);
                let _ = sealer.seal(&plain, &mut sealed);
                sealed.iter_mut().zip(bytes).for_each(|(byte, mask)| *byte ^= mask);
                let _ = opener.open(&mut sealed);
            }
            6 => {
                sealer.handle_reset_request();
            }
            _ => {
                let _ = sealer.seal(bytes, &mut sealed);
                whole = false;
            }
        }
        if opener.is_hopeless() {
            return;
        }
        if opener.needs_reset() && operation & 0x80 != 0 {
            sealer.handle_reset_request();
            opener.handle_reset_ack();
        }
    }
}

/// IPv4 around `payload`, with a two-byte PPP protocol field.
fn ip_packet(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 20).unwrap_or(u16::MAX);
    let [high, low] = length.to_be_bytes();
    let mut packet = vec![0, 0x21, 0x45, 0, high, low];
    packet.resize(22, 0);
    packet.extend(payload);
    packet
}
