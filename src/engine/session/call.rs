//! The call of a session: handles the events of the control connection and creates flow and link.
//!
//! Owns the call's parameters and what is created once it is up. [`crate::pptp::control`] handles the order
//! of the messages (RFC 2637 §3.1).

use std::time::Instant;

use super::{Session, SessionEvent, carrier::Carrier, wrong_calls::WrongCalls};
use crate::{
    engine::{
        bridge::{Bridge, IN_BUILD},
        message::plain,
        ppp_side::PppSide,
        verdict,
    },
    failure::{Failure, FailureKind, Phase},
    ppp::link::Link,
    pptp::{
        cause,
        control::{self, CallEnd, CallError, CallRequest, ControlEnd},
        flow::{Flow, FlowConfig},
    },
};

/// Receive window announced in the call request, in packets, if the socket's buffer holds as many; fits in the reorder
/// ring.
pub(super) const RECEIVE_WINDOW: u16 = 64;

pub(super) struct Call {
    pub flow: Flow,
    pub link: PppSide,
    /// When the call came up.
    pub since: Instant,
    /// Packets of this call that have arrived.
    pub received: u64,
    /// Arrival time of the last packet of this call.
    pub last_heard: Option<Instant>,
    /// Packets of this call that were routed into the tunnel, and dropped.
    pub looped: u64,
    /// Packets for other calls.
    pub wrong_calls: WrongCalls,
    /// Who encapsulates the link's frames.
    pub carrier: Carrier,
}

impl Session {
    pub(super) fn control_event(&mut self, now: Instant, event: control::ControlEvent) {
        match event {
            control::ControlEvent::Established { peer } => {
                let request = CallRequest {
                    phone: self.spec.phone.clone(),
                    window: self.receive_window,
                    ..CallRequest::new(self.call_id)
                };
                let opened = self.control.open_call(now, request);
                // The server has ended the connection after its reply; that event follows.
                if matches!(opened, Err(CallError::NotEstablished)) {
                    return;
                }
                let vendor = if peer.vendor.is_empty() { "unnamed" } else { &peer.vendor };
                self.enter(Phase::Call, format!("{vendor} firmware {} ({})", peer.firmware, peer.host_name));
                if let Err(error) = opened {
                    self.fail(now, Failure::new(Phase::Call, FailureKind::Internal, error.to_string()));
                }
            }
            control::ControlEvent::CallUp { call_id, peer_call_id, peer_window, connect_speed } => {
                self.call_up(now, (call_id, peer_call_id), peer_window, connect_speed);
            }
            control::ControlEvent::CallRefused { result, error, cause, .. } => {
                let words = plain(&cause::call_refusal_words(result, error, cause));
                self.fail(now, Failure::new(Phase::Call, FailureKind::CallRefused, words));
            }
            control::ControlEvent::CallDown { reason, .. } => {
                // The server may hang up because of what our link has sent; the link then has the reason.
                self.lower_down(now);
                if self.ending.is_none() && reason != CallEnd::ControlLost {
                    self.end_with(
                        self.ended_early(now, &reason.to_string())
                            .unwrap_or_else(|| verdict::of_call(self.reached(), &reason)),
                    );
                    self.gre_due = None;
                }
                if self.ending.is_some() {
                    self.control.stop(now);
                }
            }
            control::ControlEvent::Closed(end) => self.closed(now, &end),
            // Concerns asynchronous framing, which our side does not use.
            control::ControlEvent::SetLinkInfo { .. } => {}
            // A client accepts no calls.
            control::ControlEvent::IncomingCall { .. } => {}
        }
    }

    fn call_up(&mut self, now: Instant, ids: (u16, u16), peer_window: u16, speed: u32) {
        let (call_id, peer_call_id) = ids;
        let Some(config) = self.link_config.take() else { return };
        self.enter(
            Phase::Lcp,
            format!(
                "call {call_id}, the server's {peer_call_id}, {} Mbit/s, window {peer_window}",
                speed / 1_000_000
            ),
        );
        let flow = Flow::new(
            FlowConfig {
                local_call_id: call_id,
                peer_call_id,
                window: self.receive_window,
                reorder: self.spec.reorder,
                missing_window: self.spec.missing_window,
                // A server that announces none has no limit.
                peer_window: (self.spec.transmit_window && peer_window > 0).then_some(peer_window),
            },
            now,
        );
        let link = match IN_BUILD {
            Some(in_build) if self.spec.external => {
                PppSide::External(Bridge::new(in_build, self.spec.limits, self.spec.mtu_limit, now))
            }
            _ => {
                let mut link = Link::new(config, now);
                link.open(now);
                PppSide::Builtin(link)
            }
        };
        self.gre_due = Some(now + self.spec.limits.gre);
        self.call = Some(Call {
            flow,
            link,
            since: now,
            received: 0,
            last_heard: None,
            looped: 0,
            wrong_calls: WrongCalls::default(),
            carrier: if self.spec.kernel { Carrier::KernelSoon } else { Carrier::Engine },
        });
        if self.spec.kernel {
            self.events.push_back(SessionEvent::Attach(peer_call_id));
        }
        let early = self.early.take();
        if !early.is_empty() {
            tracing::debug!("{} GRE packets came before the call reply", early.len());
        }
        for mut packet in early {
            // No IP packet can pass yet.
            self.gre_input(now, &mut packet, &mut |_| {});
        }
    }

    /// Returns the failure of a call that the server has ended before it sent any PPP; `words` say how.
    fn ended_early(&self, now: Instant, words: &str) -> Option<Failure> {
        let seen = self.evidence().filter(|seen| self.phase == Phase::Lcp && seen.frames_received == 0)?;
        let lasted = now.saturating_duration_since(self.call.as_ref()?.since);
        Some(verdict::of_early_end(self.phase, words, lasted, &seen))
    }

    /// Notifies the link that the call below it has ended, and handles the link's events.
    pub(super) fn lower_down(&mut self, now: Instant) {
        if let Some(call) = &mut self.call {
            call.link.lower_down(now);
        }
        self.link_events(now);
    }

    /// Ends the session after the end of the control connection; reports the first reason.
    fn closed(&mut self, now: Instant, end: &ControlEnd) {
        self.lower_down(now);
        self.up = false;
        let early = match end {
            ControlEnd::PeerStopped { .. } | ControlEnd::PeerClosed => {
                self.ended_early(now, &end.to_string())
            }
            _ => None,
        };
        let mut failure = early.unwrap_or_else(|| verdict::of_control(self.reached(), end));
        if *end == ControlEnd::EchoTimeout {
            failure.detail = plain(&format!("{}; {}", failure.detail, self.since_last_packet(now)));
        }
        self.end_with(failure);
        if let Some(failure) = &self.ending
            && !matches!(self.events.back(), Some(SessionEvent::Down(_)))
        {
            self.events.push_back(SessionEvent::Down(failure.clone()));
        }
    }
}
