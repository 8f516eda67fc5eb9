//! Processing of the peer's messages (RFC 2637 §3). Messages that make no sense are counted and ignored,
//! because real servers send many of them.

use std::time::Instant;

use super::{
    Call, CallEnd, CallState, Control, ControlEnd, ControlEvent, MAX_EVENTS, MAX_OUTPUT_FOR_ECHO, Peer,
    Phase, Role, stop_reason,
    wire::{self, Message, Text},
};

impl Control {
    pub(super) fn receive(&mut self, now: Instant, message: &Message) {
        if let Message::EchoReply(reply) = message {
            match self.keepalive.replied(now, reply.identifier) {
                Some(round_trip) => self.counters.echo_round_trip = Some(round_trip),
                None => self.counters.echo_replies_mismatched += 1,
            }
        }
        self.keepalive.message_received(now);
        match (message, self.config.role) {
            (Message::EchoRequest(request), _) => self.answer_echo(request.identifier),
            (Message::EchoReply(_), _) => {}
            (Message::StopControlConnectionRequest(request), _) => self.peer_stops(request.reason),
            (Message::StopControlConnectionReply(_), _) => self.peer_stopped(),
            (Message::StartControlConnectionReply(reply), Role::Pns) => self.start_reply(now, reply),
            (Message::StartControlConnectionRequest(request), Role::Pac) => self.start_request(now, request),
            (Message::OutgoingCallReply(reply), Role::Pns) => self.call_reply(reply),
            (Message::OutgoingCallRequest(request), Role::Pac) => self.call_request(now, request),
            (Message::CallDisconnectNotify(notify), Role::Pns) => self.call_disconnected(now, notify),
            (Message::CallClearRequest(request), _) => self.call_clear(now, request.call_id),
            (Message::SetLinkInfo(info), _) => self.link_info(info),
            (
                Message::IncomingCallRequest(_)
                | Message::IncomingCallReply(_)
                | Message::IncomingCallConnected(_)
                | Message::WanErrorNotify(_),
                _,
            ) => self.counters.ignored += 1,
            (
                Message::StartControlConnectionRequest(_)
                | Message::StartControlConnectionReply(_)
                | Message::OutgoingCallRequest(_)
                | Message::OutgoingCallReply(_)
                | Message::CallDisconnectNotify(_),
                _,
            ) => self.counters.unexpected += 1,
        }
    }

    fn answer_echo(&mut self, identifier: u32) {
        if self.output.len() >= MAX_OUTPUT_FOR_ECHO {
            self.counters.echo_requests_unanswered += 1;
            return;
        }
        self.counters.echo_requests_answered += 1;
        self.send(wire::EchoReply { identifier, result: 1, error: 0 });
    }

    fn peer_stops(&mut self, reason: u8) {
        self.send(wire::StopControlConnectionReply { result: 1, error: 0 });
        // If both sides stop at the same time, it counts as our shutdown.
        self.end(match self.phase {
            Phase::Clearing | Phase::Stopping { .. } => ControlEnd::Stopped,
            _ => ControlEnd::PeerStopped { reason },
        });
    }

    fn peer_stopped(&mut self) {
        match self.phase {
            Phase::Stopping { .. } => self.end(ControlEnd::Stopped),
            _ => self.counters.unexpected += 1,
        }
    }

    fn start_reply(&mut self, now: Instant, reply: &wire::StartControlConnectionReply) {
        if !matches!(self.phase, Phase::Starting { .. }) {
            self.counters.unexpected += 1;
            return;
        }
        let wrong_version = reply.version != wire::VERSION || reply.result == 5;
        // Alcatel modems send 0 for success.
        let refused = !matches!(reply.result, 0 | 1 | 5);
        if refused || wrong_version {
            self.send_stop(stop_reason::PROTOCOL);
            self.end(if refused {
                ControlEnd::Refused { result: reply.result, error: reply.error }
            } else {
                ControlEnd::Version { theirs: reply.version }
            });
            return;
        }
        self.established(
            now,
            Peer {
                host_name: reply.host_name.to_string(),
                vendor: reply.vendor.to_string(),
                firmware: reply.firmware,
                max_channels: reply.max_channels,
                framing: reply.framing,
                bearer: reply.bearer,
            },
        );
    }

    fn start_request(&mut self, now: Instant, request: &wire::StartControlConnectionRequest) {
        if !matches!(self.phase, Phase::Starting { .. }) {
            self.counters.unexpected += 1;
            return;
        }
        let speaks_ours = request.version == wire::VERSION;
        self.send(wire::StartControlConnectionReply {
            version: wire::VERSION,
            result: if speaks_ours { 1 } else { 5 },
            error: 0,
            framing: self.config.framing,
            bearer: self.config.bearer,
            max_channels: self.config.max_channels,
            firmware: self.config.firmware,
            host_name: Text::new(&self.config.host_name),
            vendor: Text::new(&self.config.vendor),
        });
        if !speaks_ours {
            self.end(ControlEnd::Version { theirs: request.version });
            return;
        }
        self.established(
            now,
            Peer {
                host_name: request.host_name.to_string(),
                vendor: request.vendor.to_string(),
                firmware: request.firmware,
                max_channels: request.max_channels,
                framing: request.framing,
                bearer: request.bearer,
            },
        );
    }

