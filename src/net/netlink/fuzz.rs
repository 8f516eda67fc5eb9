//! The body of the fuzz target `netlink`: any bytes as the kernel's answer to a request.

use super::{
    device,
    message::Message,
    names::Names,
    route, rule,
    socket::{encode, read_datagram},
};
use crate::net::routes::{Filter, Route};

/// The sequence number of the request.
const SEQUENCE: u32 = 7;
/// Types of messages: NLMSG_ERROR, NLMSG_DONE; RTM_NEWLINK, _NEWADDR, _NEWROUTE (twice as likely) and _NEWRULE.
const KINDS: [u16; 7] = [2, 3, 16, 20, 24, 24, 32];

/// Names of interfaces by index.
const NAMES: [(u32, &str); 3] = [(1, "lo"), (2, "eth0"), (7, "tun0")];

/// Reads the bytes after the first one as a datagram, or as the payload of one message; the first byte selects which.
///
/// # Errors
/// Returns the property that does not hold.
pub fn messages(data: &[u8]) -> Result<(), String> {
    let Some((&choice, bytes)) = data.split_first() else { return Ok(()) };
    let datagram = match KINDS.get(usize::from(choice & 7)) {
        Some(kind) => message(*kind, u16::from(choice >> 3) << 4, bytes),
        None => bytes.to_vec(),
    };
    let mut names = Names::fixed(&NAMES);
    let (mut found, mut wrong) = (0, Ok(()));
    let _outcome = read_datagram("read", &datagram, SEQUENCE, &mut true, &mut |answer| {
        found += 1;
        let checked = match answer {
            Ok(Message::NewRoute(message)) => {
                let _decision = route::read_route_to(&message, &mut names, None);
                route::read(&message, &mut names).map_or(Ok(()), |route| round_trip(&route, &mut names))
            }
            Ok(Message::NewRule(message)) => {
                let rule = rule::read(&message);
                let again = decoded(Message::NewRule(rule::write(&rule)), |message| match message {
                    Message::NewRule(message) => Some(rule::read(&message)),
                    _ => None,
                });
                let mut wanted = rule.clone();
                wanted.to = wanted.to.map(|to| to.trunc());
                let same = rule.unrestorable || again.as_ref() == Some(&wanted);
                if same { Ok(()) } else { Err(format!("{wanted:?} became {again:?}")) }
            }
            Ok(Message::NewLink(message)) => {
                let _link = device::read(&message);
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(undecoded) => {
                let _needed = route::could_match(&Filter::defaults(false), undecoded.payload);
                Ok(())
            }
        };
        if wrong.is_ok() {
            wrong = checked;
        }
        Ok(())
    });
    if found > datagram.len() / 16 {
        return Err(format!("{found} messages in {} bytes", datagram.len()));
    }
    wrong
}

/// A route that is deleted and restored is the same again.
fn round_trip(route: &Route, names: &mut Names) -> Result<(), String> {
    if !route.unrestorable.is_empty() {
        return Ok(());
    }
    let index = |dev: &Option<String>| {
        let dev = dev.as_deref()?;
        let known = NAMES.iter().find(|(_, name)| *name == dev).map(|(index, _)| *index);
        known.or_else(|| dev.strip_prefix("if")?.parse().ok())
    };
    let indices: Vec<_> = route.hops.iter().map(|hop| index(&hop.dev)).collect();
    let again = decoded(Message::NewRoute(route::write(route, &indices)), |message| match message {
        Message::NewRoute(message) => route::read(&message, names),
        _ => None,
    });
    let mut wanted = route.clone();
    wanted.dest = wanted.dest.trunc();
    // The kernel has no weight for a single next hop.
    if let [hop] = wanted.hops.as_mut_slice() {
        hop.weight = 0;
    }
    if again.as_ref() == Some(&wanted) { Ok(()) } else { Err(format!("{wanted:?} became {again:?}")) }
}

/// Encodes a message and decodes it as an answer.
fn decoded<T>(message: Message, mut read: impl FnMut(Message) -> Option<T>) -> Option<T> {
    let mut found = None;
    let bytes = encode(&message, 0, SEQUENCE);
    let _outcome = read_datagram("read", &bytes, SEQUENCE, &mut true, &mut |answer| {
        found = answer.ok().and_then(&mut read);
        Ok(())
    });
    found
}

fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 16).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(SEQUENCE.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}
