//! The language of the BSDs' routing sockets, against messages that the systems' own headers laid out.
//!
//! `tests/rtsock/SYSTEM.hex` is `vectors.c` compiled with the headers of that system, `SYSTEM.c` the layouts as
//! assertions for its compiler: `contrib/cross headers` makes and compiles them. What a kernel makes of the
//! messages is not tested here; docs/PLATFORMS.md says what was.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test; clippy.toml exempts only the functions marked as one"
)]

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use pptpctl::net::{
    ifreq::{IN6_IFREQ, Requests},
    routes::{Hop, Kind, MAIN_TABLE, PROTOCOL, Route},
    rtsock::{
        Action, AddressNews, Field, Gateway, Interface, InterfaceNews, Layout, LinkState, Message, Refused,
        Request, RouteNews, from_route, read, to_route,
    },
};
use proptest::prelude::*;

#[test]
fn requests_are_what_the_headers_say() {
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
fn a_label_a_table_and_a_priority_are_openbsds() {
    let mut request = requests(&Layout::OPENBSD).remove("add_net").unwrap();
    (request.seq, request.table, request.priority) = (13, 5, 12);
    request.label = Some("pptpctl".to_owned());
    let written = request.encode(&Layout::OPENBSD).unwrap();
    assert_eq!(hex(&written), hex(&vectors(&Layout::OPENBSD)["add_labelled"]));
    let Message::Route(news) = only(&Layout::OPENBSD, &written) else { panic!("a route") };
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
fn answers_are_read() {
    for layout in &Layout::ALL {
        let Message::Route(news) = only(layout, &vectors(layout)["got_default"]) else { panic!("a route") };
        assert!(news.answers(4242, 12) && !news.answers(4242, 13) && !news.answers(1, 12));
        assert_eq!(
            *news,
            RouteNews {
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
fn news_are_read() {
    for layout in &Layout::ALL {
        let vectors = vectors(layout);
        let news = |name: &str| only(layout, &vectors[name]);
        let Message::Route(connected) = news("news_connected") else { panic!("a route") };
        assert_eq!(connected.dest, Some("172.16.32.0/19".parse().unwrap()), "a mask of seven bytes");
        assert_eq!(connected.gateway, Some(Gateway::Link(2)));
        assert_eq!(connected.interface, Interface { index: 2, name: String::new() });
        assert_eq!(
            news("news_interface"),
            Message::Interface(InterfaceNews { index: 4, up: true, link: LinkState::Up, mtu: 1420 })
        );
        assert_eq!(
            news("news_interface_down"),
            Message::Interface(InterfaceNews { index: 1, up: false, link: LinkState::Down, mtu: 1500 })
        );
        assert_eq!(
            news("news_address"),
            Message::Address(AddressNews {
                added: true,
                index: 4,
                local: Some("10.1.2.3".parse().unwrap()),
                peer: Some("10.1.2.1".parse().unwrap()),
                prefix: Some(32),
            })
        );
        assert_eq!(
            news("news_address6_gone"),
            Message::Address(AddressNews {
                added: false,
                index: 4,
                // The number of the interface that the kernel keeps in the address is taken out.
                local: Some("fe80::1".parse().unwrap()),
                peer: None,
                prefix: Some(64),
            })
        );
        let tun7 = Interface { index: 9, name: "tun7".to_owned() };
        assert_eq!(news("news_arrival"), Message::Announce { interface: tun7.clone(), arrived: true });
        assert_eq!(news("news_departure"), Message::Announce { interface: tun7, arrived: false });
    }
    assert_eq!(only(&Layout::OPENBSD, &vectors(&Layout::OPENBSD)["news_desync"]), Message::Desync);
}

#[test]
fn several_messages_in_one_read_are_all_read() {
    for layout in &Layout::ALL {
        let all: Vec<u8> = vectors(layout).into_values().flatten().collect();
        let count = read(layout, &all).map(Result::unwrap).count();
        assert_eq!(count, vectors(layout).len());
    }
}

#[test]
fn a_message_that_was_cut_is_an_error_and_ends_the_reading() {
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
fn an_address_that_runs_past_its_message_is_an_error() {
    for layout in &Layout::ALL {
        let mut bytes = vectors(layout)["add_net"].clone();
        bytes[layout.route.size] = 255;
        let read: Vec<_> = read(layout, &bytes).collect();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].as_ref().unwrap_err().why, "an address runs past its end");
    }
}

#[test]
fn another_version_is_left_alone() {
    for layout in &Layout::ALL {
        let mut bytes = vectors(layout)["add_net"].clone();
        bytes[2] = 3;
        assert_eq!(only(layout, &bytes), Message::Other { kind: 1, version: 3 });
    }
}

#[test]
fn a_route_goes_to_the_kernel_and_comes_back_the_same() {
    let index = |name: &str| (name == "tun7").then_some(7_u16);
    let names = |number: u16| (number == 7).then(|| "tun7".to_owned());
    for layout in &Layout::ALL {
        let through = |dest: &str, via: Option<&str>| Route {
            metric: layout.default_priority.into(),
            scope: 0,
            hops: vec![Hop {
                via: via.map(|via| via.parse().unwrap()),
                dev: Some("tun7".to_owned()),
                onlink: false,
                weight: 0,
            }],
            ..Route::through(dest.parse().unwrap(), "tun7")
        };
        let mut with_mtu = through("0.0.0.0/0", Some("192.0.2.1"));
        with_mtu.metrics = vec![(2, 1400)];
        let mut foreign = through("10.0.0.0/8", Some("192.0.2.1"));
        foreign.protocol = 1;
        let mut nowhere = through("198.51.100.0/24", None);
        (nowhere.kind, nowhere.hops) = (Kind::Blackhole, Vec::new());
        for route in [
            through("10.0.0.0/8", Some("192.0.2.1")),
            through("203.0.113.9/32", Some("192.0.2.1")),
            through("2001:db8::/32", None),
            through("2001:db8::/32", Some("fe80::1")),
            with_mtu,
            foreign,
            nowhere,
        ] {
            let request = from_route(layout, Action::Add, &route, 3, &index).unwrap();
            let Message::Route(news) = only(layout, &request.encode(layout).unwrap()) else {
                panic!("a route")
            };
            assert_eq!(to_route(layout, &news, 3, &names), Some(route), "{}", layout.name);
        }
    }
}

#[test]
fn routes_of_ours_are_told_from_others() {
    for layout in &Layout::ALL {
        let Message::Route(mut news) = only(layout, &vectors(layout)["add_net"]) else { panic!("a route") };
        let ours = |news: &RouteNews| to_route(layout, news, 0, &|_| None).unwrap().protocol == PROTOCOL;
        assert!(ours(&news));
        // What routing daemons set.
        for one in [0x8000, 0x4000, layout.flags.proto3] {
            news.flags = 0x1 | 0x2 | 0x800 | one;
            assert!(!ours(&news), "{one:#x} alone, on {}", layout.name);
        }
    }
}

#[test]
fn neighbours_clones_and_broadcasts_are_no_routes() {
    for layout in &Layout::ALL {
        let Message::Route(mut news) = only(layout, &vectors(layout)["add_net"]) else { panic!("a route") };
        for flag in [0x400, layout.flags.broadcast] {
            news.flags = 0x1 | flag;
            assert_eq!(to_route(layout, &news, 0, &|_| None), None);
        }
    }
    let openbsd = &Layout::OPENBSD;
    let Message::Route(mut news) = only(openbsd, &vectors(openbsd)["add_net"]) else { panic!("a route") };
    for cloned_or_cached in [0x1_0000, 0x2_0000] {
        news.flags = 0x1 | cloned_or_cached;
        assert_eq!(to_route(openbsd, &news, 0, &|_| None), None);
    }
}

#[test]
fn news_are_told_from_answers() {
    for layout in &Layout::ALL {
        let vectors = vectors(layout);
        for (name, bytes) in &vectors {
            let change = !name.starts_with("get") && !name.starts_with("got");
            assert_eq!(only(layout, bytes).is_change(), change, "{name} of {}", layout.name);
        }
        let mut refused = vectors["add_net"].clone();
        refused[layout.route.errno.at] = 17;
        assert!(!only(layout, &refused).is_change(), "what was refused has changed nothing");
    }
}

#[test]
fn a_route_with_a_label_can_be_put_back() {
    let openbsd = &Layout::OPENBSD;
    let vector = vectors(openbsd).remove("add_labelled").unwrap();
    let Message::Route(news) = only(openbsd, &vector) else { panic!("a route") };
    let route = to_route(openbsd, &news, 0, &|_| Some("tun3".to_owned())).unwrap();
    assert_eq!((route.label.as_deref(), route.beyond.as_slice()), (Some("pptpctl"), [].as_slice()));
    assert_eq!((route.table, route.metric), (5, 12));
    assert_eq!(to_route(openbsd, &news, 5, &|_| None).unwrap().table, MAIN_TABLE, "our own routing domain");
    let bytes = |action, layout: &Layout| {
        let request = from_route(layout, action, &route, 0, &|_| Some(3)).unwrap();
        Request { seq: 13, ..request }.encode(layout).unwrap()
    };
    assert_eq!(hex(&bytes(Action::Add, openbsd)), hex(&vector));
    let Message::Route(gone) = only(openbsd, &bytes(Action::Delete, openbsd)) else { panic!("a route") };
    assert_eq!(gone.label, None, "a kernel finds it by the rest");
    // Where there are none, a ledger of another system's does no harm.
    assert!(!bytes(Action::Add, &Layout::NETBSD).windows(7).any(|part| part == b"pptpctl"));
}

#[test]
fn what_could_not_be_put_back_is_said() {
    let openbsd = &Layout::OPENBSD;
    let mut vector = vectors(openbsd).remove("add_labelled").unwrap();
    let place = vector.windows(7).position(|part| part == b"pptpctl").unwrap();
    vector[place] = 0xff;
    let Message::Route(mut news) = only(openbsd, &vector) else { panic!("a route") };
    let label = |news: &RouteNews| {
        let route = to_route(openbsd, news, 0, &|_| None).unwrap();
        (route.label, route.beyond)
    };
    let beyond = (None, vec!["a label that could not be written again".to_owned()]);
    assert_eq!(label(&news), beyond, "no text");
    news.label = Some("x".repeat(32));
    assert_eq!(label(&news), beyond, "longer than a kernel's");
    news.label = Some("x".repeat(31));
    assert_eq!(label(&news), (news.label.clone(), Vec::new()));
}

#[test]
fn a_priority_that_does_not_exist_is_refused() {
    let mut route = Route::through("10.0.0.0/8".parse().unwrap(), "tun7");
    route.metric = 1024;
    let refused = from_route(&Layout::OPENBSD, Action::Add, &route, 0, &|_| Some(7)).unwrap_err();
    assert_eq!(refused, "a priority of 1024: the greatest is 63");
    assert!(from_route(&Layout::FREEBSD, Action::Add, &route, 0, &|_| Some(7)).is_ok(), "there are none");
    assert_eq!(
        from_route(&Layout::FREEBSD, Action::Add, &route, 0, &|_| None).unwrap_err(),
        "there is no interface tun7"
    );
}

/// The tables of src/net/rtsock/layout.rs as assertions for the systems' compilers.
#[test]
fn the_assertions_for_the_headers_are_those_of_the_layouts() {
    for layout in &Layout::ALL {
        let path = file(layout, "c");
        let wanted = assertions(layout);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == wanted, "{}: UPDATE_GOLDEN=1 writes it anew", path.display());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_break_a_rule(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert_eq!(pptpctl::net::rtsock::fuzzing::messages(&data), Ok(()));
    }

    /// Random bytes seldom have the length and the version of a message.
    #[test]
    fn no_change_of_a_message_breaks_a_rule(
        system in 0_usize..3,
        vector in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let layout = &Layout::ALL[system];
        let vectors: Vec<Vec<u8>> = vectors(layout).into_values().collect();
        let mut bytes = vec![u8::try_from(system).unwrap()];
        bytes.extend_from_slice(&vectors[vector.index(vectors.len())]);
        for (place, value) in changes {
            let place = place.index(bytes.len() - 1) + 1;
            bytes[place] = value;
        }
        prop_assert_eq!(pptpctl::net::rtsock::fuzzing::messages(&bytes), Ok(()));
    }
}

/// The requests of `vectors.c`.
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

fn only(layout: &Layout, bytes: &[u8]) -> Message {
    let read: Vec<_> = read(layout, bytes).collect();
    let [Ok(message)] = read.as_slice() else { panic!("{read:?}") };
    message.clone()
}

/// The messages of `SYSTEM.hex`, by name.
fn vectors(layout: &Layout) -> BTreeMap<String, Vec<u8>> {
    let text = std::fs::read_to_string(file(layout, "hex")).unwrap();
    let bytes: Vec<u8> = text.split_whitespace().map(|two| u8::from_str_radix(two, 16).unwrap()).collect();
    let mut rest = bytes.as_slice();
    let mut found = BTreeMap::new();
    while let Some((name, behind)) = rest.split_at_checked(24) {
        let (length, behind) = behind.split_first_chunk().unwrap();
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap();
        let name = String::from_utf8(name.split(|byte| *byte == 0).next().unwrap().to_vec()).unwrap();
        found.insert(name, behind[..length].to_vec());
        rest = behind.get(length.next_multiple_of(8)..).unwrap_or_default();
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

fn assertions(layout: &Layout) -> String {
    let mut c = "/* Written by tests/rtsock.rs out of the layouts; compiled by contrib/cross headers. */\n"
        .to_owned();
    let headers = ["sys/types.h", "sys/socket.h", "sys/ioctl.h", "sys/sockio.h", "net/if.h", "net/if_dl.h"];
    let more = ["net/if_tun.h", "net/route.h", "netinet/in.h", "netinet/in_var.h", "netinet6/in6_var.h"];
    for header in headers.into_iter().chain(more) {
        writeln!(c, "#include <{header}>").unwrap();
    }
    c.push_str("#include <stddef.h>\n#define AT(s, f, a, w) \\\n\t_Static_assert(offsetof(struct s, f) == a && sizeof(((struct s *)0)->f) == w, #s \".\" #f)\n");
    c.push_str("#define IS(what, value) _Static_assert((what) == (value), #what)\n\n");
    let mut at = |structure: &str, name: &str, field: Field| {
        writeln!(c, "AT({structure}, {name}, {}, {});", field.at, field.width).unwrap();
    };
    let route = &layout.route;
    for (name, place) in [("rtm_msglen", (0, 2)), ("rtm_version", (2, 1)), ("rtm_type", (3, 1))] {
        at("rt_msghdr", name, Field { at: place.0, width: place.1 });
    }
    for (name, field) in [
        ("rtm_hdrlen", route.hdrlen),
        ("rtm_tableid", route.tableid),
        ("rtm_priority", route.priority),
        ("rtm_fmask", route.fmask),
    ] {
        if let Some(field) = field {
            at("rt_msghdr", name, field);
        }
    }
    for (name, field) in [
        ("rtm_index", route.index),
        ("rtm_flags", route.flags),
        ("rtm_addrs", route.addrs),
        ("rtm_pid", route.pid),
        ("rtm_seq", route.seq),
        ("rtm_errno", route.errno),
        ("rtm_inits", route.inits),
        ("rtm_rmx.rmx_mtu", route.mtu),
        ("rtm_rmx.rmx_expire", route.expire),
    ] {
        at("rt_msghdr", name, field);
    }
    at("if_msghdr", "ifm_index", layout.interface.index);
    at("if_msghdr", "ifm_flags", layout.interface.flags);
    at("if_msghdr", "ifm_data.ifi_mtu", layout.interface.mtu);
    at("if_msghdr", "ifm_data.ifi_link_state", layout.interface.link_state);
    at("ifa_msghdr", "ifam_index", layout.address.index);
    at("ifa_msghdr", "ifam_addrs", layout.address.addrs);
    at("if_announcemsghdr", "ifan_index", layout.announce.index);
    at("if_announcemsghdr", "ifan_name", Field { at: layout.announce.name, width: 16 });
    at("if_announcemsghdr", "ifan_what", layout.announce.what);
    if let Some(hdrlen) = route.hdrlen {
        at("ifa_msghdr", "ifam_hdrlen", hdrlen);
    }
    let flags = &layout.flags;
    let system = |lines: &[(&str, &str)]| {
        let line = lines.iter().find(|(name, _)| *name == layout.name).map(|(_, line)| *line);
        line.unwrap_or_default().to_owned()
    };
    let proto3 = "RTF_PROTO1 | RTF_PROTO3";
    let ours = system(&[("freebsd", proto3), ("openbsd", proto3), ("netbsd", "RTF_PROTO1 | RTF_PROTO2")]);
    let beyond = system(&[
        ("freebsd", "RTF_PINNED"),
        ("openbsd", "RTF_CONNECTED | RTF_MPLS | RTF_BFD"),
        ("netbsd", "RTF_CONNECTED"),
    ]);
    let not_a_route = system(&[
        ("freebsd", "RTF_LLDATA"),
        ("openbsd", "RTF_LLINFO | RTF_CLONED | RTF_CACHED"),
        ("netbsd", "RTF_LLDATA"),
    ]);
    let mut is = |what: &str, value: u64| {
        if !what.is_empty() {
            writeln!(c, "IS({what}, {value:#x});").unwrap();
        }
    };
    is("sizeof(struct rt_msghdr)", route.size as u64);
    is("sizeof(struct if_msghdr)", layout.interface.size as u64);
    is("sizeof(struct ifa_msghdr)", layout.address.size as u64);
    is("sizeof(struct if_announcemsghdr)", layout.announce.size as u64);
    is("sizeof(struct sockaddr_dl)", layout.link_size as u64);
    is("sizeof(long)", layout.round as u64);
    for (what, value) in [
        ("RTM_VERSION", layout.version),
        ("AF_INET6", layout.inet6),
        ("RTM_NEWADDR", layout.kinds.new_address),
        ("RTM_DELADDR", layout.kinds.delete_address),
        ("RTM_IFINFO", layout.kinds.interface),
        ("RTM_IFANNOUNCE", layout.kinds.announce),
        (if layout.kinds.desync.is_some() { "RTM_DESYNC" } else { "" }, layout.kinds.desync.unwrap_or(0)),
        (if layout.default_priority == 0 { "" } else { "RTP_STATIC" }, layout.default_priority),
        ("RTM_ADD", 1),
        ("RTM_DELETE", 2),
        ("RTM_CHANGE", 3),
        ("RTM_GET", 4),
        ("AF_INET", 2),
        ("AF_LINK", 18),
        ("RTV_MTU", 1),
        ("IFF_UP", 1),
        ("IFAN_ARRIVAL", 0),
    ] {
        is(what, value.into());
    }
    is("RTAX_MAX", layout.most_addresses.into());
    is("LINK_STATE_UP", layout.interface.link_up_from);
    is("LINK_STATE_UNKNOWN", 0);
    for (what, value) in [
        ("RTF_UP", 0x1),
        ("RTF_GATEWAY", 0x2),
        ("RTF_HOST", 0x4),
        ("RTF_REJECT", 0x8),
        ("RTF_DYNAMIC", 0x10),
        ("RTF_STATIC", 0x800),
        ("RTF_BLACKHOLE", 0x1000),
        ("RTF_PROTO2", 0x4000),
        ("RTF_PROTO1", 0x8000),
        ("RTF_LOCAL", flags.local),
        ("RTF_BROADCAST", flags.broadcast),
        (ours.as_str(), flags.ours),
        (beyond.as_str(), flags.beyond),
        (not_a_route.as_str(), flags.not_a_route),
    ] {
        is(what, value.into());
    }
    for (bit, what) in [(0, "DST"), (1, "GATEWAY"), (2, "NETMASK"), (4, "IFP"), (5, "IFA"), (7, "BRD")] {
        is(&format!("RTA_{what}"), 1 << bit);
    }
    if layout.labels {
        is("RTA_LABEL", 1 << 10);
        is("sizeof(struct sockaddr_rtlabel)", 34);
    }
    let requests = Requests::ALL.iter().find(|requests| requests.name == layout.name).unwrap();
    for (what, value) in [
        ("AF_INET6", u64::from(requests.inet6)),
        ("sizeof(struct ifreq)", requests.ifreq as u64),
        ("sizeof(struct ifaliasreq)", requests.ifaliasreq as u64),
        ("sizeof(struct in6_aliasreq)", requests.in6_aliasreq as u64),
        ("SIOCGIFFLAGS", requests.get_flags),
        ("SIOCSIFFLAGS", requests.set_flags),
        ("SIOCGIFMTU", requests.get_mtu),
        ("SIOCSIFMTU", requests.set_mtu),
        (
            match layout.name {
                "openbsd" => "SIOCSIFRDOMAIN",
                "freebsd" => "SIOCSIFFIB",
                _ => "",
            },
            requests.set_domain.unwrap_or(0),
        ),
        ("SIOCAIFADDR", requests.add_address),
        ("SIOCDIFADDR", requests.delete_address),
        ("SIOCAIFADDR_IN6", requests.add_address6),
        ("SIOCDIFADDR_IN6", requests.delete_address6),
        ("TUNSIFMODE", requests.tun_mode),
        (if requests.no_dad == 0 { "" } else { "IN6_IFF_NODAD" }, requests.no_dad.into()),
        (if requests.tun_head.is_some() { "TUNSIFHEAD" } else { "" }, requests.tun_head.unwrap_or(0)),
        (
            if requests.tun_transient.is_some() { "TUNSTRANSIENT" } else { "" },
            requests.tun_transient.unwrap_or(0),
        ),
        // What src/net/ifreq.rs and src/net/bsd take to be the same everywhere.
        ("sizeof(struct in6_ifreq)", IN6_IFREQ as u64),
        ("offsetof(struct ifreq, ifr_flags)", 16),
        ("offsetof(struct ifreq, ifr_mtu)", 16),
        ("offsetof(struct ifaliasreq, ifra_addr)", 16),
        ("offsetof(struct ifaliasreq, ifra_mask)", 48),
        ("offsetof(struct in6_aliasreq, ifra_addr)", 16),
        ("offsetof(struct in6_aliasreq, ifra_prefixmask)", 72),
        ("offsetof(struct in6_aliasreq, ifra_flags)", 100),
        ("offsetof(struct in6_aliasreq, ifra_lifetime.ia6t_vltime)", 120),
        ("offsetof(struct in6_aliasreq, ifra_lifetime.ia6t_pltime)", 124),
        ("IFF_LOOPBACK", 0x8),
        ("IFF_POINTOPOINT", 0x10),
        ("IFF_MULTICAST", 0x8000),
    ] {
        is(what, value);
    }
    c
}
