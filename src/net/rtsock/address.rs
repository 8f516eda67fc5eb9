//! The socket addresses that follow a header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Layout;

/// AF_INET.
const INET: u8 = 2;

/// AF_LINK.
const LINK: u8 = 18;

/// RTLABEL_LEN, including the terminating NUL.
const LABEL: usize = 32;

/// The maximum length of a label, in bytes.
pub(super) const MAX_LABEL: usize = LABEL - 1;

/// The next hop of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// A router, or the peer of a point-to-point link.
    Address(IpAddr),
    /// The link itself, by interface index; 0 if the address has none.
    Link(u16),
    /// The link itself, by an address of this host (OpenBSD, in requests): the gateway of a route without
    /// RTF_GATEWAY. There a link address would make the route an ARP entry (RTF_LLINFO).
    Own(IpAddr),
}

/// The kinds of socket addresses in a message, by index (RTAX_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressSlot {
    Dest = 0,
    Gateway = 1,
    Netmask = 2,
    Interface = 4,
    InterfaceAddress = 5,
    /// The peer or broadcast address, in messages about interface addresses.
    Broadcast = 7,
    Label = 10,
}

impl AddressSlot {
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Encodes socket addresses, which must be added in the order of [`AddressSlot`].
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
    pub(super) places: u32,
}

impl Writer {
    fn put(&mut self, layout: &Layout, place: AddressSlot, address: &[u8]) {
        debug_assert!(self.places < place.bit(), "in the order of their bits");
        let end = self.bytes.len() + layout.rounded(address.len());
        self.bytes.extend_from_slice(address);
        self.bytes.resize(end, 0);
        self.places |= place.bit();
    }

    /// Adds an IP address. `scope` is the interface index of a link-local address; 0 for none.
    pub(super) fn ip(&mut self, layout: &Layout, place: AddressSlot, address: IpAddr, scope: u16) {
        match address {
            IpAddr::V4(address) => {
                let mut bytes = vec![16, INET, 0, 0];
                bytes.extend(address.octets());
                bytes.resize(16, 0);
                self.put(layout, place, &bytes);
            }
            IpAddr::V6(address) => {
                let scope = if is_link_local(&address) { u32::from(scope) } else { 0 };
                let mut bytes = vec![28, layout.inet6, 0, 0, 0, 0, 0, 0];
                bytes.extend(address.octets());
                bytes.extend(scope.to_ne_bytes());
                self.put(layout, place, &bytes);
            }
        }
    }

    /// Adds an interface, by index; 0 asks the kernel to fill it in.
    pub(super) fn link(&mut self, layout: &Layout, place: AddressSlot, index: u16) {
        let mut bytes = vec![0; layout.link_size];
        let [a, b] = index.to_ne_bytes();
        let head = [u8::try_from(layout.link_size).unwrap_or(u8::MAX), LINK, a, b];
        bytes.splice(..head.len(), head);
        self.put(layout, place, &bytes);
    }

    /// Adds a `struct sockaddr_rtlabel`; returns `None` if the label does not fit.
    pub(super) fn label(&mut self, layout: &Layout, label: &str) -> Option<()> {
        if !layout.labels || label.len() > MAX_LABEL || label.contains('\0') {
            return None;
        }
        let mut bytes = vec![34, 0];
        bytes.extend_from_slice(label.as_bytes());
        bytes.resize(2 + LABEL, 0);
        self.put(layout, AddressSlot::Label, &bytes);
        Some(())
    }
}

/// Splits the bytes after a header into socket addresses; returns `None` if one runs past the end.
pub(super) fn split_addresses<'a>(layout: &Layout, places: u32, mut rest: &'a [u8]) -> Option<Addresses<'a>> {
    let mut found = Addresses { bytes: [None; 16], inet6: layout.inet6 };
    let known = found.bytes.len();
    for place in 0..layout.max_addresses.min(u32::try_from(known).unwrap_or(0)) {
        if places & (1 << place) == 0 {
            continue;
        }
        let length = usize::from(*rest.first()?);
        // The last address may be without padding.
        let address = rest.get(..length)?;
        if let Some(slot) = found.bytes.get_mut(usize::try_from(place).unwrap_or(usize::MAX)) {
            *slot = Some(address);
        }
        rest = rest.get(layout.rounded(length)..).unwrap_or_default();
    }
    Some(found)
}

