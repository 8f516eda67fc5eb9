//! The calls of one control connection: a short table, searched by either side's identifier.

use std::time::{Duration, Instant};

/// Upper limit of calls on one control connection, whatever the peer requests.
pub(super) const MAX_CALLS: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// Our call ID; meaningless while `Offered`.
    pub local: u16,
    /// The peer's call ID, once known.
    pub peer: Option<u16>,
    /// Packets that the peer buffers; 0 until it has sent the number.
    pub peer_window: u16,
    pub state: CallState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallState {
    /// Client: Outgoing-Call-Request sent.
    WaitReply { until: Instant },
    /// Server: Outgoing-Call-Request received, decision pending.
    Offered { until: Instant },
    /// GRE may flow.
    Up,
    /// Client: Call-Clear-Request sent. `announced`: the end has already been reported to the owner.
    Clearing { until: Instant, announced: bool },
}

impl Call {
    /// Returns when the current state times out; `None` if it does not.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            CallState::WaitReply { until }
            | CallState::Offered { until }
            | CallState::Clearing { until, .. } => Some(until),
            CallState::Up => None,
        }
    }

    pub fn start_clearing(&mut self, now: Instant, timeout: Duration, announced: bool) {
        self.state = CallState::Clearing { until: now + timeout, announced };
    }

    const fn is_clearing(&self) -> bool {
        matches!(self.state, CallState::Clearing { .. })
    }

    pub const fn is_offered(&self) -> bool {
        matches!(self.state, CallState::Offered { .. })
    }
}

/// The table of calls.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<Call>);

impl Calls {
    pub fn add(&mut self, call: Call) {
        self.0.push(call);
    }

    pub fn is_full(&self, limit: usize) -> bool {
        self.0.len() >= limit.min(MAX_CALLS)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Call> {
        self.0.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Call> {
        self.0.iter_mut()
    }

    pub fn take_all(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.0)
    }

    /// Returns the call with our call ID, unless it awaits a decision.
    pub fn local(&mut self, id: u16) -> Option<&mut Call> {
        self.0.iter_mut().find(|call| call.local == id && !call.is_offered())
    }

    /// Returns whether a call has this call ID of the peer.
    pub fn has_peer(&self, peer: u16) -> bool {
        self.0.iter().any(|call| call.peer == Some(peer))
    }

    /// Removes and returns the call with the peer's call ID.
    pub fn remove_peer(&mut self, peer: u16) -> Option<Call> {
        let at = self.0.iter().position(|call| call.peer == Some(peer))?;
        Some(self.0.swap_remove(at))
    }

    /// Removes and returns the call with our call ID, unless it awaits a decision.
    pub fn remove_local(&mut self, id: u16) -> Option<Call> {
        let at = self.0.iter().position(|call| call.local == id && !call.is_offered())?;
        Some(self.0.swap_remove(at))
    }

    /// Removes and returns the call that a Call-Disconnect-Notify with this call ID ends.
    ///
    /// The ID should be the server's. If we requested the end before we learned it, or if the server echoes
    /// ours instead, the notification still ends the one call that is being cleared. So it does with the one call of
    /// the connection whose reply has not come: a server may refuse a call in this way.
    pub fn remove_disconnected(&mut self, id: u16) -> Option<Call> {
        if let Some(call) = self.remove_peer(id) {
            return Some(call);
        }
        let at = self.0.iter().position(|call| call.is_clearing() && call.local == id).or_else(|| {
            let mut clearing = self.0.iter().enumerate().filter(|(_, call)| call.is_clearing());
            match (clearing.next(), clearing.next()) {
                (Some((at, call)), None) if call.peer.is_none() => Some(at),
                (None, _) => match self.0.as_slice() {
                    [Call { peer: None, state: CallState::WaitReply { .. }, .. }] => Some(0),
                    _ => None,
                },
                _ => None,
            }
        })?;
        Some(self.0.swap_remove(at))
    }
}
