//! The body of the fuzz target `session`: one whole session, a server of ours, a bad path and a forger.
//!
//! The bytes are a script. Its beginning says what both ends want, the rest is operations: TCP in any pieces; GRE
//! packets that arrive, are lost, delayed, repeated or damaged; packets and messages of a forger; time; ends of either
//! side. After each of them the session is served as the loop of `child` does it. `checks` has the invariants.

mod checks;
mod forge;
mod server;
mod setup;
mod turn;

use std::{
    collections::VecDeque,
    io,
    time::{Duration, Instant},
};

use self::{
    checks::Checks,
    server::{Server, push, random},
    setup::Setup,
};
use super::Session;
use crate::{
    failure::{Failure, FailureKind},
    pptp::fuzzing::{Script, likely_message},
    secret::Secret,
};

/// Most operations of a session.
const MAX_OPERATIONS: usize = 600;

/// How far a session has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// The link was up.
    pub up: bool,
    /// IP packets have passed in both directions.
    pub data: bool,
    /// The session had ended before the script did.
    pub ended: bool,
}

/// Drives a session with operations read from `data`.
///
/// # Errors
/// Returns the invariant that is violated.
pub fn session(data: &[u8]) -> Result<Reached, String> {
    let mut script = Script(data);
    let setup = Setup::read(&mut script);
    let mut run = Run::new(&setup);
    run.settle()?;
    for _ in 0..setup.rounds {
        run.exchange()?;
    }
    for _ in 0..MAX_OPERATIONS {
        if script.is_over() || run.checks.is_over() {
            break;
        }
        run.operation(&mut script)?;
    }
    let ended = run.checks.is_over();
    run.finish()?;
    let data = run.passed == [true; 2];
    Ok(Reached { up: run.checks.was_up(), data, ended })
}

struct Run {
    now: Instant,
    client: Session,
    server: Server,
    checks: Checks,
    /// GRE packets on the way to the server.
    gre: VecDeque<Vec<u8>>,
    /// Bytes of TCP on the way to the server.
    tcp: Vec<u8>,
    /// The last packets that the client has received.
    recent: VecDeque<Vec<u8>>,
    /// TCP accepts no bytes of the client.
    blocked: bool,
    /// The client's TCP connection has ended.
    closed: bool,
    /// IP packets have passed, to the server and to the client.
    passed: [bool; 2],
    out: Vec<u8>,
}

impl Run {
    fn new(setup: &Setup) -> Self {
        let now = Instant::now();
        let mut client = Session::new(setup.spec.clone(), Secret::from("right"), 77, random(setup.seed), now);
        client.connected(now, "192.0.2.1:1723".to_owned());
        Self {
            now,
            checks: Checks::new(&client, now),
            client,
            server: Server::new(setup.server.clone(), setup.seed, now),
            gre: VecDeque::new(),
            tcp: Vec::new(),
            recent: VecDeque::new(),
            blocked: false,
            closed: false,
            passed: [false; 2],
            out: vec![0; 2304],
        }
    }

    fn operation(&mut self, script: &mut Script<'_>) -> Result<(), String> {
        match script.byte() % 32 {
            0 | 1 => self.exchange()?,
            2 => self.tcp_to_server(usize::from(script.byte())),
            3 => self.tcp_to_client(usize::from(script.byte())),
            4 => self.gre_to_server(0),
            5 | 6 => self.gre_to_client(0)?,
            7 => self.gre_to_client(usize::from(script.byte()))?,
            8 => self.gre_to_server(usize::from(script.byte())),
            9 => {
                // Lost.
                let queue = if script.byte() & 1 == 0 { &mut self.gre } else { &mut self.server.gre };
                queue.pop_front();
            }
            10 => {
                self.checks.duplicated = true;
                let at = usize::from(script.byte()) % self.recent.len().max(1);
                if let Some(mut packet) = self.recent.get(at).cloned() {
                    self.receive(&mut packet)?;
                }
            }
            11 => {
                self.checks.forged = true;
                let (at, mask) = (script.byte(), script.byte());
                if let Some(mut packet) = self.server.gre.pop_front() {
                    if let Some(byte) = packet.get_mut(usize::from(at)) {
                        *byte ^= mask;
                    }
                    self.receive(&mut packet)?;
                }
            }
            12..=15 => {
                self.checks.forged = true;
                let frame = forge::frame(script);
                let expected = self.client.call.as_ref().map_or(0, |call| call.flow.expected());
                let mut packet = forge::packet(script, self.client.call_id(), expected, &frame);
                self.receive(&mut packet)?;
            }
            16 => {
                // A packet for another call.
                let other = self.client.call_id().wrapping_add(1 + u16::from(script.byte()));
                let mut packet = forge::packet(script, other, 1, b"");
                self.receive(&mut packet)?;
            }
            17 => {
                self.checks.forged = true;
                let message = likely_message(script);
                self.client.tcp_input(self.now, &message);
            }
            18 => {
                let count = usize::from(script.byte() & 0x3f);
                self.client.tcp_input(self.now, script.bytes(count));
            }
            19 => return self.pass(Duration::from_millis(u64::from(script.byte()) * 4)),
            20 => return self.pass(Duration::from_millis(u64::from(script.byte()) * 60)),
            21 => {
                let next = self.client.next_timeout().map_or(self.now, |(at, _)| at);
                return self.pass(next.saturating_duration_since(self.now));
            }
            22 => {
                self.checks.slept = true;
                self.now += Duration::from_millis(u64::from(script.byte()) * 150);
                self.server.handle_timeout(self.now);
            }
            23 => self.early_timeout()?,
            24 | 25 => self.read_tun(usize::from(script.byte()) * 6)?,
            26 | 27 => {
                let packet = self.checks.to_client.packet(usize::from(script.byte()) * 6);
                self.server.send(self.now, &packet);
            }
            28 => {
                self.checks.forged = true;
                self.server.restart_link(self.now);
            }
            29 => {
                let choice = script.byte();
                if choice >> 6 == 0 {
                    self.server.end(self.now, choice);
                }
            }
            30 => self.client.probe(self.now),
            _ => self.rare(script)?,
        }
        self.settle()
    }

