//! The calls of one control connection: a short table, searched by either side's identifier.

use std::time::{Duration, Instant};

/// How many calls one control connection carries, whatever the peer asks for.
pub(super) const MAX_CALLS: usize = 128;

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// Our identifier; meaningless while `Offered`.
    pub local: u16,
    /// The peer's identifier, once known.
    pub peer: Option<u16>,
    /// Packets that the peer buffers, as far as it has said.
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
    /// Client: Call-Clear-Request sent. `announced`: the owner knows already that the call is over.
    Clearing { until: Instant, announced: bool },
}

impl Call {
    /// When something about the call is due.
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

    const fn is_offered(&self) -> bool {
        matches!(self.state, CallState::Offered { .. })
    }
}

/// The table.
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

    /// The call with our identifier.
    pub fn local(&mut self, id: u16) -> Option<&mut Call> {
        self.0.iter_mut().find(|call| call.local == id && !call.is_offered())
    }

    /// The call that waits for our decision, by the client's identifier.
    pub fn offered(&mut self, peer: u16) -> Option<&mut Call> {
        self.0.iter_mut().find(|call| call.peer == Some(peer) && call.is_offered())
    }

    /// Whether the peer has a call with its identifier.
    pub fn has_peer(&self, peer: u16) -> bool {
        self.0.iter().any(|call| call.peer == Some(peer))
    }

    /// Takes out the call with the peer's identifier.
    pub fn remove_peer(&mut self, peer: u16) -> Option<Call> {
        let at = self.0.iter().position(|call| call.peer == Some(peer))?;
        Some(self.0.swap_remove(at))
    }

    /// Takes out the call with our identifier.
    pub fn remove_local(&mut self, id: u16) -> Option<Call> {
        let at = self.0.iter().position(|call| call.local == id && !call.is_offered())?;
        Some(self.0.swap_remove(at))
    }

    /// Takes out the call that a Call-Disconnect-Notify with this identifier ends.
    ///
    /// The identifier should be the server's. When we asked for the end before we learned it, or when the
    /// server echoes ours instead, the notification still answers the one call that is being cleared.
    pub fn remove_disconnected(&mut self, id: u16) -> Option<Call> {
        if let Some(call) = self.remove_peer(id) {
            return Some(call);
        }
        let at = self.0.iter().position(|call| call.is_clearing() && call.local == id).or_else(|| {
            let mut clearing = self.0.iter().enumerate().filter(|(_, call)| call.is_clearing());
            match (clearing.next(), clearing.next()) {
                (Some((at, call)), None) if call.peer.is_none() => Some(at),
                _ => None,
            }
        })?;
        Some(self.0.swap_remove(at))
    }
}
