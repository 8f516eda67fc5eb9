//! Tests of the codec for the BSDs' routing messages, against messages laid out by the systems' own headers.
//!
//! `tests/rtsock/SYSTEM.hex` is the output of compiling `vectors.c` with the headers of that system;
//! `SYSTEM.c` has the layouts as static assertions. `contrib/cross headers` generates the former and compiles
//! the latter. No kernel processes the messages here; docs/PLATFORMS.md lists what was tested on one.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test; clippy.toml exempts only the functions marked as one"
)]

mod headers;
mod routes;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use pptpctl::testing::net::rtsock::{
    Action, AddressChange, Gateway, Interface, InterfaceChange, Layout, LinkState, Message, Refused, Request,
    RouteChange, read,
};

#[test]
fn requests_match_vectors() {
    for layout in &Layout::ALL {
        let vectors = vectors(layout);
        for (name, request) in requests(layout) {
            assert_eq!(
                hex(&request.encode(layout).unwrap()),
                hex(&vectors[name]),
                "{name} for {}",
                layout.name
            );
        }
    }
}

#[test]
fn only_openbsd_accepts_labels_and_priorities() {
    let mut request = requests(&Layout::OPENBSD).remove("add_net").unwrap();
    (request.seq, request.table, request.priority) = (13, 5, 12);
    request.label = Some("pptpctl".to_owned());
    let written = request.encode(&Layout::OPENBSD).unwrap();
    assert_eq!(hex(&written), hex(&vectors(&Layout::OPENBSD)["add_labelled"]));
    let Message::Route(news) = decode_one(&Layout::OPENBSD, &written) else { panic!("not a route") };
    assert_eq!((news.table, news.priority, news.label.as_deref()), (5, 12, Some("pptpctl")));
    for layout in [&Layout::FREEBSD, &Layout::NETBSD] {
        assert!(matches!(request.encode(layout), Err(Refused::Unknown { what: "labels of routes", .. })));
    }
    request.label = Some("x".repeat(32));
    assert_eq!(request.encode(&Layout::OPENBSD), Err(Refused::TooLong("label")));
    request.label = Some("x".repeat(31));
    assert!(request.encode(&Layout::OPENBSD).is_ok());
}

#[test]
fn decodes_answer_to_get() {
    for layout in &Layout::ALL {
        let Message::Route(news) = decode_one(layout, &vectors(layout)["got_default"]) else {
            panic!("not a route")
        };
        assert!(news.answers(4242, 12) && !news.answers(4242, 13) && !news.answers(1, 12));
        assert_eq!(
            *news,
            RouteChange {
                action: Action::Get,
                pid: 4242,
                seq: 12,
                errno: 0,
                flags: 0x1 | 0x2 | 0x40 | 0x800,
                table: 0,
                priority: layout.default_priority,
                dest: Some("0.0.0.0/0".parse().unwrap()),
                gateway: Some(Gateway::Address("192.0.2.1".parse().unwrap())),
                interface: Interface { index: 1, name: "em0".to_owned() },
                source: Some("192.0.2.10".parse().unwrap()),
                mtu: 1500,
                expire: 0,
                label: None,
            },
            "{}",
            layout.name
        );
    }
}

#[test]
fn decodes_notifications() {
    for layout in &Layout::ALL {
        let vectors = vectors(layout);
        let news = |name: &str| decode_one(layout, &vectors[name]);
        let Message::Route(connected) = news("news_connected") else { panic!("not a route") };
        assert_eq!(connected.dest, Some("172.16.32.0/19".parse().unwrap()), "a mask of seven bytes");
        assert_eq!(connected.gateway, Some(Gateway::Link(2)));
        assert_eq!(connected.interface, Interface { index: 2, name: String::new() });
        assert_eq!(
            news("news_interface"),
            Message::Interface(InterfaceChange { index: 4, up: true, link: LinkState::Up, mtu: 1420 })
        );
        assert_eq!(
            news("news_interface_down"),
            Message::Interface(InterfaceChange { index: 1, up: false, link: LinkState::Down, mtu: 1500 })
        );
        assert_eq!(
            news("news_address"),
            Message::Address(AddressChange {
                added: true,
                index: 4,
                local: Some("10.1.2.3".parse().unwrap()),
                peer: Some("10.1.2.1".parse().unwrap()),
                prefix: Some(32),
            })
        );
        assert_eq!(
            news("news_address6_gone"),
            Message::Address(AddressChange {
                added: false,
                index: 4,
                // The decoder removes the embedded interface index (KAME).
                local: Some("fe80::1".parse().unwrap()),
                peer: None,
                prefix: Some(64),
            })
        );
        let tun7 = Interface { index: 9, name: "tun7".to_owned() };
        assert_eq!(news("news_arrival"), Message::Announce { interface: tun7.clone(), arrived: true });
        assert_eq!(news("news_departure"), Message::Announce { interface: tun7, arrived: false });
    }
    assert_eq!(decode_one(&Layout::OPENBSD, &vectors(&Layout::OPENBSD)["news_desync"]), Message::Desync);
}

