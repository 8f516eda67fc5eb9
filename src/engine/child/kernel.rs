//! The path of a call whose packets the kernel moves: frames by the channel and the unit, and the unit's settings.
//!
//! What the unit is to do follows from the session ([`Session::unit`](crate::engine::session::Session::unit)). What ends
//! is set before frames are sent, what begins after it: the kernel has to see a Configure-Ack of CCP before it may encrypt.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::errno::Errno;

use super::{BATCH, DATAGRAM, Engine};
use crate::{
    engine::message::plain,
    failure::{Failure, FailureKind},
    net::transport,
    os::ppp::{self, flag},
    ppp::link::{Link, Unit},
    ppp::wire::{ADDRESS_CONTROL, protocol},
};

/// Most packets of the raw socket that are compared with the first frames of the channel. A server sends one or two
/// before it has got anything from us.
const MOST_EARLY: usize = 16;

/// Rounding of the kernel's idle time.
const IDLE_UNIT: Duration = Duration::from_secs(1);

/// The channel, and what the unit does at present.
pub(super) struct KernelPath {
    channel: OwnedFd,
    is_attached: bool,
    settings: Settings,
    /// When the kernel was asked last whether data packets have come.
    asked: Instant,
    /// The unit's settings have failed; the session ends.
    failed: bool,
}

/// What can be set of a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Settings {
    ipv4: bool,
    ipv6: bool,
    flags: u32,
}

impl Settings {
    fn of(unit: Unit) -> Self {
        let flags = [
            (unit.ccp, flag::CCP_OPEN),
            (unit.ccp_up, flag::CCP_UP),
            (unit.ccp_up && unit.must_encrypt, flag::MUST_COMPRESS),
        ];
        let flags = flags.into_iter().filter(|(wanted, _)| *wanted).fold(0, |all, (_, one)| all | one);
        Self { ipv4: unit.ipv4, ipv6: unit.ipv6, flags }
    }

    /// Returns the settings while frames are sent, on the way to `next`: without what ends, and with CCP.
    const fn before_frames(self, next: Self) -> Self {
        Self {
            ipv4: self.ipv4 && next.ipv4,
            ipv6: self.ipv6 && next.ipv6,
            flags: self.flags & next.flags | next.flags & flag::CCP_OPEN,
        }
    }

    /// Returns the settings without any data packet.
    const fn without_data(self) -> Self {
        Self { ipv4: false, ipv6: false, ..self }
    }
}

impl KernelPath {
    pub fn new(channel: OwnedFd) -> Self {
        Self {
            channel,
            is_attached: false,
            settings: Settings::default(),
            asked: Instant::now(),
            failed: false,
        }
    }

    /// Returns the channel once it has the call. Before that, neither it nor the unit can be polled.
    pub fn readable(&self) -> Option<BorrowedFd<'_>> {
        self.is_attached.then(|| self.channel.as_fd())
    }

    fn set(&mut self, unit: &OwnedFd, next: Settings) -> io::Result<()> {
        let now = self.settings;
        // Data last if it begins, first if it ends.
        let modes = [(protocol::IPV4, now.ipv4, next.ipv4), (protocol::IPV6, now.ipv6, next.ipv6)];
        for (number, _, _) in modes.iter().filter(|(_, before, after)| *before && !after) {
            ppp::set_mode(unit, *number, false)?;
        }
        if now.flags != next.flags {
            ppp::set_flags(unit, next.flags)?;
        }
        for (number, _, _) in modes.iter().filter(|(_, before, after)| !before && *after) {
            ppp::set_mode(unit, *number, true)?;
        }
        self.settings = next;
        Ok(())
    }

    /// Returns whether data packets have come since the last call.
    fn data_came(&mut self, unit: &OwnedFd, now: Instant) -> bool {
        let since = now.saturating_duration_since(std::mem::replace(&mut self.asked, now));
        ppp::data_idle(unit).is_ok_and(|idle| idle < since + IDLE_UNIT)
    }
}

