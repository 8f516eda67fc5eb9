//! Fuzzes the control connection with arbitrary peer input, calls of its owner, and times.

use std::time::{Duration, Instant};

use super::{Script, ensure};
use crate::pptp::{
    control::{CallAccept, CallRequest, Control, ControlConfig, ControlEvent},
    quirks::Quirks,
    wire::{Message, StreamDecoder},
};

/// Most bytes that may be queued as output: the limit and one message.
const MAX_OUTPUT: usize = 64 * 1024 + 220;
/// Most events that may be queued: the limit, one for each call, and the last.
const MAX_EVENTS: usize = 1024 + 128 + 1;
/// The longest time until a stopped connection has ended: twice the stop timeout.
const STOP_MAX: Duration = Duration::from_secs(4);

/// Runs a script against one control connection.
///
/// # Errors
/// Returns a description of the invariant that was violated.
pub fn control(data: &[u8]) -> Result<(), String> {
    let mut script = Script(data);
    let setup = script.byte();
    let config = match setup & 3 {
        0 | 1 => ControlConfig::client(Quirks::None),
        2 => ControlConfig::client(Quirks::BezeqIsrael),
        _ => ControlConfig::server("fuzz"),
    };
    let mut run = Run::new(config, setup & 4 != 0);
    while !script.is_over() {
        run.step(&mut script)?;
    }
    run.finish()
}

struct Run {
    control: Control,
    now: Instant,
    /// Decodes the output, which must consist of whole messages whatever the input was.
    output: StreamDecoder,
    /// Decodes the same input as `control`.
    whole: StreamDecoder,
    /// Decodes the input in small pieces: the result must not depend on TCP's segmentation.
    pieces: StreamDecoder,
    offered: Vec<u16>,
    closed: bool,
}

impl Run {
    fn new(config: ControlConfig, connected: bool) -> Self {
        let now = Instant::now();
        let mut control = Control::new(config, now);
        if connected {
            control.connected(now);
        }
        Self {
            control,
            now,
            output: StreamDecoder::default(),
            whole: StreamDecoder::default(),
            pieces: StreamDecoder::default(),
            offered: Vec::new(),
            closed: false,
        }
    }

    fn step(&mut self, script: &mut Script<'_>) -> Result<(), String> {
        let now = self.now;
        match script.byte() % 12 {
            0 | 1 => {
                let count = usize::from(script.byte());
                self.input(script.bytes(count))?;
            }
            2 => {
                let bytes = likely_message(script);
                self.input(&bytes)?;
            }
            3 => self.pass(Duration::from_millis(u64::from(script.u16())))?,
            4 => self.jump_to_next_timeout()?,
            5 => self.control.connected(now),
            6 => {
                let mut request = CallRequest::new(u16::from(script.byte() % 4));
                request.phone = (script.byte() & 1 == 1).then(|| "5551234".repeat(20));
                let _ = self.control.open_call(now, request);
            }
            7 => {
                let _ = self.control.close_call(now, u16::from(script.byte() % 4));
            }
            8 => self.control.stop(now),
            9 => {
                let how = script.byte();
                if let Some(peer) = self.offered.pop() {
                    let _ = match how & 1 {
                        0 => self.control.accept_call(now, peer, CallAccept::new(u16::from(how >> 1 & 3))),
                        _ => self.control.refuse_call(now, peer, how, how, u16::from(how)),
                    };
                }
            }
            10 => self.fetch_output(usize::from(script.u16())),
            _ => self.fetch_events(usize::from(script.byte()))?,
        }
        ensure(self.control.poll_output().len() <= MAX_OUTPUT, "the output is without bound")
    }

    fn finish(&mut self) -> Result<(), String> {
        let begin = self.now;
        self.control.stop(begin);
        // Each of the four calls may be cleared since another time; then comes the reply to the stop.
        for _ in 0..5 {
            self.jump_to_next_timeout()?;
        }
        ensure(self.control.is_ended(), "stopping has no end")?;
        ensure(self.now - begin <= STOP_MAX, "stopping takes too long")?;
        ensure(self.control.next_timeout().is_none(), "a timer runs after the end")?;
        self.fetch_output(usize::MAX);
        ensure(self.output.counters().skipped_bytes == 0, "the output is not made of messages")?;
        self.fetch_events(MAX_EVENTS)?;
        ensure(self.control.poll_event().is_none(), "events are without bound")?;
        ensure(self.closed, "the end was not told")
    }

    fn input(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.control.handle_input(self.now, bytes);
        let mut rest = bytes;
        while let Some(message) = self.whole.next_message(&mut rest) {
            let mut again = Vec::new();
            message.encode(&mut again);
            ensure(Message::decode(&again) == Some(message), "a message does not survive encoding")?;
        }
        // Single bytes of a short input, longer pieces of a long one, which single bytes make slow.
        for mut piece in bytes.chunks(1 + bytes.len() / 16) {
            while self.pieces.next_message(&mut piece).is_some() {}
        }
        ensure(self.whole.counters() == self.pieces.counters(), "it matters how TCP cuts the stream")
    }

    fn pass(&mut self, time: Duration) -> Result<(), String> {
        self.now += time;
        self.control.handle_timeout(self.now);
        let next = self.control.next_timeout();
        ensure(next.is_none_or(|(at, _)| at > self.now), "a timer stays due: the event loop would spin")
    }

    fn jump_to_next_timeout(&mut self) -> Result<(), String> {
        let next = self.control.next_timeout().map_or(self.now, |(at, _)| at);
        self.pass(next.saturating_duration_since(self.now))
    }

    fn fetch_output(&mut self, count: usize) {
        let bytes = self.control.poll_output();
        let count = count.min(bytes.len());
        let mut bytes = bytes.get(..count).unwrap_or_default();
        while self.output.next_message(&mut bytes).is_some() {}
        self.control.consume_output(count);
    }

    fn fetch_events(&mut self, count: usize) -> Result<(), String> {
        for _ in 0..count {
            let Some(event) = self.control.poll_event() else { break };
            ensure(!self.closed, "an event follows the end")?;
            match event {
                ControlEvent::IncomingCall { peer_call_id, .. } if self.offered.len() < 256 => {
                    self.offered.push(peer_call_id);
                }
                ControlEvent::Closed(_) => self.closed = true,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Returns a message with a valid header and a plausible body: our version, small call IDs, an accepted call.
/// The script may overwrite the beginning of the body.
pub(crate) fn likely_message(script: &mut Script<'_>) -> Vec<u8> {
    let kind = u16::from(script.byte() % 17);
    let ids = script.byte();
    let mut body = match kind {
        1 | 2 => vec![1, 0, 1, 0],
        5 | 6 => vec![0, 0, 0, ids],
        _ => vec![0, ids & 3, 0, ids >> 2 & 3, 1 + (ids >> 7), 0],
    };
    let count = usize::from(script.byte() % 8);
    let shown = script.bytes(count);
    body.splice(..shown.len().min(body.len()), shown.iter().copied());
    let length = Message::length_of(kind).unwrap_or(18);
    let mut bytes = Vec::from(length.to_be_bytes());
    bytes.extend([0, 1, 0x1A, 0x2B, 0x3C, 0x4D]);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(body);
    bytes.resize(usize::from(length), 0);
    bytes
}
