//! One call on the server's side: flow, link, and a tun device once the link is up.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
    os::fd::{AsFd, BorrowedFd},
    time::Instant,
};

use crate::{
    demo::config::{Fault, ServerConfig},
    net::{
        netlink::Netlink,
        packets,
        routes::Address,
        tun::{self, Tun},
    },
    ppp::{
        auth::Users,
        link::{self, InterfaceIds, Link, LinkUp, Received},
        wire::{self, protocol},
    },
    pptp::{
        flow::{Flow, FlowConfig},
        gre::MAX_HEADER,
    },
    secret::Secret,
};

/// The code of a CHAP Success (RFC 1994 §4.2).
const CHAP_SUCCESS: u8 = 3;

/// Packets from the tun device at a time, so that one call does not keep the others waiting.
const BATCH: usize = 64;

/// One call.
pub(super) struct Call {
    /// The control connection that it belongs to.
    pub connection: u64,
    /// What the client was given.
    pub address: Ipv4Addr,
    flow: Flow,
    link: Link,
    tun: Option<Tun>,
    trouble: Option<Fault>,
    /// Packets that our own kernel did not take.
    tun_refused: u64,
}

impl Call {
    /// A call that is up, with its link opened.
    pub fn new(
        orders: &ServerConfig,
        connection: u64,
        ids: (u16, u16),
        window: u16,
        address: Ipv4Addr,
        now: Instant,
    ) -> Self {
        let (local, peer) = ids;
        let mut link = Link::new(link_config(orders, address), now);
        if orders.trouble != Some(Fault::MuteLcp) {
            link.open(now);
        }
        let flow = Flow::new(FlowConfig { window, ..FlowConfig::new(local, peer) }, now);
        Self { connection, address, flow, link, tun: None, trouble: orders.trouble, tun_refused: 0 }
    }

    /// A GRE packet without its IP header.
    pub fn receive(&mut self, now: Instant, packet: &mut [u8]) {
        let Self { flow, link, tun, trouble, tun_refused, .. } = self;
        let taken = flow.receive(now, packet, &mut |frame| {
            deliver(now, link, tun.as_ref(), *trouble, tun_refused, frame);
        });
        if let Err(drop) = taken {
            tracing::debug!("call of {}: dropped: {drop:?}", self.address);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Self { flow, link, tun, trouble, tun_refused, .. } = self;
        flow.handle_timeout(now, &mut |frame| {
            deliver(now, link, tun.as_ref(), *trouble, tun_refused, frame);
        });
        link.handle_timeout(now);
    }

    /// When [`Call::handle_timeout`] is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        let flow = self.flow.next_timeout().map(|(at, _)| at);
        let link = self.link.next_timeout().map(|(at, _)| at);
        flow.into_iter().chain(link).min()
    }

