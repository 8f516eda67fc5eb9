//! The message layouts and constants that differ between the systems.
//!
//! From the headers of FreeBSD 14 (`net/route.h`, `net/if.h`), OpenBSD (`net/route.h` 1.218 of 2025-07-14)
//! and NetBSD 10 (`net/route.h` 1.134 of 2023-06-16), as zig 0.17 ships them, for 64-bit machines.

/// Position of a number in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Offset in bytes.
    pub at: usize,
    /// Width in bytes: 1, 2, 4 or 8.
    pub width: usize,
}

const fn field(at: usize, width: usize) -> Field {
    Field { at, width }
}

/// `struct rt_msghdr`. Every header begins with `rtm_msglen` (2 bytes), `rtm_version` and `rtm_type` (1
/// each).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteHeader {
    /// Size in bytes.
    pub size: usize,
    /// `rtm_hdrlen`, the length of the header (OpenBSD).
    pub hdrlen: Option<Field>,
    /// `rtm_index`: interface index.
    pub index: Field,
    /// `rtm_tableid` (OpenBSD).
    pub tableid: Option<Field>,
    /// `rtm_priority` (OpenBSD).
    pub priority: Option<Field>,
    /// `rtm_flags`.
    pub flags: Field,
    /// `rtm_addrs`.
    pub addrs: Field,
    /// `rtm_fmask`: the flags that RTM_CHANGE changes (not on NetBSD).
    pub fmask: Option<Field>,
    /// `rtm_pid`.
    pub pid: Field,
    /// `rtm_seq`.
    pub seq: Field,
    /// `rtm_errno`.
    pub errno: Field,
    /// `rtm_inits`: the metrics that the request sets.
    pub inits: Field,
    /// `rtm_rmx.rmx_mtu`.
    pub mtu: Field,
    /// `rtm_rmx.rmx_expire`.
    pub expire: Field,
}

/// `struct if_msghdr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceHeader {
    /// Size in bytes.
    pub size: usize,
    /// `ifm_index`.
    pub index: Field,
    /// `ifm_flags`.
    pub flags: Field,
    /// `ifm_data.ifi_mtu`.
    pub mtu: Field,
    /// `ifm_data.ifi_link_state`.
    pub link_state: Field,
    /// The lowest link state that means up. 0 means unknown on all systems.
    pub link_up_from: u64,
}

/// `struct ifa_msghdr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressHeader {
    /// Size in bytes.
    pub size: usize,
    /// `ifam_index`.
    pub index: Field,
    /// `ifam_addrs`.
    pub addrs: Field,
}

/// `struct if_announcemsghdr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnounceHeader {
    /// Size in bytes.
    pub size: usize,
    /// `ifan_index`.
    pub index: Field,
    /// Offset of `ifan_name`, which has 16 bytes (IFNAMSIZ).
    pub name: usize,
    /// `ifan_what`: 0 for an arrival, 1 for a departure.
    pub what: Field,
}

/// Values of `rtm_type` that differ. RTM_ADD, DELETE, CHANGE and GET are 1 to 4 on all systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    /// RTM_NEWADDR.
    pub new_address: u8,
    /// RTM_DELADDR.
    pub delete_address: u8,
    /// RTM_IFINFO.
    pub interface: u8,
    /// RTM_IFANNOUNCE.
    pub announce: u8,
    /// RTM_DESYNC: messages were lost (OpenBSD). The others fail the read with ENOBUFS.
    pub desync: Option<u8>,
}

/// Values of `rtm_flags` that differ. RTF_UP is 1, GATEWAY 2, HOST 4, REJECT 8, DYNAMIC 0x10, STATIC 0x800,
/// BLACKHOLE 0x1000, PROTO2 0x4000 and PROTO1 0x8000 on all systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    /// RTF_LOCAL: an address of this host.
    pub local: u32,
    /// RTF_BROADCAST.
    pub broadcast: u32,
    /// Flags of table entries that are not routes: neighbours (RTF_LLINFO, RTF_LLDATA), cloned or cached
    /// routes.
    pub not_a_route: u32,
    /// Flags that a request cannot set: routes that the kernel adds with an address, MPLS, BFD.
    pub unrestorable: u32,
    /// The mark of this program's routes: two RTF_PROTO flags that no routing daemon sets together.
    pub own_routes: u32,
    /// RTF_PROTO3; 0 if the system has none.
    pub proto3: u32,
}

/// The message layouts and constants of one system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `freebsd`, `openbsd` or `netbsd`.
    pub name: &'static str,
    /// RTM_VERSION.
    pub version: u8,
    /// Alignment of socket addresses, in bytes; one of length 0 occupies this many.
    pub alignment: usize,
    /// AF_INET6. AF_INET is 2 and AF_LINK 18 on all systems.
    pub inet6: u8,
    /// `sizeof(struct sockaddr_dl)`.
    pub link_size: usize,
    /// Maximum number of socket addresses in a message (RTAX_MAX).
    pub max_addresses: u32,
    /// Whether routes can have a label (RTA_LABEL, `struct sockaddr_rtlabel`).
    pub labels: bool,
    /// Whether a route without a gateway has an address of this host in its place, not a link address.
    pub link_routes_by_address: bool,
    /// The default priority of a route (RTP_STATIC); 0 if the system has no priorities.
    pub default_priority: u8,
    /// Header of route messages.
    pub route: RouteHeader,
    /// Header of interface messages.
    pub interface: InterfaceHeader,
    /// Header of interface address messages.
    pub address: AddressHeader,
    /// Header of interface announcements.
    pub announce: AnnounceHeader,
    /// Message types.
    pub kinds: Kinds,
    /// Route flags.
    pub flags: Flags,
}

