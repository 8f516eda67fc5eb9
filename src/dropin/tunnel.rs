//! The data path of one call, without I/O: GRE on one side, the PPP stream on the other.
//!
//! Connects [`Flow`] to [`Stream`], and produces the log lines about single packets.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use super::{options::Options, stream::Stream};
use crate::deadline::{Deadline, earliest};
use crate::pptp::{
    flow::{DropReason, Flow, FlowConfig, Reorder},
    gre::{self, MAX_HEADER},
};

/// Receive window offered to the server, as by the classic client.
const WINDOW: u16 = 3;

/// Flow and stream of one call.
#[derive(Debug)]
pub struct Tunnel {
    flow: Flow,
    stream: Stream,
    log_level: u8,
}

impl Tunnel {
    /// Returns the data path of a call that has just come up.
    #[must_use]
    pub fn new(options: &Options, call_id: u16, peer_call_id: u16, now: Instant) -> Self {
        let config = FlowConfig {
            local_call_id: call_id,
            peer_call_id,
            window: WINDOW,
            reorder: options.reorder.map_or(Reorder::Off, |max: Duration| Reorder::Adaptive { max }),
            missing_window: options.missing_window,
            peer_window: None,
        };
        Self { flow: Flow::new(config, now), stream: Stream::new(options.sync), log_level: options.log_level }
    }

    /// Takes a GRE packet without its IP header, and passes lines for the log to `remark`.
    pub fn gre_input(&mut self, now: Instant, packet: &mut [u8], remark: &mut impl FnMut(String)) {
        let Self { flow, stream, log_level } = self;
        if *log_level == 0 {
            let _counted = flow.receive(now, packet, &mut |frame| stream.push(frame));
            return;
        }
        let seq = gre::parse(packet).ok().and_then(|(header, _)| header.seq);
        let buffered = flow.counters().rx_buffered;
        let expecting = flow.expected();
        let taken = flow.receive(now, packet, &mut |frame| stream.push(frame));
        let Some(seq) = seq else { return };
        match taken {
            Err(DropReason::Duplicate | DropReason::UnderWindow) => {
                remark(format!("discarding duplicate or old packet {seq} (expecting {expecting})"));
            }
            Err(DropReason::OverWindow) => {
                remark(format!("discarding bogus packet {seq} (expecting {expecting})"));
            }
            Ok(()) if flow.counters().rx_buffered != buffered => {
                remark(format!("buffering packet {seq} (expecting {expecting}, lost or reordered)"));
            }
            Ok(()) if *log_level >= 2 => remark(format!("accepting packet {seq}")),
            Ok(()) | Err(DropReason::Gre(_) | DropReason::WrongCall) => {}
        }
    }

    /// Takes the bytes of one read of the PPP stream and passes each frame to `send` as GRE header and
    /// payload.
    pub fn ppp_input(&mut self, now: Instant, bytes: &[u8], mut send: impl FnMut(&[u8], &[u8])) {
        let Self { flow, stream, .. } = self;
        stream.read(bytes, |frame| with_header(flow, now, frame, &mut send));
    }

    /// Reports that there is nothing to read at present.
    pub fn ppp_quiet(&mut self, now: Instant, mut send: impl FnMut(&[u8], &[u8])) {
        let Self { flow, stream, .. } = self;
        stream.input_idle(now, |frame| with_header(flow, now, frame, &mut send));
    }

    /// Writes a lone acknowledgement to `out` if one is due; returns its range.
    pub fn ack(&mut self, now: Instant, out: &mut [u8]) -> Option<Range<usize>> {
        let ack = self.flow.poll_ack(now)?;
        out.get_mut(..ack.len())?.copy_from_slice(&ack);
        Some(0..ack.len())
    }

    /// Runs the flow's expired timers.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Self { flow, stream, .. } = self;
        flow.handle_timeout(now, &mut |frame| stream.push(frame));
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) or [`ppp_quiet`](Self::ppp_quiet) is due.
    #[must_use]
    pub fn next_timeout(&self, now: Instant) -> Option<Deadline> {
        earliest([self.flow.next_timeout(), self.stream.next_timeout(now)])
    }

    /// Returns the PPP stream.
    pub const fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Returns the counters of the flow and of the stream.
    #[must_use]
    pub const fn counters(&self) -> (&crate::pptp::flow::FlowCounters, &super::stream::StreamCounters) {
        (self.flow.counters(), self.stream.counters())
    }
}

