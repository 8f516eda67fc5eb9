//! The body of the fuzz target `dhcp_inform`: any packets as answers to a request for routes.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use super::{InformExchange, MAX_ROUTES, is_acceptable_route, wire};

const LOCAL: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// Passes `data` to an exchange as packets, each behind a byte for its length and one that says how much of a valid
/// answer precedes it.
///
/// # Errors
/// Returns the invariant that is violated.
pub fn exchange(data: &[u8]) -> Result<(), String> {
    let mut now = Instant::now();
    let mut inform = InformExchange::new(LOCAL, Ipv4Addr::new(10, 0, 0, 1), 0x0102_0304, now);
    let mut rest = data;
    while let Some((&[kind, length], after)) = rest.split_first_chunk::<2>() {
        let (bytes, after) = after.split_at_checked(usize::from(length)).unwrap_or((after, &[]));
        rest = after;
        match kind & 3 {
            0 => now += Duration::from_millis(u64::from(length)),
            1 => {
                inform.take(bytes);
            }
            // Options behind a fixed part that answers the request.
            _ => {
                let mut message = vec![0; 236];
                message.splice(..8, [2, 1, 6, 0, 1, 2, 3, 4]);
                message.extend([99, 130, 83, 99]);
                message.extend(bytes);
                if let Some(answer) = wire::answer(&message, 0x0102_0304)
                    && !answer.routes.iter().all(|route| *route == route.trunc())
                {
                    return Err(format!("host bits are set: {:?}", answer.routes));
                }
                inform.take(&wire::fuzzed_packet(LOCAL, &message));
            }
        }
        inform.handle_timeout(now);
        let mut sent = 0;
        while let Some(packet) = inform.poll_packet() {
            sent += 1;
            if packet.first() != Some(&0x45) || sent > 16 {
                return Err(format!("a request that is no IP packet, or {sent} at once"));
            }
        }
    }
    if !inform.is_over(now + super::LIMIT) {
        return Err("the exchange has no end".to_owned());
    }
    let routes = inform.into_routes().unwrap_or_default();
    if routes.len() > MAX_ROUTES || !routes.iter().all(|route| is_acceptable_route(*route)) {
        return Err(format!("routes that no server may offer: {routes:?}"));
    }
    Ok(())
}