    fn established(&mut self, now: Instant, peer: Peer) {
        self.phase = Phase::Established;
        self.keepalive.message_received(now);
        self.emit(ControlEvent::Established { peer });
    }

    fn call_reply(&mut self, reply: &wire::OutgoingCallReply) {
        let Some(call) = self.calls.local(reply.peer_call_id) else {
            self.counters.unknown_call += 1;
            return;
        };
        match call.state {
            CallState::WaitReply { .. } if reply.result == 1 => {
                call.peer = Some(reply.call_id);
                call.peer_window = reply.window;
                call.state = CallState::Up;
                if let Some((send_accm, receive_accm)) = self.config.quirks.differences().set_link_info {
                    self.send(wire::SetLinkInfo { peer_call_id: reply.call_id, send_accm, receive_accm });
                }
                self.emit(ControlEvent::CallUp {
                    call_id: reply.peer_call_id,
                    peer_call_id: reply.call_id,
                    peer_window: reply.window,
                    connect_speed: reply.connect_speed,
                });
            }
            CallState::WaitReply { .. } => {
                self.calls.remove_local(reply.peer_call_id);
                self.emit(ControlEvent::CallRefused {
                    call_id: reply.peer_call_id,
                    result: reply.result,
                    error: reply.error,
                    cause: reply.cause,
                });
            }
            // Too late, but the peer's call ID identifies the notification that we wait for.
            CallState::Clearing { .. } if reply.result == 1 => call.peer = Some(reply.call_id),
            CallState::Clearing { .. } | CallState::Offered { .. } | CallState::Up => {
                self.counters.unexpected += 1;
            }
        }
    }

    fn call_request(&mut self, now: Instant, request: &wire::OutgoingCallRequest) {
        if self.phase != Phase::Established {
            self.counters.unexpected += 1;
            return;
        }
        if self.calls.has_peer(request.call_id) {
            self.counters.unexpected += 1;
            self.refuse(request.call_id, 2, 5, 0);
            return;
        }
        if self.calls.is_full(usize::from(self.config.max_channels)) {
            self.refuse(request.call_id, 2, 4, 0);
            return;
        }
        let until = now + self.config.call_timeout;
        self.calls.add(Call {
            local: 0,
            peer: Some(request.call_id),
            peer_window: request.window,
            state: CallState::Offered { until },
        });
        self.emit(ControlEvent::IncomingCall {
            peer_call_id: request.call_id,
            serial: request.serial,
            phone: request.phone.to_string(),
            peer_window: request.window,
            minimum_bps: request.minimum_bps,
            maximum_bps: request.maximum_bps,
        });
    }

    fn call_disconnected(&mut self, now: Instant, notify: &wire::CallDisconnectNotify) {
        let Some(call) = self.calls.remove_disconnected(notify.call_id) else {
            self.counters.unknown_call += 1;
            return;
        };
        let reason = match call.state {
            CallState::Clearing { announced: true, .. } => None,
            CallState::Clearing { .. } => Some(CallEnd::Closed),
            CallState::WaitReply { .. } | CallState::Offered { .. } | CallState::Up => {
                Some(CallEnd::Disconnected {
                    result: notify.result,
                    error: notify.error,
                    cause: notify.cause,
                })
            }
        };
        if let Some(reason) = reason {
            self.emit(ControlEvent::CallDown { call_id: call.local, reason });
        }
        self.stop_when_cleared(now);
    }

    /// Processes Call-Clear-Request. To a server it carries the sender's call ID (§2.12); servers that send
    /// one to a client use the client's call ID and expect it back.
    fn call_clear(&mut self, now: Instant, call_id: u16) {
        let call = match self.config.role {
            Role::Pac => self.calls.remove_peer(call_id),
            Role::Pns => self.calls.remove_local(call_id),
        };
        let Some(call) = call else {
            self.counters.unknown_call += 1;
            return;
        };
        match (self.config.role, call.state) {
            (Role::Pns, state) => {
                self.notify_disconnect(call_id, 1);
                if !matches!(state, CallState::Clearing { announced: true, .. }) {
                    self.emit(ControlEvent::CallDown { call_id, reason: CallEnd::PeerCleared });
                }
            }
            // The client gave up before the decision; the owner's decision will return `CallError::Unknown`.
            (Role::Pac, CallState::Offered { .. }) => self.refuse(call_id, 7, 0, 0),
            (Role::Pac, _) => {
                self.notify_disconnect(call.local, 4);
                self.emit(ControlEvent::CallDown { call_id: call.local, reason: CallEnd::PeerCleared });
            }
        }
        self.stop_when_cleared(now);
    }

    fn link_info(&mut self, info: &wire::SetLinkInfo) {
        let Some(call) = self.calls.local(info.peer_call_id) else {
            self.counters.unknown_call += 1;
            return;
        };
        let call_id = call.local;
        // Informational only: it must not fill the queue.
        if self.events.len() >= MAX_EVENTS / 2 {
            self.counters.set_link_info_dropped += 1;
            return;
        }
        self.emit(ControlEvent::SetLinkInfo {
            call_id,
            send_accm: info.send_accm,
            receive_accm: info.receive_accm,
        });
    }
}
