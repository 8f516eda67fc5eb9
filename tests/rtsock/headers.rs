//! Generates `SYSTEM.c`: the layouts as static assertions for the systems' compilers.

use std::fmt::Write;

use pptpctl::testing::net::{
    ifreq::{IN6_IFREQ, Requests},
    rtsock::{Field, Layout},
};

use super::file;

/// Compares `SYSTEM.c` with the tables in src/net/rtsock/layout.rs and src/net/ifreq.rs.
#[test]
fn c_assertions_match_layouts() {
    for layout in &Layout::ALL {
        let path = file(layout, "c");
        let wanted = assertions(layout);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == wanted, "{}: UPDATE_GOLDEN=1 rewrites it", path.display());
    }
}

fn assertions(layout: &Layout) -> String {
    let mut c = Assertions::new();
    c.fields_of_messages(layout);
    c.sizes(layout);
    c.kinds_and_families(layout);
    c.flags(layout);
    c.requests(layout);
    c.0
}

/// The text of `SYSTEM.c`.
struct Assertions(String);

impl Assertions {
    fn new() -> Self {
        let mut c = "/* Written by tests/rtsock/headers.rs out of the layouts; compiled by contrib/cross headers. */\n"
            .to_owned();
        let headers =
            ["sys/types.h", "sys/socket.h", "sys/ioctl.h", "sys/sockio.h", "net/if.h", "net/if_dl.h"];
        let more = ["net/if_tun.h", "net/route.h", "netinet/in.h", "netinet/in_var.h", "netinet6/in6_var.h"];
        for header in headers.into_iter().chain(more) {
            writeln!(c, "#include <{header}>").unwrap();
        }
        c.push_str("#include <stddef.h>\n#define AT(s, f, a, w) \\\n\t_Static_assert(offsetof(struct s, f) == a && sizeof(((struct s *)0)->f) == w, #s \".\" #f)\n");
        c.push_str("#define IS(what, value) _Static_assert((what) == (value), #what)\n\n");
        Self(c)
    }

    /// Asserts offset and width of a field.
    fn at(&mut self, structure: &str, name: &str, field: Field) {
        writeln!(self.0, "AT({structure}, {name}, {}, {});", field.at, field.width).unwrap();
    }

    /// Asserts a value, unless the name is empty.
    fn is(&mut self, what: &str, value: u64) {
        if !what.is_empty() {
            writeln!(self.0, "IS({what}, {value:#x});").unwrap();
        }
    }

    fn fields_of_messages(&mut self, layout: &Layout) {
        let route = &layout.route;
        for (name, (at, width)) in [("rtm_msglen", (0, 2)), ("rtm_version", (2, 1)), ("rtm_type", (3, 1))] {
            self.at("rt_msghdr", name, Field { at, width });
        }
        for (name, field) in [
            ("rtm_hdrlen", route.hdrlen),
            ("rtm_tableid", route.tableid),
            ("rtm_priority", route.priority),
            ("rtm_fmask", route.fmask),
        ] {
            if let Some(field) = field {
                self.at("rt_msghdr", name, field);
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
            self.at("rt_msghdr", name, field);
        }
        self.at("if_msghdr", "ifm_index", layout.interface.index);
        self.at("if_msghdr", "ifm_flags", layout.interface.flags);
        self.at("if_msghdr", "ifm_data.ifi_mtu", layout.interface.mtu);
        self.at("if_msghdr", "ifm_data.ifi_link_state", layout.interface.link_state);
        self.at("ifa_msghdr", "ifam_index", layout.address.index);
        self.at("ifa_msghdr", "ifam_addrs", layout.address.addrs);
        self.at("if_announcemsghdr", "ifan_index", layout.announce.index);
        self.at("if_announcemsghdr", "ifan_name", Field { at: layout.announce.name, width: 16 });
        self.at("if_announcemsghdr", "ifan_what", layout.announce.what);
        if let Some(hdrlen) = route.hdrlen {
            self.at("ifa_msghdr", "ifam_hdrlen", hdrlen);
        }
    }

    fn sizes(&mut self, layout: &Layout) {
        let route = &layout.route;
        self.is("sizeof(struct rt_msghdr)", route.size as u64);
        self.is("sizeof(struct if_msghdr)", layout.interface.size as u64);
        self.is("sizeof(struct ifa_msghdr)", layout.address.size as u64);
        self.is("sizeof(struct if_announcemsghdr)", layout.announce.size as u64);
        self.is("sizeof(struct sockaddr_dl)", layout.link_size as u64);
        self.is("sizeof(long)", layout.alignment as u64);
    }

    fn kinds_and_families(&mut self, layout: &Layout) {
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
            self.is(what, value.into());
        }
        self.is("RTAX_MAX", layout.max_addresses.into());
        self.is("LINK_STATE_UP", layout.interface.link_up_from);
        self.is("LINK_STATE_UNKNOWN", 0);
    }

    fn flags(&mut self, layout: &Layout) {
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
            (ours.as_str(), flags.own_routes),
            (beyond.as_str(), flags.unrestorable),
            (not_a_route.as_str(), flags.not_a_route),
        ] {
            self.is(what, value.into());
        }
        for (bit, what) in [(0, "DST"), (1, "GATEWAY"), (2, "NETMASK"), (4, "IFP"), (5, "IFA"), (7, "BRD")] {
            self.is(&format!("RTA_{what}"), 1 << bit);
        }
        if layout.labels {
            self.is("RTA_LABEL", 1 << 10);
            self.is("sizeof(struct sockaddr_rtlabel)", 34);
        }
    }

    /// Asserts the ioctls of src/net/ifreq.rs.
    fn requests(&mut self, layout: &Layout) {
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
                    "openbsd" => "SIOCGIFRDOMAIN",
                    "freebsd" => "SIOCGIFFIB",
                    _ => "",
                },
                requests.get_domain.unwrap_or(0),
            ),
            (
                match layout.name {
                    "openbsd" => "SIOCSIFRDOMAIN",
                    "freebsd" => "SIOCSIFFIB",
                    _ => "",
                },
                requests.set_domain.unwrap_or(0),
            ),
            (if requests.destroy.is_some() { "SIOCIFDESTROY" } else { "" }, requests.destroy.unwrap_or(0)),
            ("SIOCAIFADDR", requests.add_address),
            ("SIOCDIFADDR", requests.delete_address),
            ("SIOCAIFADDR_IN6", requests.add_address6),
            ("SIOCDIFADDR_IN6", requests.delete_address6),
            ("TUNSIFMODE", requests.tun_mode),
            ("FIONBIO", 0x8004_667e),
            (if requests.no_dad == 0 { "" } else { "IN6_IFF_NODAD" }, requests.no_dad.into()),
            (if requests.tun_head.is_some() { "TUNSIFHEAD" } else { "" }, requests.tun_head.unwrap_or(0)),
            (
                if requests.tun_transient.is_some() { "TUNSTRANSIENT" } else { "" },
                requests.tun_transient.unwrap_or(0),
            ),
            // Values that src/net/ifreq.rs and src/net/bsd assume to be the same on all systems.
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
            self.is(what, value);
        }
    }
}