    /// What to wait on for packets to the client, while they may flow.
    pub fn tun(&self) -> Option<BorrowedFd<'_>> {
        self.tun.as_ref().map(|tun| tun.fd.as_fd())
    }

    /// Takes packets from the tun device and hands them on as GRE packets.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn receive_tun(&mut self, now: Instant, mut send: impl FnMut(&[u8])) -> io::Result<()> {
        let Some(tun) = &self.tun else { return Ok(()) };
        let mut packet = [0; 2048];
        let mut out = [0; 2048 + MAX_HEADER + Link::FRAME_OVERHEAD];
        for _ in 0..BATCH {
            let Some(size) = packets::receive(&tun.fd, &mut packet)? else { break };
            let (Some(ip), Some(frame)) = (packet.get(..size), out.get_mut(MAX_HEADER..)) else { break };
            // What the link does not take, it has counted.
            let Ok(length) = self.link.encapsulate(ip, frame) else { continue };
            if let Some(range) = self.flow.put_header(now, length, &mut out) {
                send(out.get(range).unwrap_or_default());
            }
        }
        Ok(())
    }

    /// The next GRE packet that is no data: a control frame, or a lone acknowledgement.
    pub fn output(&mut self, now: Instant, out: &mut [u8]) -> Option<Range<usize>> {
        while let Some(mut frame) = self.link.poll_output() {
            if self.trouble == Some(Fault::WrongProof) {
                bend_proof(&mut frame);
            }
            if let Some(place) = out.get_mut(MAX_HEADER..MAX_HEADER + frame.len()) {
                place.copy_from_slice(&frame);
                if let Some(range) = self.flow.put_header(now, frame.len(), out) {
                    return Some(range);
                }
            }
        }
        let ack = self.flow.poll_ack(now)?;
        out.get_mut(..ack.len())?.copy_from_slice(&ack);
        Some(0..ack.len())
    }

    /// What the link reports.
    pub fn poll_event(&mut self) -> Option<link::LinkEvent> {
        self.link.poll_event()
    }

    /// Gives the call a device. A link that comes up again keeps the one that it has.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn up(&mut self, netlink: &mut Netlink, up: &LinkUp) -> Result<(), String> {
        if self.tun.is_none() {
            let tun = tun::open(None).map_err(|error| error.to_string())?;
            let address =
                Address { local: IpAddr::V4(up.local), peer: Some(IpAddr::V4(up.peer)), prefix: 32 };
            netlink
                .no_automatic_ipv6(&tun.name)
                .and_then(|()| netlink.add_address(&tun.name, &address))
                .and_then(|()| netlink.set_up(&tun.name, true))
                .map_err(|error| error.to_string())?;
            self.tun = Some(tun);
        }
        let name = self.tun.as_ref().map_or("", |tun| tun.name.as_str());
        netlink.set_mtu(name, u32::from(up.mtu)).map_err(|error| error.to_string())?;
        up.ipv6.map_or(Ok(()), |ids| self.ipv6_up(netlink, ids))
    }

    /// Gives the device its link-local address (RFC 5072 §5).
    ///
    /// # Errors
    /// Why it has none, in words.
    pub fn ipv6_up(&mut self, netlink: &mut Netlink, ids: InterfaceIds) -> Result<(), String> {
        let Some(tun) = &self.tun else { return Ok(()) };
        let address = |id: [u8; 8]| {
            let bits = (0xfe80_u128 << 112) | u128::from(u64::from_be_bytes(id));
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        };
        let address = Address { local: address(ids.local), peer: Some(address(ids.peer)), prefix: 64 };
        match netlink.add_address(&tun.name, &address) {
            Err(error) if !error.is_present() => Err(error.to_string()),
            _ => Ok(()),
        }
    }

    /// GRE must not flow any more.
    pub fn lower_down(&mut self, now: Instant) {
        self.link.lower_down(now);
    }

    /// What was counted and is not zero, for the one who looks for a fault.
    pub fn counted(&self) -> String {
        let flow: Vec<_> = self.flow.counters().named().into_iter().filter(|(_, n)| *n > 0).collect();
        format!("{flow:?} {:?} tun_refused {}", self.link.counters(), self.tun_refused)
    }
}

fn deliver(
    now: Instant,
    link: &mut Link,
    tun: Option<&Tun>,
    trouble: Option<Fault>,
    refused: &mut u64,
    frame: &mut [u8],
) {
    let lost = match trouble {
        Some(Fault::DeafLcp) => true,
        Some(Fault::DeafAuth) => {
            wire::split(frame).is_ok_and(|(number, _)| matches!(number, protocol::PAP | protocol::CHAP))
        }
        Some(Fault::NoIpcp) => wire::split(frame).is_ok_and(|(number, _)| number == protocol::IPCP),
        _ => false,
    };
    if lost {
        return;
    }
    if let Received::Ip(ip) = link.handle_input(now, frame)
        && !tun.is_some_and(|tun| packets::send(&tun.fd, ip))
    {
        *refused += 1;
    }
}

/// Changes the first digit of the proof in an MS-CHAPv2 Success, `S=` and forty digits (RFC 2759 §5).
fn bend_proof(frame: &mut [u8]) {
    if let Ok((protocol::CHAP, [CHAP_SUCCESS, _, _, _, b'S', b'=', digit, ..])) = wire::split(frame) {
        *digit = if *digit == b'0' { b'1' } else { b'0' };
    }
}

fn link_config(orders: &ServerConfig, address: Ipv4Addr) -> link::LinkConfig {
    let users = orders.users.iter().map(|(name, password)| (name.clone(), Secret::from(password.as_str())));
    // If the system has no random bytes now, it had some a moment ago: zeros would be worse than an end.
    let random = Box::new(|bytes: &mut [u8]| {
        if getrandom::fill(bytes).is_err() {
            std::process::abort();
        }
    });
    let users = Users::table(users.collect());
    let mut config = link::LinkConfig::server(&orders.host_name, users, orders.inner, address, random);
    if let link::Role::Server(server) = &mut config.role {
        server.dns.clone_from(&orders.dns);
    }
    config.accept.clone_from(&orders.auth);
    config.mppe = orders.mppe;
    config.ipv6 = orders.ipv6;
    config
}
