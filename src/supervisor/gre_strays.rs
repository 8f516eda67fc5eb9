//! The failure of a call whose GRE packets come from another address than the dialled one, or with another call id.
//! No I/O.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::path_hints;
use crate::{
    failure::{Failure, FailureKind},
    net::gre_witness::Stray,
};

/// Returns the failure of a call without any GRE packet of the server with what came instead, if anything did.
/// `call_id` is this host's; `others` tells whether this host has other connections to the server, so that their
/// packets mean nothing.
#[must_use]
pub fn explained(
    failure: &Failure,
    strays: &[Stray],
    server: SocketAddrV4,
    call_id: u16,
    others: bool,
) -> Option<Failure> {
    let dialled = *server.ip();
    let for_this_call = strays.iter().find(|stray| stray.call_id == call_id && stray.from != dialled);
    let for_another = strays.iter().find(|stray| stray.call_id != call_id && stray.from == dialled);
    let (words, hints) = match (for_this_call, for_another.filter(|_| !others)) {
        (Some(stray), _) => from_elsewhere(stray, dialled),
        (None, Some(stray)) => with_another_id(stray, call_id),
        (None, None) => return None,
    };
    let mut found = Failure::new(failure.phase, FailureKind::LcpFailed, words);
    found.evidence.clone_from(&failure.evidence);
    Some(hints.into_iter().fold(found, Failure::hint))
}

fn from_elsewhere(stray: &Stray, dialled: Ipv4Addr) -> (String, Vec<String>) {
    let Stray { from, count, .. } = stray;
    let words = format!(
        "GRE packets for this call come from {from}, not from the dialled {dialled} ({count} seen; from {dialled} none), so they \
         are not the tunnel's"
    );
    let cause = if from.is_private() && !dialled.is_private() {
        format!(
            "{from} is a private address: a router in front of the server translates TCP, but not GRE; its administrator \
             has to turn on PPTP there"
        )
    } else {
        format!(
            "the server probably has both addresses and sends GRE from the other one: server = \"{from}\" in the profile \
             dials that one"
        )
    };
    (
        words,
        vec![
            cause,
            format!("or its administrator makes it send GRE from {dialled}, the address of the connection"),
        ],
    )
}

fn with_another_id(stray: &Stray, call_id: u16) -> (String, Vec<String>) {
    let Stray { from, call_id: other, count } = stray;
    let words = format!(
        "GRE from the server carries call id {other}, not {call_id}, which is this call's ({count} packets seen; with {call_id} \
         none)"
    );
    let cause = "these are packets of another call, which a router before this host delivers here, or that router changes the \
         call id in one direction only"
        .to_owned();
    (words, vec![cause, path_hints::another_client(&from.to_string())])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Phase, Remedy};

    fn ask(strays: &[Stray], dialled: &str, others: bool) -> Option<Failure> {
        let silent = Failure::new(Phase::Lcp, FailureKind::GreFiltered, "no GRE packet came");
        explained(&silent, strays, dialled.parse().unwrap(), 77, others)
    }

    fn stray(from: &str, call_id: u16) -> Stray {
        Stray { from: from.parse().unwrap(), call_id, count: 3 }
    }

    #[test]
    fn other_sender_is_named_with_the_next_step() {
        let found = ask(&[stray("192.0.2.1", 9), stray("192.0.2.9", 77)], "192.0.2.1:1723", false).unwrap();
        let words = "come from 192.0.2.9, not from the dialled 192.0.2.1 (3 seen";
        assert!(found.detail.contains(words), "{found}");
        assert!(found.hints[0].contains("server = \"192.0.2.9\""), "{:?}", found.hints);
        assert_eq!((found.kind, found.remedy()), (FailureKind::LcpFailed, Remedy::AnotherServer));
        let inside = ask(&[stray("10.0.0.2", 77)], "192.0.2.1:1723", false).unwrap();
        assert!(inside.hints[0].contains("a router in front of the server"), "{:?}", inside.hints);
        let both = ask(&[stray("10.0.0.2", 77)], "10.0.0.1:1723", false).unwrap();
        assert!(both.hints[0].contains("server = \"10.0.0.2\""), "{:?}", both.hints);
    }

    #[test]
    fn other_call_id_counts_only_if_it_is_not_that_of_another_tunnel() {
        let strays = [stray("192.0.2.1", 9)];
        let found = ask(&strays, "192.0.2.1:1723", false).unwrap();
        assert!(found.detail.contains("carries call id 9, not 77"), "{found}");
        assert!(found.hints[1].contains("another device behind the same router"), "{:?}", found.hints);
        assert_eq!(ask(&strays, "192.0.2.1:1723", true), None);
        assert_eq!(ask(&[], "192.0.2.1:1723", false), None);
    }
}
