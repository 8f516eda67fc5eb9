//! The body of the fuzz target `ppp_auth`; `src/fuzzing.rs` also runs it over the corpus.

use std::time::{Duration, Instant};

use super::{AuthEvent, AuthProtocol, Client, Credentials, Server, Timing, Users};

/// Drives a client and a server with operations read from `data`: arbitrary packets; packets between the two
/// delivered, lost or corrupted; elapsed time; renewed challenges.
///
/// # Panics
/// Panics if an invariant is violated.
#[doc(hidden)]
#[expect(clippy::panic, reason = "a fuzz target reports by panicking")]
pub fn drive(data: &[u8]) {
    let Some((&[first, ..], mut rest)) = data.split_first_chunk::<1>() else { return };
    let protocol = match first & 3 {
        0 => AuthProtocol::Pap,
        1 => AuthProtocol::ChapMd5,
        2 => AuthProtocol::MsChapV1,
        _ => AuthProtocol::MsChapV2,
    };
    let right = first & 4 == 0;
    let start = Instant::now();
    let mut now = start;
    let credentials =
        Credentials { user: "ann".into(), domain: None, password: if right { "p" } else { "q" }.into() };
    let users = Users::table(vec![("ann".into(), "p".into())]);
    let mut client = Client::new(protocol, credentials, [1; 16], now, Timing::default());
    let mut server = Server::new(protocol, "server", users, [2; 16], now, Timing::default());
    let mut untouched = true;

    while let Some((&[operation, length], after)) = rest.split_first_chunk::<2>() {
        let (bytes, after) = after.split_at_checked(usize::from(length)).unwrap_or((after, &[]));
        rest = after;
        let number = if operation & 0x80 == 0 { protocol.ppp_protocol() } else { u16::from(length) };
        match operation & 7 {
            0 => {
                untouched = false;
                let _ = client.handle_input(now, number, bytes);
            }
            1 => {
                untouched = false;
                let _ = server.handle_input(now, number, bytes);
            }
            2 | 3 => {
                let from_client = operation & 1 == 0;
                let sent = if from_client { client.poll_output() } else { server.poll_output() };
                let Some((number, mut packet)) = sent else { continue };
                for (byte, mask) in packet.iter_mut().zip(bytes) {
                    untouched &= *mask == 0;
                    *byte ^= mask;
                }
                let _ = if from_client {
                    server.handle_input(now, number, &packet)
                } else {
                    client.handle_input(now, number, &packet)
                };
            }
            4 => drop((client.poll_output(), server.poll_output())),
            5 => {
                now += Duration::from_millis(u64::from(length) * 50);
                client.handle_timeout(now);
                server.handle_timeout(now);
            }
            _ => {
                let mut challenge = [operation; 16];
                challenge.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = *byte);
                server.rechallenge(now, challenge);
            }
        }
        for event in [client.poll_event(), server.poll_event()].into_iter().flatten() {
            if let AuthEvent::Success { peer_name, message, .. } = &event {
                let text = message.iter().chain([peer_name]).all(|text| !text.contains(char::is_control));
                if !text || (!right && untouched) {
                    panic!("{event:?}");
                }
            }
        }
    }
    // No input may extend the client's time limit.
    let limit = Timing::default().limit;
    if now < start + limit && client.next_timeout().is_some_and(|(due, _)| due > now + limit) {
        panic!("the client sleeps too long");
    }
}