/// The socket addresses of a message, by [`AddressSlot`].
#[derive(Debug)]
pub(super) struct Addresses<'a> {
    bytes: [Option<&'a [u8]>; 16],
    inet6: u8,
}

impl Addresses<'_> {
    fn at(&self, place: AddressSlot) -> Option<&[u8]> {
        self.bytes.get(place as usize).copied().flatten()
    }

    pub(super) fn ip(&self, place: AddressSlot) -> Option<IpAddr> {
        let bytes = self.at(place)?;
        match *bytes.get(1)? {
            INET => Some(IpAddr::V4(Ipv4Addr::from(octets::<4>(bytes, 4)))),
            family if family == self.inet6 => {
                let mut octets = octets::<16>(bytes, 8);
                if is_link_local(&Ipv6Addr::from(octets)) {
                    // KAME kernels embed the interface index in bytes 2 and 3 of the address.
                    let [_, _, a, b, ..] = &mut octets;
                    (*a, *b) = (0, 0);
                }
                Some(IpAddr::V6(Ipv6Addr::from(octets)))
            }
            _ => None,
        }
    }

    /// Returns the destination prefix; `host` means that there is no netmask.
    pub(super) fn prefix(&self, host: bool) -> Option<IpNet> {
        let address = self.ip(AddressSlot::Dest)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = match self.at(AddressSlot::Netmask) {
            _ if host => most,
            Some(mask) => self.mask_length(mask, address.is_ipv6())?,
            None if address.is_unspecified() => 0,
            None => most,
        };
        IpNet::new(address, length).ok()
    }

    /// Returns the length of a netmask, `None` if it is not contiguous. Kernels leave its family empty and
    /// cut off trailing zeros.
    fn mask_length(&self, mask: &[u8], ipv6: bool) -> Option<u8> {
        let bits = if ipv6 {
            u128::from_be_bytes(octets(mask, 8))
        } else {
            u128::from(u32::from_be_bytes(octets(mask, 4))) << 96
        };
        let ones = bits.leading_ones();
        (bits.count_ones() == ones).then(|| u8::try_from(ones).unwrap_or(u8::MAX))
    }

    pub(super) fn netmask_length(&self, address: IpAddr) -> Option<u8> {
        self.mask_length(self.at(AddressSlot::Netmask)?, address.is_ipv6())
    }

    pub(super) fn gateway(&self) -> Option<Gateway> {
        match self.link(AddressSlot::Gateway) {
            Some((index, _)) => Some(Gateway::Link(index)),
            None => self.ip(AddressSlot::Gateway).map(Gateway::Address),
        }
    }

    /// Returns the index and name of an interface; the index may be 0, the name empty.
    pub(super) fn link(&self, place: AddressSlot) -> Option<(u16, String)> {
        let bytes = self.at(place)?;
        if *bytes.get(1)? != LINK {
            return None;
        }
        let index = u16::from_ne_bytes(octets(bytes, 2));
        let length = usize::from(bytes.get(5).copied().unwrap_or(0));
        let name = bytes.get(8..8 + length).unwrap_or_default();
        // Ignore a name with invalid characters.
        let name = if name.iter().all(u8::is_ascii_graphic) { name } else { &[] };
        Some((index, String::from_utf8_lossy(name).into_owned()))
    }

    pub(super) fn label(&self) -> Option<String> {
        let text = self.at(AddressSlot::Label)?.get(2..)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned()).filter(|label| !label.is_empty())
    }
}

/// Returns `N` bytes from an offset; bytes past the end are 0.
fn octets<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut octets = [0; N];
    for (to, from) in octets.iter_mut().zip(bytes.get(at..).unwrap_or_default()) {
        *to = *from;
    }
    octets
}

const fn is_link_local(address: &Ipv6Addr) -> bool {
    address.is_unicast_link_local()
}