#[test]
fn decodes_several_messages_in_one_read() {
    for layout in &Layout::ALL {
        let all: Vec<u8> = vectors(layout).into_values().flatten().collect();
        let count = read(layout, &all).map(Result::unwrap).count();
        assert_eq!(count, vectors(layout).len());
    }
}

#[test]
fn truncated_message_is_the_last_and_an_error() {
    for layout in &Layout::ALL {
        for (name, whole) in vectors(layout) {
            for length in 1..whole.len() {
                let read: Vec<_> = read(layout, &whole[..length]).collect();
                assert!(matches!(read.as_slice(), [Err(_)]), "{name} of {} cut to {length}", layout.name);
            }
        }
    }
}

#[test]
fn address_past_end_of_message_is_an_error() {
    for layout in &Layout::ALL {
        let mut bytes = vectors(layout)["add_net"].clone();
        bytes[layout.route.size] = 255;
        let read: Vec<_> = read(layout, &bytes).collect();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].as_ref().unwrap_err().why, "an address runs past its end");
    }
}

#[test]
fn other_version_is_not_decoded() {
    for layout in &Layout::ALL {
        let mut bytes = vectors(layout)["add_net"].clone();
        bytes[2] = 3;
        assert_eq!(decode_one(layout, &bytes), Message::Other { kind: 1, version: 3 });
    }
}

#[test]
fn is_change_ignores_answers_and_refusals() {
    for layout in &Layout::ALL {
        let vectors = vectors(layout);
        for (name, bytes) in &vectors {
            let change = !name.starts_with("get") && !name.starts_with("got");
            assert_eq!(decode_one(layout, bytes).is_change(), change, "{name} of {}", layout.name);
        }
        let mut refused = vectors["add_net"].clone();
        refused[layout.route.errno.at] = 17;
        assert!(!decode_one(layout, &refused).is_change(), "a refused request is taken for a change");
    }
}

/// The requests in `vectors.c`, by name.
fn requests(layout: &Layout) -> BTreeMap<&'static str, Request> {
    let flags = Request::our_flags(layout);
    let router = Some(Gateway::Address(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))));
    let new = |action, dest: &str| Request::new(action, dest.parse().unwrap());
    let add_net = Request { seq: 7, gateway: router, index: 3, flags, ..new(Action::Add, "10.0.0.0/8") };
    let add_host = Request {
        seq: 8,
        gateway: router,
        index: 1,
        flags,
        source: Some("192.0.2.10".parse().unwrap()),
        ..new(Action::Add, "203.0.113.9/32")
    };
    let add_net6 = Request {
        seq: 9,
        gateway: Some(Gateway::Link(3)),
        index: 3,
        flags,
        ..new(Action::Add, "2001:db8::/32")
    };
    let change_default = Request {
        seq: 10,
        gateway: Some(Gateway::Address("10.9.9.9".parse().unwrap())),
        index: 3,
        flags,
        mtu: 1400,
        ..new(Action::Change, "0.0.0.0/0")
    };
    let delete_net = Request { seq: 11, ..new(Action::Delete, "10.0.0.0/8") };
    let get_host = Request { seq: 12, ..Request::get("203.0.113.9".parse().unwrap()) };
    BTreeMap::from([
        ("add_net", add_net),
        ("add_host", add_host),
        ("add_net6", add_net6),
        ("change_default", change_default),
        ("delete_net", delete_net),
        ("get_host", get_host),
    ])
}

fn decode_one(layout: &Layout, bytes: &[u8]) -> Message {
    let read: Vec<_> = read(layout, bytes).collect();
    let [Ok(message)] = read.as_slice() else { panic!("{read:?}") };
    message.clone()
}

/// The messages in `SYSTEM.hex`, by name.
fn vectors(layout: &Layout) -> BTreeMap<String, Vec<u8>> {
    let text = std::fs::read_to_string(file(layout, "hex")).unwrap();
    let bytes: Vec<u8> = text.split_whitespace().map(|two| u8::from_str_radix(two, 16).unwrap()).collect();
    let mut rest = bytes.as_slice();
    let mut found = BTreeMap::new();
    while let Some((name, after)) = rest.split_at_checked(24) {
        let (length, after) = after.split_first_chunk().unwrap();
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap();
        let name = String::from_utf8(name.split(|byte| *byte == 0).next().unwrap().to_vec()).unwrap();
        found.insert(name, after[..length].to_vec());
        rest = after.get(length.next_multiple_of(8)..).unwrap_or_default();
    }
    assert!(found.len() > 12, "{}", layout.name);
    found
}

fn file(layout: &Layout, extension: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rtsock").join(layout.name).with_extension(extension)
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .chunks(8)
        .map(|row| row.iter().map(|byte| format!("{byte:02x} ")).collect::<String>() + "\n")
        .collect()
}