const PROTO1: u32 = 0x8000;
const PROTO2: u32 = 0x4000;

impl Layout {
    /// FreeBSD 14.
    pub const FREEBSD: Self = Self {
        name: "freebsd",
        version: 5,
        alignment: 8,
        inet6: 28,
        link_size: 54,
        max_addresses: 8,
        labels: false,
        link_routes_by_address: false,
        default_priority: 0,
        route: RouteHeader {
            size: 152,
            hdrlen: None,
            index: field(4, 2),
            tableid: None,
            priority: None,
            flags: field(8, 4),
            addrs: field(12, 4),
            fmask: Some(field(28, 4)),
            pid: field(16, 4),
            seq: field(20, 4),
            errno: field(24, 4),
            inits: field(32, 8),
            mtu: field(48, 8),
            expire: field(64, 8),
        },
        interface: InterfaceHeader {
            size: 168,
            index: field(12, 2),
            flags: field(8, 4),
            mtu: field(24, 4),
            link_state: field(20, 1),
            link_up_from: 2,
        },
        address: AddressHeader { size: 20, index: field(12, 2), addrs: field(4, 4) },
        announce: AnnounceHeader { size: 24, index: field(4, 2), name: 6, what: field(22, 2) },
        kinds: Kinds { new_address: 0xc, delete_address: 0xd, interface: 0xe, announce: 0x11, desync: None },
        flags: Flags {
            local: 0x20_0000,
            broadcast: 0x40_0000,
            not_a_route: 0x400,
            // RTF_PINNED.
            unrestorable: 0x10_0000,
            own_routes: PROTO1 | 0x4_0000,
            proto3: 0x4_0000,
        },
    };

    /// OpenBSD 7.
    pub const OPENBSD: Self = Self {
        name: "openbsd",
        version: 5,
        alignment: 8,
        inet6: 24,
        link_size: 32,
        max_addresses: 15,
        labels: true,
        link_routes_by_address: true,
        default_priority: 8,
        route: RouteHeader {
            size: 96,
            hdrlen: Some(field(4, 2)),
            index: field(6, 2),
            tableid: Some(field(8, 2)),
            priority: Some(field(10, 1)),
            flags: field(16, 4),
            addrs: field(12, 4),
            fmask: Some(field(20, 4)),
            pid: field(24, 4),
            seq: field(28, 4),
            errno: field(32, 4),
            inits: field(36, 4),
            mtu: field(60, 4),
            expire: field(48, 8),
        },
        interface: InterfaceHeader {
            size: 168,
            index: field(6, 2),
            flags: field(16, 4),
            mtu: field(28, 4),
            link_state: field(27, 1),
            link_up_from: 4,
        },
        address: AddressHeader { size: 24, index: field(6, 2), addrs: field(12, 4) },
        announce: AnnounceHeader { size: 26, index: field(6, 2), name: 10, what: field(8, 2) },
        kinds: Kinds {
            new_address: 0xc,
            delete_address: 0xd,
            interface: 0xe,
            announce: 0xf,
            desync: Some(0x10),
        },
        flags: Flags {
            local: 0x20_0000,
            broadcast: 0x40_0000,
            // RTF_LLINFO, RTF_CLONED, RTF_CACHED.
            not_a_route: 0x400 | 0x1_0000 | 0x2_0000,
            // RTF_CONNECTED, RTF_MPLS, RTF_BFD.
            unrestorable: 0x80_0000 | 0x10_0000 | 0x100_0000,
            own_routes: PROTO1 | 0x2000,
            proto3: 0x2000,
        },
    };

    /// NetBSD 10.
    pub const NETBSD: Self = Self {
        name: "netbsd",
        version: 4,
        alignment: 8,
        inet6: 24,
        link_size: 32,
        max_addresses: 9,
        labels: false,
        link_routes_by_address: false,
        default_priority: 0,
        route: RouteHeader {
            size: 120,
            hdrlen: None,
            index: field(4, 2),
            tableid: None,
            priority: None,
            flags: field(8, 4),
            addrs: field(12, 4),
            fmask: None,
            pid: field(16, 4),
            seq: field(20, 4),
            errno: field(24, 4),
            inits: field(32, 4),
            mtu: field(48, 8),
            expire: field(104, 8),
        },
        interface: InterfaceHeader {
            size: 152,
            index: field(12, 2),
            flags: field(8, 4),
            mtu: field(24, 8),
            link_state: field(20, 4),
            link_up_from: 2,
        },
        address: AddressHeader { size: 32, index: field(4, 2), addrs: field(12, 4) },
        announce: AnnounceHeader { size: 24, index: field(4, 2), name: 6, what: field(22, 2) },
        kinds: Kinds {
            new_address: 0x16,
            delete_address: 0x17,
            interface: 0x14,
            announce: 0x10,
            desync: None,
        },
        flags: Flags {
            local: 0x4_0000,
            broadcast: 0x8_0000,
            not_a_route: 0x400,
            // RTF_CONNECTED.
            unrestorable: 0x100,
            own_routes: PROTO1 | PROTO2,
            proto3: 0,
        },
    };

    /// All systems.
    pub const ALL: [Self; 3] = [Self::FREEBSD, Self::OPENBSD, Self::NETBSD];

    /// Returns the length of a socket address with its padding.
    #[must_use]
    pub const fn rounded(&self, length: usize) -> usize {
        if length == 0 { self.alignment } else { length.next_multiple_of(self.alignment) }
    }
}
