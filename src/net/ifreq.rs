//! Codec for the arguments of the BSDs' interface ioctl(2)s (netintro(4)), without I/O, compiled on every
//! platform.
//!
//! Owns the request numbers and argument layouts as data per system ([`Requests`]), checked against the
//! systems' headers like [`rtsock`](super::rtsock). The sockets belong to `net::bsd`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::routes::Address;

/// Offset of the first field after the interface name in every argument (IFNAMSIZ).
const AFTER_NAME: usize = 16;

/// `sizeof(struct sockaddr_in)`, `sizeof(struct sockaddr_in6)`.
const IN4: usize = 16;
const IN6: usize = 28;

/// The request numbers of one system, and the argument sizes that differ between systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requests {
    /// `freebsd`, `openbsd` or `netbsd`.
    pub name: &'static str,
    /// AF_INET6.
    pub inet6: u8,
    /// `sizeof(struct ifreq)`.
    pub ifreq: usize,
    /// `sizeof(struct ifaliasreq)`.
    pub ifaliasreq: usize,
    /// `sizeof(struct in6_aliasreq)`.
    pub in6_aliasreq: usize,
    /// SIOCGIFFLAGS.
    pub get_flags: u64,
    /// SIOCSIFFLAGS.
    pub set_flags: u64,
    /// SIOCGIFMTU.
    pub get_mtu: u64,
    /// SIOCSIFMTU.
    pub set_mtu: u64,
    /// SIOCGIFRDOMAIN (OpenBSD), SIOCGIFFIB (FreeBSD).
    pub get_domain: Option<u64>,
    /// SIOCSIFRDOMAIN (OpenBSD), SIOCSIFFIB (FreeBSD): an unsigned int at the offset of the MTU.
    pub set_domain: Option<u64>,
    /// SIOCAIFADDR.
    pub add_address: u64,
    /// SIOCDIFADDR.
    pub delete_address: u64,
    /// SIOCAIFADDR_IN6.
    pub add_address6: u64,
    /// SIOCDIFADDR_IN6.
    pub delete_address6: u64,
    /// IN6_IFF_NODAD: no duplicate address detection; 0 where the flag does not exist (OpenBSD), or where the kernel
    /// refuses an address with it, EINVAL (NetBSD).
    pub no_dad: u32,
    /// TUNSIFMODE.
    pub tun_mode: u64,
    /// TUNSIFHEAD; `None` where the address family always precedes a packet (OpenBSD).
    pub tun_head: Option<u64>,
    /// TUNSTRANSIENT: closing the last descriptor removes the interface (FreeBSD after 14.0; OpenBSD's default).
    pub tun_transient: Option<u64>,
    /// SIOCIFDESTROY, where closing the last descriptor of a tun device leaves it (NetBSD, and FreeBSD before
    /// TUNSTRANSIENT).
    pub destroy: Option<u64>,
}

/// FIONBIO, the same on all systems.
const NONBLOCKING: u64 = 0x8004_667e;

/// IFF_POINTOPOINT and IFF_MULTICAST.
const TUN_MODE: i32 = 0x8010;

/// A request to a tun device that was just opened, with an int as its argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The request.
    pub request: u64,
    /// Its argument.
    pub value: i32,
    /// Whether some releases of the system lack the request (ENOTTY).
    pub optional: bool,
}

/// `sizeof(struct in6_ifreq)`, the same on all systems.
pub const IN6_IFREQ: usize = 288;

/// Offsets of mask, flags and lifetimes in `struct in6_aliasreq`, the same on all systems.
const MASK6: usize = 72;
const FLAGS6: usize = 100;
const LIFETIMES: std::ops::Range<usize> = 120..128;

impl Requests {
    /// FreeBSD 14.
    pub const FREEBSD: Self = Self {
        name: "freebsd",
        inet6: 28,
        ifreq: 32,
        ifaliasreq: 68,
        in6_aliasreq: 136,
        get_flags: 0xc020_6911,
        set_flags: 0x8020_6910,
        get_mtu: 0xc020_6933,
        set_mtu: 0x8020_6934,
        get_domain: Some(0xc020_695c),
        set_domain: Some(0x8020_695d),
        add_address: 0x8044_692b,
        delete_address: 0x8020_6919,
        add_address6: 0x8088_691b,
        delete_address6: 0x8120_6919,
        no_dad: 0x20,
        tun_mode: 0x8004_745e,
        tun_head: Some(0x8004_7460),
        tun_transient: Some(0x8004_7462),
        destroy: Some(0x8020_6979),
    };