    /// Handles what happens seldom.
    fn rare(&mut self, script: &mut Script<'_>) -> Result<(), String> {
        match script.byte() % 8 {
            0 => self.blocked = !self.blocked,
            // The kernel refuses only what was sent: there is a call.
            1 if self.client.call.is_some() => {
                self.client.gre_refused(self.now, &io::Error::from(io::ErrorKind::PermissionDenied));
            }
            1 | 2 => self.client.gre_sent(),
            3 | 4 => {
                let count = usize::from(script.byte());
                let bytes = script.bytes(count);
                let mut sent = Vec::new();
                self.client.pty_input(self.now, bytes, |header, frame| sent.push([header, frame].concat()));
                for packet in sent {
                    self.checks.sent(&packet, self.client.call.as_ref())?;
                    push(&mut self.gre, packet);
                }
            }
            5 => self.client.pty_sent(usize::from(script.byte())),
            6 => {
                self.closed = true;
                self.client.tcp_closed(self.now);
            }
            _ => self.stop(),
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.checks.stop(self.now);
        let stopped = Failure::new(self.client.phase(), FailureKind::Interrupted, "");
        self.client.fail(self.now, stopped);
    }

    /// Ends the session, if it has not ended.
    fn finish(&mut self) -> Result<(), String> {
        self.stop();
        self.settle()?;
        for _ in 0..64 {
            if self.checks.is_over() {
                return Ok(());
            }
            let next = self.client.next_timeout().map_or(self.now, |(at, _)| at);
            self.pass(next.saturating_duration_since(self.now))?;
        }
        Err("a stop has no end".to_owned())
    }

    fn tcp_to_server(&mut self, count: usize) {
        let bytes: Vec<u8> = self.tcp.drain(..count.min(self.tcp.len())).collect();
        self.server.tcp_input(self.now, &bytes);
    }

    fn tcp_to_client(&mut self, count: usize) {
        let bytes: Vec<u8> = self.server.tcp.drain(..count.min(self.server.tcp.len())).collect();
        if !self.closed {
            self.client.tcp_input(self.now, &bytes);
        }
    }

    fn gre_to_server(&mut self, at: usize) {
        if let Some(mut packet) = self.gre.remove(at % self.gre.len().max(1)) {
            self.server.gre_input(self.now, &mut packet);
        }
    }

    fn gre_to_client(&mut self, at: usize) -> Result<(), String> {
        match self.server.gre.remove(at % self.server.gre.len().max(1)) {
            Some(mut packet) => self.receive(&mut packet),
            None => Ok(()),
        }
    }

    fn receive(&mut self, packet: &mut [u8]) -> Result<(), String> {
        if self.recent.len() >= 16 {
            self.recent.pop_front();
        }
        self.recent.push_back(packet.to_vec());
        let mut passed = Vec::new();
        self.client.gre_input(self.now, packet, &mut |ip| passed.push(ip.to_vec()));
        self.client.after(self.now);
        self.take_ip(&passed)
    }

    fn take_ip(&mut self, packets: &[Vec<u8>]) -> Result<(), String> {
        for packet in packets {
            self.checks.at_client(packet)?;
            self.passed[1] = true;
        }
        Ok(())
    }
}