impl Engine {
    /// Begins to use the channel: the supervisor has given it the call.
    pub(super) fn attached(&mut self, now: Instant) {
        let Some(kernel) = &mut self.kernel else { return };
        if std::mem::replace(&mut kernel.is_attached, true) {
            return;
        }
        // Packets that came before the kernel had the call are only here; those that came since are in the channel, too.
        let mut early = Vec::new();
        while early.len() < MOST_EARLY && self.incoming.receive(&self.gre).is_ok() {
            let before = early.len();
            for packet in self.incoming.datagrams().filter_map(transport::strip_ip_header) {
                early.push(packet.to_vec());
                // No IP packet can pass yet.
                self.session.gre_input(now, packet, &mut |_| {});
            }
            if early.len() == before {
                break;
            }
        }
        self.session.attached(now);
        self.read_frames(now, |frame| is_known(&mut early, frame));
    }

    /// Reads the frames that the kernel does not handle itself.
    pub(super) fn receive_frames(&mut self, now: Instant) {
        self.notice_data(now);
        self.read_frames(now, |_| false);
    }

    fn read_frames(&mut self, now: Instant, mut is_known: impl FnMut(&[u8]) -> bool) {
        let mut buffer = [0; DATAGRAM];
        // Alternately, so that none waits for the other; the rest at the next iteration of the loop.
        for _ in 0..BATCH {
            let mut busy = false;
            for from_unit in [false, true] {
                let Some(kernel) = &self.kernel else { return };
                let source = if from_unit { &self.tun } else { &kernel.channel };
                let size = match nix::unistd::read(source, &mut buffer) {
                    Err(Errno::EAGAIN | Errno::EINTR) => continue,
                    // The device was removed, or the channel has ended.
                    Ok(0) => return self.kernel_failed(now, &io::ErrorKind::UnexpectedEof.into()),
                    Ok(size) => size,
                    Err(error) => return self.kernel_failed(now, &error.into()),
                };
                busy = true;
                let Some(frame) = buffer.get_mut(..size) else { return };
                if !is_known(frame) {
                    self.frame_from_kernel(now, frame);
                }
            }
            if !busy {
                break;
            }
        }
    }

    fn frame_from_kernel(&mut self, now: Instant, frame: &mut [u8]) {
        if Link::stops_mppe(frame) {
            // The kernel would send in clear from now on.
            self.set_unit(now, Settings::without_data);
        }
        self.session.frame_input(now, frame);
        // After each frame, since a later one may undo what this one requires.
        self.send_frames(now);
    }

    /// Sets the unit, and sends the frames that wait.
    pub(super) fn send_frames(&mut self, now: Instant) {
        if self.kernel.as_ref().is_none_or(|kernel| !kernel.is_attached || kernel.failed) {
            return;
        }
        let next = Settings::of(self.session.unit());
        self.set_unit(now, |settings| settings.before_frames(next));
        while let Some(frame) = self.session.frame_output(now) {
            self.send_frame(now, &frame);
        }
        let next = Settings::of(self.session.unit());
        self.set_unit(now, |_| next);
    }

    fn send_frame(&mut self, now: Instant, frame: &[u8]) {
        let Some(kernel) = &self.kernel else { return };
        if let Some(start) = self.session.mppe_start(frame)
            && let Err(error) = ppp::set_compressor(&self.tun, start.transmit, start.option, &start.key)
        {
            return self.kernel_failed(now, &error);
        }
        // The kernel puts the address and control bytes in front itself.
        let frame = frame.strip_prefix(&ADDRESS_CONTROL).unwrap_or(frame);
        let to = if is_for_channel(frame) { &kernel.channel } else { &self.tun };
        if let Err(error) = nix::unistd::write(to, frame) {
            // As a packet that the network loses.
            self.outgoing.errors += 1;
            self.outgoing.note(&error.into());
        }
    }