    /// OpenBSD 7.
    pub const OPENBSD: Self = Self {
        name: "openbsd",
        inet6: 24,
        ifreq: 32,
        ifaliasreq: 64,
        in6_aliasreq: 128,
        get_flags: 0xc020_6911,
        set_flags: 0x8020_6910,
        get_mtu: 0xc020_697e,
        set_mtu: 0x8020_697f,
        get_domain: Some(0xc020_69a0),
        set_domain: Some(0x8020_699f),
        add_address: 0x8040_691a,
        delete_address: 0x8020_6919,
        add_address6: 0x8080_691a,
        delete_address6: 0x8120_6919,
        no_dad: 0,
        tun_mode: 0x8004_745d,
        tun_head: None,
        tun_transient: None,
        destroy: None,
    };

    /// NetBSD 10.
    pub const NETBSD: Self = Self {
        name: "netbsd",
        inet6: 24,
        ifreq: 144,
        ifaliasreq: 64,
        in6_aliasreq: 128,
        get_flags: 0xc090_6911,
        set_flags: 0x8090_6910,
        get_mtu: 0xc090_697e,
        set_mtu: 0x8090_697f,
        get_domain: None,
        set_domain: None,
        add_address: 0x8040_691a,
        delete_address: 0x8090_6919,
        add_address6: 0x8080_696b,
        delete_address6: 0x8120_6919,
        no_dad: 0,
        tun_mode: 0x8004_7458,
        tun_head: Some(0x8004_7442),
        tun_transient: None,
        destroy: Some(0x8090_6979),
    };

    /// All systems.
    pub const ALL: [Self; 3] = [Self::FREEBSD, Self::OPENBSD, Self::NETBSD];

    /// Returns the requests for a tun device that was just opened, in order. `existed`: whether its interface did
    /// before.
    #[must_use]
    pub fn opened_tun(&self, existed: bool) -> Vec<Setting> {
        // NetBSD's driver ignores O_NONBLOCK in open(2), and its fcntl(2) passes on only a change of the flag.
        let mut settings = vec![
            Setting { request: NONBLOCKING, value: 1, optional: false },
            Setting { request: self.tun_mode, value: TUN_MODE, optional: false },
        ];
        settings.extend(self.tun_head.map(|request| Setting { request, value: 1, optional: false }));
        // An interface that existed before remains on exit. FreeBSD 14.0 has no TUNSTRANSIENT; closing leaves the
        // interface there, and `destroy` removes it.
        let transient = self.tun_transient.filter(|_| !existed);
        settings.extend(transient.map(|request| Setting { request, value: 1, optional: true }));
        settings
    }

    /// Returns a `struct ifreq` with only the name, for the kernel to fill in; `None` if no interface can
    /// have it.
    #[must_use]
    pub fn named(&self, dev: &str) -> Option<Vec<u8>> {
        named(dev, self.ifreq)
    }

    /// Returns the argument of SIOCSIFFLAGS. The high half, which only FreeBSD has (`ifr_flagshigh`), is 0.
    #[must_use]
    pub fn flags(&self, dev: &str, flags: u16) -> Option<Vec<u8>> {
        let mut argument = named(dev, self.ifreq)?;
        put(&mut argument, AFTER_NAME, &flags.to_ne_bytes());
        Some(argument)
    }

    /// Returns the argument of SIOCSIFMTU.
    #[must_use]
    pub fn mtu(&self, dev: &str, mtu: u32) -> Option<Vec<u8>> {
        let mut argument = named(dev, self.ifreq)?;
        put(&mut argument, AFTER_NAME, &mtu.to_ne_bytes());
        Some(argument)
    }

    /// Returns the request and argument that move an interface to a routing domain or FIB; `None` where there
    /// are none, or if no interface can have the name.
    #[must_use]
    pub fn domain(&self, dev: &str, number: u32) -> Option<(u64, Vec<u8>)> {
        let mut argument = named(dev, self.ifreq)?;
        put(&mut argument, AFTER_NAME, &number.to_ne_bytes());
        Some((self.set_domain?, argument))
    }

