//! Serves a fuzzed session as the loop of the engine process does: output, events, timeouts, then a wait.

use std::time::Duration;

use super::{Run, server::push};
use crate::pptp::fuzzing::ensure;

/// Most packets that a session may have ready at once.
const MAX_BURST: usize = 256;
/// Turns of the loop until it waits.
const MAX_TURNS: usize = 8;
/// Most timeouts in one step of time, of both ends.
const MAX_TIMEOUTS: usize = 4096;
/// Most bytes for a daemon's pty.
const MAX_PTY: usize = 256 * 1024;

impl Run {
    /// Handles output, events and timeouts that are due, until the loop would wait.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        for _ in 0..MAX_TURNS {
            // The process exits with its session.
            if self.checks.is_over() {
                return Ok(());
            }
            self.flush()?;
            while let Some(event) = self.client.poll_event() {
                self.checks.event(self.now, event)?;
            }
            self.take_from_server()?;
            if self.checks.is_over() {
                return Ok(());
            }
            if self.client.next_timeout().is_none_or(|(at, _)| at > self.now) {
                let left = self.client.gre_output(self.now, &mut self.out);
                if let Some(range) = left {
                    let packet = self.out.get(range).unwrap_or_default();
                    return Err(format!("a packet waits for the next wake-up: {packet:02x?}"));
                }
                return self.checks.at_rest(&self.client, self.now);
            }
            let mut passed = Vec::new();
            self.client.handle_timeout(self.now, &mut |ip| passed.push(ip.to_vec()));
            self.take_ip(&passed)?;
        }
        Err(format!("the loop spins: {:?}", self.client.next_timeout().map(|(_, name)| name)))
    }

    fn flush(&mut self) -> Result<(), String> {
        for count in 0.. {
            let Some(range) = self.client.gre_output(self.now, &mut self.out) else { break };
            let packet = self.out.get(range).unwrap_or_default();
            self.checks.sent(packet, self.client.call.as_ref())?;
            push(&mut self.gre, packet.to_vec());
            ensure(count < MAX_BURST, "packets to send without end")?;
        }
        self.client.after(self.now);
        ensure(self.client.pty_output().len() < MAX_PTY, "the output to the pty grows")?;
        if !self.blocked {
            let bytes = self.client.tcp_output();
            let count = bytes.len();
            self.tcp.extend_from_slice(bytes);
            self.client.tcp_sent(count);
        }
        Ok(())
    }

    fn take_from_server(&mut self) -> Result<(), String> {
        for packet in std::mem::take(&mut self.server.received) {
            self.checks.at_server(&packet)?;
            self.passed[0] = true;
        }
        Ok(())
    }

    /// Passes an IP packet from the tun device, which the loop reads only while the link is up.
    pub(super) fn read_tun(&mut self, length: usize) -> Result<(), String> {
        if !self.client.is_up() {
            return Ok(());
        }
        let packet = self.checks.to_server.packet(length);
        if let Some(range) = self.client.tun_input(self.now, &packet, &mut self.out) {
            let packet = self.out.get(range).unwrap_or_default();
            self.checks.sent(packet, self.client.call.as_ref())?;
            push(&mut self.gre, packet.to_vec());
        }
        Ok(())
    }

    /// A call before the next timeout changes nothing.
    pub(super) fn early_timeout(&mut self) -> Result<(), String> {
        let before = self.client.next_timeout();
        self.client.handle_timeout(self.now, &mut |_| {});
        let idle = self.client.next_timeout() == before && self.client.poll_event().is_none();
        ensure(idle, "a timeout is handled before it is due")
    }

    /// Lets time pass, from timeout to timeout of both ends.
    pub(super) fn pass(&mut self, time: Duration) -> Result<(), String> {
        let target = self.now + time;
        for _ in 0..MAX_TIMEOUTS {
            let client = self.client.next_timeout().map(|(at, _)| at);
            let next = client.into_iter().chain(self.server.next_timeout()).min();
            let next = next.filter(|at| *at <= target && !self.checks.is_over());
            self.now = next.unwrap_or(target).max(self.now);
            self.server.handle_timeout(self.now);
            self.settle()?;
            if next.is_none() {
                return Ok(());
            }
        }
        Err("timeouts without end".to_owned())
    }

    /// Delivers everything, and lets a short time pass, or that to the next timeout if there was nothing.
    pub(super) fn exchange(&mut self) -> Result<(), String> {
        let idle = self.gre.is_empty()
            && self.tcp.is_empty()
            && self.server.gre.is_empty()
            && self.server.tcp.is_empty();
        self.tcp_to_server(usize::MAX);
        self.tcp_to_client(usize::MAX);
        self.settle()?;
        while !self.gre.is_empty() {
            self.gre_to_server(0);
        }
        while !self.server.gre.is_empty() && !self.checks.is_over() {
            self.gre_to_client(0)?;
        }
        self.settle()?;
        if idle { self.pass(Duration::from_millis(250)) } else { self.pass(Duration::from_millis(2)) }
    }
}