    fn set_unit(&mut self, now: Instant, next: impl FnOnce(Settings) -> Settings) {
        let Some(kernel) = &mut self.kernel else { return };
        let next = next(kernel.settings);
        if next != kernel.settings
            && !kernel.failed
            && let Err(error) = kernel.set(&self.tun, next)
        {
            self.kernel_failed(now, &error);
        }
    }

    /// Reports to the session that data packets have come, if some have: it does not see them.
    pub(super) fn notice_data(&mut self, now: Instant) {
        let Some(kernel) = self.kernel.as_mut().filter(|kernel| kernel.is_attached) else { return };
        if self.session.is_up() && kernel.data_came(&self.tun, now) {
            self.session.data_came(now);
        }
    }

    fn kernel_failed(&mut self, now: Instant, error: &io::Error) {
        if let Some(kernel) = &mut self.kernel {
            // It would stay readable.
            (kernel.failed, kernel.is_attached) = (true, false);
        }
        let words = format!("the kernel's PPP unit: {error}");
        self.session.fail(now, Failure::new(self.session.phase(), FailureKind::LinkStep, plain(&words)));
    }
}

/// Returns whether a frame goes by the channel: those of LCP and authentication do, as the kernel receives them there.
fn is_for_channel(frame: &[u8]) -> bool {
    frame.first().is_some_and(|first| *first >= 0xc0)
}

/// Returns whether a frame came by the raw socket, too; each packet counts once. Compares the end, since the packet has
/// more in front.
fn is_known(early: &mut Vec<Vec<u8>>, frame: &[u8]) -> bool {
    let found = early.iter().position(|packet| packet.ends_with(frame));
    found.map(|at| early.swap_remove(at)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: Unit = Unit { ipv4: true, ipv6: false, ccp: true, ccp_up: true, must_encrypt: true };

    #[test]
    fn encryption_is_in_force_before_data_passes_and_after_the_frames() {
        let (off, on) = (Settings::default(), Settings::of(UNIT));
        assert_eq!(on.flags, flag::CCP_OPEN | flag::CCP_UP | flag::MUST_COMPRESS);
        // The Configure-Ack that begins it must pass with CCP open and not yet up.
        assert_eq!(off.before_frames(on), Settings { flags: flag::CCP_OPEN, ..off });
        // A renegotiation: data ends first.
        let renegotiating = Settings::of(Unit { ipv4: false, ccp_up: false, ..UNIT });
        assert_eq!(on.before_frames(renegotiating), Settings { flags: flag::CCP_OPEN, ..off });
        assert_eq!(on.before_frames(off), off);
        assert_eq!(on.before_frames(on), on);
        assert_eq!(on.without_data(), Settings { flags: on.flags, ..off });
    }

    #[test]
    fn clear_link_needs_no_flags() {
        let clear = Unit { ccp: false, ccp_up: false, must_encrypt: false, ipv6: true, ..UNIT };
        assert_eq!(Settings::of(clear), Settings { ipv4: true, ipv6: true, flags: 0 });
    }

    #[test]
    fn frames_of_lcp_and_authentication_go_by_the_channel() {
        let goes = |number: u16| is_for_channel(&number.to_be_bytes());
        assert!([protocol::LCP, protocol::PAP, protocol::CHAP].into_iter().all(goes));
        assert!(![protocol::CCP, protocol::IPCP, protocol::IPV6CP].into_iter().any(goes));
        assert!(!is_for_channel(&[]));
    }

    #[test]
    fn frame_that_came_twice_is_taken_once() {
        let mut early = vec![vec![0x30, 0x81, 0xff, 3, 0xc0, 0x21, 1, 1], vec![0xff, 3, 0xc0, 0x21, 1, 2]];
        assert!(is_known(&mut early, &[0xc0, 0x21, 1, 2]));
        assert!(!is_known(&mut early, &[0xc0, 0x21, 1, 2]), "a retransmission");
        assert!(is_known(&mut early, &[0xc0, 0x21, 1, 1]));
        assert!(!is_known(&mut early, &[0xc0, 0x21, 1, 3]));
    }
}