    /// Returns the request and argument that add an address to an interface. Without a peer, the destination
    /// of an IPv4 point-to-point link is its own address, as is usual with ifconfig(8).
    #[must_use]
    pub fn add(&self, dev: &str, address: &Address) -> Option<(u64, Vec<u8>)> {
        match address.local {
            IpAddr::V4(local) => {
                let mut argument = named(dev, self.ifaliasreq)?;
                let peer = match address.peer {
                    Some(IpAddr::V4(peer)) => peer,
                    _ => local,
                };
                put(&mut argument, AFTER_NAME, &in4(local));
                put(&mut argument, AFTER_NAME + IN4, &in4(peer));
                put(&mut argument, AFTER_NAME + 2 * IN4, &in4(mask4(address.prefix)));
                Some((self.add_address, argument))
            }
            IpAddr::V6(local) => {
                let mut argument = named(dev, self.in6_aliasreq)?;
                put(&mut argument, AFTER_NAME, &self.in6(local));
                // No destination address: it requires a prefix length of 128.
                put(&mut argument, MASK6, &self.in6(mask6(address.prefix)));
                put(&mut argument, FLAGS6, &self.no_dad.to_ne_bytes());
                // Valid and preferred lifetime: ND6_INFINITE_LIFETIME.
                put(&mut argument, LIFETIMES.start, &[0xff; 8]);
                Some((self.add_address6, argument))
            }
        }
    }

    /// Returns the request and argument that delete an address from an interface.
    #[must_use]
    pub fn delete(&self, dev: &str, address: &Address) -> Option<(u64, Vec<u8>)> {
        match address.local {
            IpAddr::V4(local) => {
                let mut argument = named(dev, self.ifreq)?;
                put(&mut argument, AFTER_NAME, &in4(local));
                Some((self.delete_address, argument))
            }
            IpAddr::V6(local) => {
                let mut argument = named(dev, IN6_IFREQ)?;
                put(&mut argument, AFTER_NAME, &self.in6(local));
                Some((self.delete_address6, argument))
            }
        }
    }

    fn in6(&self, address: Ipv6Addr) -> Vec<u8> {
        let mut bytes = vec![28, self.inet6, 0, 0, 0, 0, 0, 0];
        bytes.extend(address.octets());
        bytes.resize(IN6, 0);
        bytes
    }
}

/// Returns the low half of the flags in the result of SIOCGIFFLAGS.
#[must_use]
pub fn flags_in(argument: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(*argument.get(AFTER_NAME..)?.first_chunk()?))
}

/// Returns the MTU in the result of SIOCGIFMTU, in bytes.
#[must_use]
pub fn mtu_in(argument: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*argument.get(AFTER_NAME..)?.first_chunk()?))
}

/// Returns the routing domain or FIB in the result of SIOCGIFRDOMAIN or SIOCGIFFIB.
#[must_use]
pub fn domain_in(argument: &[u8]) -> Option<u32> {
    mtu_in(argument)
}

fn named(dev: &str, size: usize) -> Option<Vec<u8>> {
    // IFNAMSIZ includes the terminating NUL.
    if dev.is_empty() || dev.len() >= AFTER_NAME || dev.contains('\0') {
        return None;
    }
    let mut argument = vec![0; size];
    put(&mut argument, 0, dev.as_bytes());
    Some(argument)
}

fn put(argument: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in argument.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

fn in4(address: Ipv4Addr) -> [u8; IN4] {
    let [a, b, c, d] = address.octets();
    [16, 2, 0, 0, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0]
}

fn mask4(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0))
}

