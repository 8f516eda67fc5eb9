//! Socket addresses as they stand behind a header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Layout;

/// AF_INET.
const INET: u8 = 2;

/// AF_LINK.
const LINK: u8 = 18;

/// RTLABEL_LEN, with the byte that ends it.
const LABEL: usize = 32;

/// The longest label, in bytes.
pub(super) const LONGEST_LABEL: usize = LABEL - 1;

/// Where packets of a route go next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// A router, or the other end of a point-to-point link.
    Address(IpAddr),
    /// The link itself, by the number of its interface; 0 when the address names none.
    Link(u16),
}

/// The places of socket addresses, in the order of their bits (RTAX_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Dest = 0,
    Gateway = 1,
    Netmask = 2,
    Interface = 4,
    InterfaceAddress = 5,
    /// The other end, in messages about addresses.
    Broadcast = 7,
    Label = 10,
}

impl Place {
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Socket addresses in the order in which they are written.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
    pub(super) places: u32,
}

impl Writer {
    fn put(&mut self, layout: &Layout, place: Place, address: &[u8]) {
        debug_assert!(self.places < place.bit(), "in the order of their bits");
        let end = self.bytes.len() + layout.rounded(address.len());
        self.bytes.extend_from_slice(address);
        self.bytes.resize(end, 0);
        self.places |= place.bit();
    }

    /// An IP address. A link-local one is of this interface, if one is given.
    pub(super) fn ip(&mut self, layout: &Layout, place: Place, address: IpAddr, scope: u16) {
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

    /// An interface, by number; 0 asks the kernel to fill it in.
    pub(super) fn link(&mut self, layout: &Layout, place: Place, index: u16) {
        let mut bytes = vec![0; layout.link_size];
        let [a, b] = index.to_ne_bytes();
        let head = [u8::try_from(layout.link_size).unwrap_or(u8::MAX), LINK, a, b];
        bytes.splice(..head.len(), head);
        self.put(layout, place, &bytes);
    }

    /// `struct sockaddr_rtlabel`; `None` when the label does not fit.
    pub(super) fn label(&mut self, layout: &Layout, label: &str) -> Option<()> {
        if !layout.labels || label.len() > LONGEST_LABEL || label.contains('\0') {
            return None;
        }
        let mut bytes = vec![34, 0];
        bytes.extend_from_slice(label.as_bytes());
        bytes.resize(2 + LABEL, 0);
        self.put(layout, Place::Label, &bytes);
        Some(())
    }
}

/// The socket addresses behind a header, by place; `None` when they run past the end.
pub(super) fn split<'a>(layout: &Layout, places: u32, mut rest: &'a [u8]) -> Option<Addresses<'a>> {
    let mut found = Addresses { bytes: [None; 16], inet6: layout.inet6 };
    let known = found.bytes.len();
    for place in 0..layout.most_addresses.min(u32::try_from(known).unwrap_or(0)) {
        if places & (1 << place) == 0 {
            continue;
        }
        let length = usize::from(*rest.first()?);
        // The last one need not be padded.
        let address = rest.get(..length)?;
        if let Some(slot) = found.bytes.get_mut(usize::try_from(place).unwrap_or(usize::MAX)) {
            *slot = Some(address);
        }
        rest = rest.get(layout.rounded(length)..).unwrap_or_default();
    }
    Some(found)
}

/// What [`split`] has found.
#[derive(Debug)]
pub(super) struct Addresses<'a> {
    bytes: [Option<&'a [u8]>; 16],
    inet6: u8,
}

impl Addresses<'_> {
    fn at(&self, place: Place) -> Option<&[u8]> {
        self.bytes.get(place as usize).copied().flatten()
    }

    /// An IP address there.
    pub(super) fn ip(&self, place: Place) -> Option<IpAddr> {
        let bytes = self.at(place)?;
        match *bytes.get(1)? {
            INET => Some(IpAddr::V4(Ipv4Addr::from(octets::<4>(bytes, 4)))),
            family if family == self.inet6 => {
                let mut octets = octets::<16>(bytes, 8);
                if is_link_local(&Ipv6Addr::from(octets)) {
                    // Some kernels keep the number of the interface in the address itself (KAME).
                    let [_, _, a, b, ..] = &mut octets;
                    (*a, *b) = (0, 0);
                }
                Some(IpAddr::V6(Ipv6Addr::from(octets)))
            }
            _ => None,
        }
    }

    /// The prefix of a destination and its mask.
    pub(super) fn prefix(&self, host: bool) -> Option<IpNet> {
        let address = self.ip(Place::Dest)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = match self.at(Place::Netmask) {
            _ if host => most,
            Some(mask) => self.mask_length(mask, address.is_ipv6())?,
            None if address.is_unspecified() => 0,
            None => most,
        };
        IpNet::new(address, length).ok()
    }

    /// The length of a mask, by the family of the address beside it: kernels leave the family of a mask empty
    /// and cut trailing zeros off. `None` when it has holes.
    fn mask_length(&self, mask: &[u8], ipv6: bool) -> Option<u8> {
        let bits = if ipv6 {
            u128::from_be_bytes(octets(mask, 8))
        } else {
            u128::from(u32::from_be_bytes(octets(mask, 4))) << 96
        };
        let ones = bits.leading_ones();
        (bits.count_ones() == ones).then(|| u8::try_from(ones).unwrap_or(u8::MAX))
    }

    /// The length of the mask beside an address of an interface.
    pub(super) fn mask_beside(&self, address: IpAddr) -> Option<u8> {
        self.mask_length(self.at(Place::Netmask)?, address.is_ipv6())
    }

    /// A gateway.
    pub(super) fn gateway(&self) -> Option<Gateway> {
        match self.link(Place::Gateway) {
            Some((index, _)) => Some(Gateway::Link(index)),
            None => self.ip(Place::Gateway).map(Gateway::Address),
        }
    }

    /// An interface: number and name, of which either may be empty.
    pub(super) fn link(&self, place: Place) -> Option<(u16, String)> {
        let bytes = self.at(place)?;
        if *bytes.get(1)? != LINK {
            return None;
        }
        let index = u16::from_ne_bytes(octets(bytes, 2));
        let length = usize::from(bytes.get(5).copied().unwrap_or(0));
        let name = bytes.get(8..8 + length).unwrap_or_default();
        // What is no name of an interface is none.
        let name = if name.iter().all(u8::is_ascii_graphic) { name } else { &[] };
        Some((index, String::from_utf8_lossy(name).into_owned()))
    }

    /// A label.
    pub(super) fn label(&self) -> Option<String> {
        let text = self.at(Place::Label)?.get(2..)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned()).filter(|label| !label.is_empty())
    }
}

/// `N` bytes from an offset; what is behind the end counts as 0.
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
