//! Fuzzes one call's flow with arbitrary packets, calls of its owner, and times.

use std::time::{Duration, Instant};

use super::{Script, ensure};
use crate::pptp::{
    flow::{Flow, FlowConfig, Reorder},
    gre::{self, Header},
};

const LOCAL: u16 = 0x1111;
const MAX: Duration = Duration::from_millis(300);

/// Runs a script against one flow.
///
/// # Errors
/// Returns a description of the invariant that was violated.
pub fn gre_flow(data: &[u8]) -> Result<(), String> {
    let mut script = Script(data);
    let setup = script.byte();
    let mut config = FlowConfig::new(LOCAL, 0x2222);
    config.window = u16::from(setup & 0x70);
    config.reorder = if setup & 1 == 0 { Reorder::Adaptive { max: MAX } } else { Reorder::Off };
    config.missing_window = (setup & 2 != 0).then(|| u32::from(script.byte()));
    let now = Instant::now();
    let mut run = Run { flow: Flow::new(config, now), now, near: 0, last: None, taken: 0, delivered: 0 };
    while !script.is_over() {
        run.step(&mut script)?;
    }
    run.finish()
}

struct Run {
    flow: Flow,
    now: Instant,
    /// The sequence number that the simulated sender has reached.
    near: u32,
    /// The last sequence number delivered.
    last: Option<u32>,
    taken: u64,
    delivered: u64,
}

impl Run {
    fn step(&mut self, script: &mut Script<'_>) -> Result<(), String> {
        match script.byte() % 10 {
            0 => {
                let count = usize::from(script.byte());
                let mut packet = script.bytes(count).to_vec();
                let Ok((header, payload)) = gre::parse(&packet) else {
                    return self.receive(&mut packet);
                };
                ensure(packet.get(payload.clone()).is_some(), "the payload is not in the packet")?;
                let mut again = [0; gre::MAX_HEADER];
                let length = u16::try_from(payload.len()).unwrap_or_default();
                ensure(
                    gre::emit(header, length, &mut again) == payload.start,
                    "a header changes its length",
                )?;
                ensure(packet.starts_with(again.get(..payload.start).unwrap_or_default()), "a header changes")
            }
            1 | 2 => {
                self.near = self.near.wrapping_add(1);
                self.arrive(self.near, None, 4)
            }
            3 => self.arrive(self.near.wrapping_add(u32::from(script.byte())), None, 4),
            4 => self.arrive(self.near.wrapping_sub(u32::from(script.byte())), None, 4),
            5 => {
                self.near = script.u32();
                self.arrive(self.near, Some(script.u32()), 4 + usize::from(script.u16() % 2100))
            }
            6 => {
                self.near = self.near.wrapping_add(u32::from(script.u16()));
                Ok(())
            }
            7 => self.pass(Duration::from_millis(u64::from(script.u16() % 2000))),
            8 => {
                let next = self.flow.next_timeout().map_or(self.now, |(at, _)| at);
                self.pass(next.saturating_duration_since(self.now))
            }
            _ => {
                let mut out = [0; gre::MAX_HEADER];
                let length = self.flow.header(self.now, usize::from(script.u16()), &mut out);
                ensure(matches!(length, Some(12 | 16)), "no header for a payload that fits")
            }
        }
    }

    fn finish(&mut self) -> Result<(), String> {
        self.pass(MAX)?;
        ensure(self.delivered == self.taken, "a packet that was taken is lost")?;
        ensure(self.flow.counters().rx_accepted == self.delivered, "packets are miscounted")
    }

    /// Receives a packet whose payload begins with its sequence number.
    fn arrive(&mut self, seq: u32, ack: Option<u32>, length: usize) -> Result<(), String> {
        let mut header = [0; gre::MAX_HEADER];
        let size = u16::try_from(length).unwrap_or_default();
        let start = gre::emit(Header { call_id: LOCAL, seq: Some(seq), ack }, size, &mut header);
        let mut packet = header.get(..start).unwrap_or_default().to_vec();
        packet.extend(seq.to_be_bytes());
        packet.resize(start + length, 0);
        self.receive(&mut packet)
    }

    fn receive(&mut self, packet: &mut [u8]) -> Result<(), String> {
        let restarts = self.flow.counters().rx_restarts;
        let mut out = Vec::new();
        let taken = self.flow.receive(self.now, packet, &mut |payload| out.push(number(payload)));
        self.taken += u64::from(taken.is_ok());
        let restarted = self.flow.counters().rx_restarts - restarts;
        self.check(&out, restarted)?;
        self.check_timer()
    }

    fn pass(&mut self, time: Duration) -> Result<(), String> {
        self.now += time;
        let mut out = Vec::new();
        self.flow.handle_timeout(self.now, &mut |payload| out.push(number(payload)));
        self.flow.poll_ack(self.now);
        self.check(&out, 0)?;
        let next = self.flow.next_timeout();
        ensure(next.is_none_or(|(at, _)| at > self.now), "a timer stays due: the event loop would spin")?;
        self.check_timer()
    }

    /// Checks that delivered numbers only grow, except for one step back per restart.
    fn check(&mut self, out: &[u32], restarted: u64) -> Result<(), String> {
        let mut steps_back = 0;
        for seq in out {
            let grows = self.last.is_none_or(|last| seq.wrapping_sub(last).cast_signed() > 0);
            steps_back += u64::from(!grows);
            self.last = Some(*seq);
        }
        self.delivered += out.len() as u64;
        ensure(steps_back <= restarted, "packets are delivered out of order or twice")
    }

    fn check_timer(&self) -> Result<(), String> {
        match self.flow.next_timeout() {
            Some((_, "acknowledgement")) | None => Ok(()),
            Some((at, _)) => ensure(at <= self.now + MAX, "packets wait too long"),
        }
    }
}

fn number(payload: &[u8]) -> u32 {
    payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
