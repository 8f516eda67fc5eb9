//! The server's side of one call: flow, link, and a tun device once the link is up.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
    os::fd::{AsFd, BorrowedFd},
    time::Instant,
};

use super::gre_socket::GreSocket;
use crate::{
    deadline::{Deadline, earliest},
    demo::config::{Fault, ServerConfig},
    net::{
        kernel::Kernel,
        packets::PacketIo,
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

/// Most packets read from the tun device at a time, so that one call does not delay the others.
const BATCH: usize = 64;

pub(super) struct Call {
    /// Number of its control connection.
    pub connection: u64,
    /// Address assigned to the client.
    pub address: Ipv4Addr,
    flow: Flow,
    link: Link,
    device: Option<Device>,
    trouble: Option<Fault>,
    /// Packets that arrived before there was a tun device.
    too_early: u64,
}

/// The call's tun device.
struct Device {
    tun: Tun,
    packets: PacketIo,
}

impl Call {
    /// Returns a call that is up, and opens its link.
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
        Self { connection, address, flow, link, device: None, trouble: orders.trouble, too_early: 0 }
    }

    /// Shows the packets that [`Call::receive`] gets next, among others.
    pub fn expect<'a>(&mut self, packets: impl Iterator<Item = &'a [u8]>) {
        self.link.expect_frames(self.flow.in_order(packets));
    }

    /// Takes a GRE packet without its IP header.
    pub fn receive(&mut self, now: Instant, packet: &mut [u8]) {
        let Self { flow, link, device, trouble, too_early, .. } = self;
        let taken = flow.receive(now, packet, &mut |frame| {
            deliver(now, link, device.as_mut(), *trouble, too_early, frame);
        });
        if let Err(drop) = taken {
            tracing::debug!("call of {}: dropped: {drop:?}", self.address);
        }
    }

    /// Runs expired timers.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Self { flow, link, device, trouble, too_early, .. } = self;
        flow.handle_timeout(now, &mut |frame| {
            deliver(now, link, device.as_mut(), *trouble, too_early, frame);
        });
        link.handle_timeout(now);
        self.flush_tun();
    }

    /// Writes the packets that the device holds back.
    pub fn flush_tun(&mut self) {
        if let Some(Device { tun, packets }) = &mut self.device {
            packets.flush(&tun.fd);
        }
    }

    /// Returns when [`Call::handle_timeout`] is due.
    pub fn next_timeout(&self) -> Option<Deadline> {
        earliest([self.flow.next_timeout(), self.link.next_timeout()])
    }

    /// Returns the descriptor for packets to the client; `None` until the link is up.
    pub fn tun(&self) -> Option<BorrowedFd<'_>> {
        self.device.as_ref().map(|device| device.tun.fd.as_fd())
    }

    /// Reads packets from the tun device and sends them as GRE packets.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn receive_tun(&mut self, now: Instant, gre: &mut GreSocket, peer: Ipv4Addr) -> io::Result<()> {
        let Self { device: Some(Device { tun, packets }), flow, link, .. } = self else { return Ok(()) };
        let join = link.is_sealing_ahead();
        packets.receive_runs(&tun.fd, BATCH, join, |run| {
            if join {
                link.expect_packets(run.lengths());
            }
            while let Some(ip) = run.next_packet() {
                gre.send(now, peer, |out| {
                    // The link counts the packets that it rejects.
                    let length = link.encapsulate(ip, out.get_mut(MAX_HEADER..)?).ok()?;
                    flow.put_header(now, length, out)
                });
            }
        })?;
        gre.flush();
        Ok(())
    }

    /// Writes the next GRE packet without user data to `out`: a PPP control frame or an acknowledgement.
    pub fn output(&mut self, now: Instant, out: &mut [u8]) -> Option<Range<usize>> {
        while let Some(mut frame) = self.link.poll_output() {
            if self.trouble == Some(Fault::WrongProof) {
                corrupt_proof(&mut frame);
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

    pub fn poll_event(&mut self) -> Option<link::LinkEvent> {
        self.link.poll_event()
    }

    /// Creates the call's tun device. A link that comes up again keeps the existing one.
    ///
    /// # Errors
    /// Returns a description of what failed.
    pub fn up(&mut self, kernel: &mut Kernel, up: &LinkUp) -> Result<(), String> {
        if self.device.is_none() {
            let tun = tun::open(None).map_err(|error| error.to_string())?;
            let address =
                Address { local: IpAddr::V4(up.local), peer: Some(IpAddr::V4(up.peer)), prefix: 32 };
            #[cfg(target_os = "linux")]
            kernel.no_automatic_ipv6(&tun.name).map_err(|error| error.to_string())?;
            kernel
                .add_address(&tun.name, &address)
                .and_then(|()| kernel.set_up(&tun.name, true))
                .map_err(|error| error.to_string())?;
            self.device = Some(Device { packets: PacketIo::new(&tun.fd), tun });
        }
        let name = self.device.as_ref().map_or("", |device| device.tun.name.as_str());
        kernel.set_mtu(name, u32::from(up.mtu)).map_err(|error| error.to_string())?;
        up.ipv6.map_or(Ok(()), |ids| self.ipv6_up(kernel, ids))
    }

    /// Assigns the device its link-local address (RFC 5072 §5).
    ///
    /// # Errors
    /// Returns a description of what failed.
    pub fn ipv6_up(&mut self, kernel: &mut Kernel, ids: InterfaceIds) -> Result<(), String> {
        let Some(Device { tun, .. }) = &self.device else { return Ok(()) };
        let address = |id: [u8; 8]| {
            let bits = (0xfe80_u128 << 112) | u128::from(u64::from_be_bytes(id));
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        };
        let address = Address { local: address(ids.local), peer: Some(address(ids.peer)), prefix: 64 };
        match kernel.add_address(&tun.name, &address) {
            Err(error) if !error.is_present() => Err(error.to_string()),
            _ => Ok(()),
        }
    }

    /// Closes the call's tun device, and returns its name and index.
    pub fn close_tun(&mut self) -> Option<(String, u32)> {
        self.device.take().map(|device| (device.tun.name, device.tun.index))
    }

    /// Reports that GRE no longer passes.
    pub fn lower_down(&mut self, now: Instant) {
        self.link.lower_down(now);
    }

    /// Returns the counters that are not zero, for diagnosis.
    pub fn counted(&self) -> String {
        let flow: Vec<_> = self.flow.counters().named().into_iter().filter(|(_, n)| *n > 0).collect();
        let refused = self.device.as_ref().map_or(0, |device| device.packets.refused());
        format!("{flow:?} {:?} tun_refused {}", self.link.counters(), self.too_early + refused)
    }
}

fn deliver(
    now: Instant,
    link: &mut Link,
    device: Option<&mut Device>,
    trouble: Option<Fault>,
    too_early: &mut u64,
    frame: &mut [u8],
) {
    let lost = match trouble {
        Some(Fault::DeafLcp) => true,
        Some(Fault::DeafAuth) => {
            wire::split(frame).is_ok_and(|(number, _)| matches!(number, protocol::PAP | protocol::CHAP))
        }
        Some(Fault::DeafCcp) => wire::split(frame).is_ok_and(|(number, _)| number == protocol::CCP),
        Some(Fault::NoIpcp) => wire::split(frame).is_ok_and(|(number, _)| number == protocol::IPCP),
        _ => false,
    };
    if lost {
        return;
    }
    if let Received::Ip(ip) = link.handle_input(now, frame) {
        match device {
            Some(Device { tun, packets }) => packets.send(&tun.fd, ip),
            None => *too_early += 1,
        }
    }
}

/// Changes the first digit of the authenticator response in an MS-CHAPv2 Success, `S=` and forty digits (RFC
/// 2759 §5).
fn corrupt_proof(frame: &mut [u8]) {
    if let Ok((protocol::CHAP, [CHAP_SUCCESS, _, _, _, b'S', b'=', digit, ..])) = wire::split(frame) {
        *digit = if *digit == b'0' { b'1' } else { b'0' };
    }
}

fn link_config(orders: &ServerConfig, address: Ipv4Addr) -> link::LinkConfig {
    let users = orders.users.iter().map(|(name, password)| (name.clone(), Secret::from(password.as_str())));
    // Failure after earlier successes is not expected, and sending zeros is worse than aborting.
    let random = Box::new(|bytes: &mut [u8]| {
        if getrandom::fill(bytes).is_err() {
            std::process::abort();
        }
    });
    let users = Users::table(users.collect());
    let mut config = link::LinkConfig::server(&orders.host_name, users, orders.inner, address, random);
    if let link::Role::Server(server) = &mut config.role {
        server.dns.clone_from(&orders.dns);
        server.insists = orders.trouble != Some(Fault::GivesUpAuth);
    }
    config.accept.clone_from(&orders.auth);
    config.mppe = orders.mppe;
    config.ipv6 = orders.ipv6;
    config
}