fn with_header(flow: &mut Flow, now: Instant, frame: &[u8], send: &mut impl FnMut(&[u8], &[u8])) {
    let mut header = [0; MAX_HEADER];
    if let Some(length) = flow.header(now, frame.len(), &mut header) {
        send(header.get(..length).unwrap_or_default(), frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dropin::options::{self, Request},
        ppp::hdlc::{Accm, Decoder, encode},
    };

    fn tunnel(line: &str) -> (Tunnel, Instant) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let Ok(Request::Run(options, _)) = options::parse(&words) else { panic!("{line}") };
        let now = Instant::now();
        (Tunnel::new(&options, 7, 9, now), now)
    }

    fn packet(seq: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = [0; MAX_HEADER];
        let header = gre::Header { call_id: 7, seq: Some(seq), ack: None };
        let length = gre::emit(header, u16::try_from(payload.len()).unwrap(), &mut out);
        [&out[..length], payload].concat()
    }

    fn received(tunnel: &mut Tunnel) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut decoder = Decoder::new(2000);
        while !tunnel.stream().to_write().is_empty() {
            let bytes = tunnel.stream().to_write().to_vec();
            tunnel.stream().written(bytes.len());
            if tunnel.stream().is_synchronous() {
                frames.push(bytes);
            } else {
                decoder.feed(&bytes, |frame| frames.push(frame.to_vec()));
            }
        }
        frames
    }

    #[test]
    fn frames_and_packets_convert_both_ways() {
        for line in ["h", "h --sync"] {
            let (mut tunnel, now) = tunnel(line);
            let frame = [0xff, 0x03, 0x00, 0xfd, 0x90, 0, 1, 2, 3];
            let mut bytes = frame.to_vec();
            if line == "h" {
                bytes.clear();
                encode(&frame, Accm::ALL, &mut bytes);
            }
            let mut sent = Vec::new();
            tunnel.ppp_input(now, &bytes, |header, payload| sent.push([header, payload].concat()));
            tunnel.ppp_quiet(now, |header, payload| sent.push([header, payload].concat()));
            let expected = [&[0x30, 0x01, 0x88, 0x0b, 0, 9, 0, 9, 0, 0, 0, 1][..], &frame].concat();
            assert_eq!(sent, [expected]);
            tunnel.gre_input(now, &mut packet(1, &frame), &mut |line| panic!("{line}"));
            assert_eq!(received(&mut tunnel), [frame]);
        }
    }

    /// Defect 2 of the classic program: after 3, 3, 4, 2 it delivers only 2 and 4.
    #[test]
    fn duplicate_behind_gap_loses_nothing() {
        let (mut tunnel, now) = tunnel("h");
        let mut lines = Vec::new();
        for seq in [1, 3, 3, 4, 2] {
            let frame = [0x21, u8::try_from(seq).unwrap()];
            tunnel.gre_input(now, &mut packet(seq, &frame), &mut |line| lines.push(line));
        }
        tunnel.handle_timeout(now + Duration::from_secs(1));
        assert_eq!(received(&mut tunnel), [[0x21, 1], [0x21, 2], [0x21, 3], [0x21, 4]]);
        assert!(
            lines.contains(&"discarding duplicate or old packet 3 (expecting 2)".to_owned()),
            "{lines:?}"
        );
    }

    /// Defect 3: a truncated payload must not be completed from an old buffer.
    #[test]
    fn truncated_packet_is_dropped() {
        let (mut tunnel, now) = tunnel("h");
        let mut short = packet(1, &[0x21; 60]);
        short.truncate(52);
        tunnel.gre_input(now, &mut short, &mut |_| {});
        assert!(received(&mut tunnel).is_empty());
        assert_eq!(tunnel.counters().0.rx_truncated, 1);
    }

    /// Defects 4 and 6.
    #[test]
    fn counts_losses_and_honours_small_missing_window() {
        let (mut nobuffer, now) = tunnel("h --nobuffer");
        for seq in [1, 5] {
            nobuffer.gre_input(now, &mut packet(seq, &[0x21, 0]), &mut |_| {});
        }
        assert_eq!(nobuffer.counters().0.rx_lost, 3);
        let (mut small, now) = tunnel("h --missing-window 5");
        for seq in [1, 20] {
            small.gre_input(now, &mut packet(seq, &[0x21, 0]), &mut |_| {});
        }
        assert_eq!(small.counters().0.rx_over_window, 1);
    }

    #[test]
    fn log_level_controls_packet_lines() {
        for (level, expected) in [(0, 0), (1, 0), (2, 1)] {
            let (mut tunnel, now) = tunnel(&format!("h --loglevel {level}"));
            let mut lines = Vec::new();
            tunnel.gre_input(now, &mut packet(1, &[0x21, 0]), &mut |line| lines.push(line));
            assert_eq!(lines.len(), expected, "{lines:?}");
        }
    }
}