fn mask6(prefix: u8) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_match_prefix_lengths() {
        assert_eq!(mask4(32), Ipv4Addr::BROADCAST);
        assert_eq!(mask4(8), Ipv4Addr::new(255, 0, 0, 0));
        assert_eq!(mask4(0), Ipv4Addr::UNSPECIFIED);
        assert_eq!(mask6(64).segments(), [0xffff, 0xffff, 0xffff, 0xffff, 0, 0, 0, 0]);
        assert_eq!(mask6(0), Ipv6Addr::UNSPECIFIED);
    }

    #[test]
    fn refuses_invalid_interface_names() {
        for system in Requests::ALL {
            assert!(system.named("tun7").is_some());
            assert_eq!(system.named("0123456789abcdef"), None, "IFNAMSIZ includes the terminating NUL");
            assert_eq!(system.named(""), None);
        }
    }

    /// A tun device that blocks stops the engine at its first read, and with it the whole tunnel.
    #[test]
    fn every_system_is_asked_not_to_block_before_anything_else() {
        for system in Requests::ALL {
            for existed in [false, true] {
                let settings = system.opened_tun(existed);
                let first = settings.first().map(|first| (first.request, first.value));
                assert_eq!(first, Some((0x8004_667e, 1)), "{}", system.name);
                assert!(settings.iter().all(|setting| setting.request >> 16 & 0x1fff == 4), "an int");
            }
        }
    }

    /// Its kernel refuses every flag that it sets itself: duplicated, detached, tentative, and no detection.
    #[test]
    fn addresses_of_netbsd_have_no_flags() {
        let address = Address { local: "fe80::1".parse().unwrap(), peer: None, prefix: 64 };
        let flags = |system: Requests| {
            let (_, argument) = system.add("tun7", &address).unwrap();
            u32::from_ne_bytes(*argument.get(FLAGS6..).unwrap().first_chunk().unwrap())
        };
        assert_eq!((flags(Requests::FREEBSD), flags(Requests::NETBSD)), (0x20, 0));
    }

    #[test]
    fn only_a_new_interface_is_removed_by_closing_it() {
        let transient =
            |existed| Requests::FREEBSD.opened_tun(existed).iter().any(|setting| setting.optional);
        assert!(transient(false) && !transient(true));
    }

    /// Bits 16 to 28 of a request number are the size of its argument, which the kernel copies
    /// (sys/ioccom.h).
    #[test]
    fn argument_size_matches_request_number() {
        let local = |text: &str| Address { local: text.parse().unwrap(), peer: None, prefix: 32 };
        for system in Requests::ALL {
            let length = |request: u64| usize::try_from(request >> 16 & 0x1fff).unwrap();
            for (request, argument) in [
                (system.get_flags, system.named("tun7").unwrap()),
                (system.set_flags, system.flags("tun7", 1).unwrap()),
                (system.get_mtu, system.named("tun7").unwrap()),
                (system.get_domain.unwrap_or(system.get_mtu), system.named("tun7").unwrap()),
                (system.destroy.unwrap_or(system.set_flags), system.named("tun7").unwrap()),
                (system.set_mtu, system.mtu("tun7", 1400).unwrap()),
                system.domain("tun7", 3).unwrap_or_else(|| (system.get_mtu, system.named("tun7").unwrap())),
                system.add("tun7", &local("10.1.2.3")).unwrap(),
                system.delete("tun7", &local("10.1.2.3")).unwrap(),
                system.add("tun7", &local("fe80::1")).unwrap(),
                system.delete("tun7", &local("fe80::1")).unwrap(),
            ] {
                assert_eq!(argument.len(), length(request), "{request:#x} on {}", system.name);
            }
        }
    }

    #[test]
    fn domain_is_at_the_offset_of_the_mtu() {
        assert_eq!(Requests::NETBSD.domain("tun7", 3), None, "NetBSD has one routing table");
        for (system, request) in [(Requests::FREEBSD, 0x8020_695d), (Requests::OPENBSD, 0x8020_699f)] {
            let (number, argument) = system.domain("tun7", 0x0102).unwrap();
            assert_eq!((number, domain_in(&argument)), (request, Some(0x0102)));
            assert_eq!(system.domain("", 3), None);
        }
    }

    #[test]
    fn reads_mtu_and_flags_from_arguments() {
        let argument = Requests::NETBSD.mtu("tun7", 1400).unwrap();
        assert_eq!(mtu_in(&argument), Some(1400));
        let argument = Requests::NETBSD.flags("tun7", 0x8051).unwrap();
        assert_eq!(flags_in(&argument), Some(0x8051));
        assert_eq!(mtu_in(&[0; 19]), None);
    }
}
