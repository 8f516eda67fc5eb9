//! What only a server's owner calls: its parameters, and the decision whether to accept a call. The server of
//! the demo, which exists on Linux only, and tests have this role.

use std::time::{Duration, Instant};

use super::{CallError, CallState, Control, ControlConfig, ControlEvent, Phase, Role, calls::Call, wire};
use crate::pptp::quirks::Quirks;

/// Values that the server sends when it accepts a call (§2.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallAccept {
    /// Our call ID, which must not be in use.
    pub call_id: u16,
    /// Line speed to report, bit/s.
    pub connect_speed: u32,
    /// Packets that we buffer for the call.
    pub window: u16,
    /// Physical channel to report, for the client's logs.
    pub channel: u32,
}

impl CallAccept {
    /// Returns the values of a fast line.
    #[must_use]
    pub const fn new(call_id: u16) -> Self {
        Self { call_id, connect_speed: 100_000_000, window: 64, channel: 0 }
    }
}

impl ControlConfig {
    /// Returns the parameters of a server.
    #[must_use]
    pub fn server(host_name: impl Into<String>) -> Self {
        Self {
            role: Role::Pac,
            host_name: host_name.into(),
            vendor: "pptpctl".to_owned(),
            firmware: 1,
            max_channels: 64,
            framing: 3,
            bearer: 3,
            quirks: Quirks::None,
            reply_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(10),
            idle_wait: Some(Duration::from_secs(60)),
            max_echo_wait: Duration::from_secs(60),
            stop_timeout: Duration::from_secs(2),
        }
    }
}

impl Control {
    /// Server: accepts the call that [`ControlEvent::IncomingCall`] reported.
    ///
    /// # Errors
    /// Returns a [`CallError`] if the call does not await a decision or the call ID is in use.
    pub fn accept_call(
        &mut self,
        _now: Instant,
        peer_call_id: u16,
        accept: CallAccept,
    ) -> Result<(), CallError> {
        if self.calls.local(accept.call_id).is_some() {
            return Err(CallError::InUse(accept.call_id));
        }
        let call = self.offered(peer_call_id)?;
        call.local = accept.call_id;
        call.state = CallState::Up;
        let peer_window = call.peer_window;
        self.send(wire::OutgoingCallReply {
            call_id: accept.call_id,
            peer_call_id,
            result: 1,
            error: 0,
            cause: 0,
            connect_speed: accept.connect_speed,
            window: accept.window,
            delay: 0,
            channel: accept.channel,
        });
        self.emit(ControlEvent::CallUp {
            call_id: accept.call_id,
            peer_call_id,
            peer_window,
            connect_speed: accept.connect_speed,
        });
        Ok(())
    }

    /// Server: refuses the call that [`ControlEvent::IncomingCall`] reported.
    ///
    /// # Errors
    /// Returns a [`CallError`] if the call does not await a decision.
    pub fn refuse_call(
        &mut self,
        _now: Instant,
        peer_call_id: u16,
        result: u8,
        error: u8,
        cause: u16,
    ) -> Result<(), CallError> {
        self.offered(peer_call_id)?;
        self.calls.remove_peer(peer_call_id);
        self.refuse(peer_call_id, result, error, cause);
        Ok(())
    }

    /// Returns whether the control connection has ended. Output and events may still be queued.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Returns the call that awaits our decision, by the client's call ID.
    fn offered(&mut self, peer: u16) -> Result<&mut Call, CallError> {
        let call = self.calls.iter_mut().find(|call| call.peer == Some(peer) && call.is_offered());
        call.ok_or(CallError::Unknown(peer))
    }
}
