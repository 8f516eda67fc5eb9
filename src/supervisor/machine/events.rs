//! Inputs, actions and states of the [`Machine`](super::Machine).

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use crate::{
    engine::message::LinkUp,
    failure::{Failure, Phase},
    plan::NextHop,
    profile::Server,
};

/// An event.
#[derive(Clone, Debug)]
pub enum Input {
    /// Begin with the first server.
    Start,
    /// The resolver's answer for the server of [`Action::Resolve`].
    Resolved(Result<Vec<Ipv4Addr>, Failure>),
    /// Sockets, host route or engine could not be set up for the address being dialled.
    DialFailed(Failure),
    /// The engine has reached this phase.
    Phase(Phase),
    /// The engine's link carries packets.
    LinkUp(LinkUp),
    /// The network steps have been performed, or have failed.
    Configured(Result<(), Failure>),
    /// The engine has ended, for this reason.
    EngineEnded(Failure),
    /// The network may have changed; this is its current state.
    Network(NetworkState),
    /// The host was suspended, or the process stopped, for a while.
    Woke,
    /// The user asks for another dial, with the servers of [`Machine::take_profile`](super::Machine::take_profile).
    Redial,
    /// `down`, or a signal to end.
    Stop,
    /// The time returned by [`Machine::next_timeout`](super::Machine::next_timeout) has come.
    Timeout,
}

impl Input {
    /// Returns the failure in this input, if there is one.
    pub fn failure_mut(&mut self) -> Option<&mut Failure> {
        match self {
            Self::Resolved(Err(failure))
            | Self::DialFailed(failure)
            | Self::Configured(Err(failure))
            | Self::EngineEnded(failure) => Some(failure),
            _ => None,
        }
    }
}

/// The state of the network, as this host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkState {
    /// Next hop to one of [`Machine::servers_to_reach`](super::Machine::servers_to_reach), ignoring our own tunnel; to the internet while no address of
    /// a server is known. `None` if there is none.
    pub next_hop: Option<NextHop>,
    /// Whether the local address of the connection, if there is one, still belongs to this host.
    pub address_stays: bool,
}

/// An instruction to the loop in `run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Look up the server's name, within the profile's limit.
    Resolve(Server),
    /// Set up host route, sockets and engine for this address.
    Dial(SocketAddrV4),
    /// Perform the network steps for this link, then report [`Input::Configured`].
    Configure(LinkUp),
    /// The tunnel carries packets: report that.
    Ready,
    /// The tunnel is lost: undo the steps that are in force only while it is up, until [`Action::Configure`].
    WithdrawRoutes,
    /// The tunnel is lost, and the next attempt follows after this wait: report that.
    Waiting(Duration),
    /// There is no route to the server: report that, and send [`Input::Network`] when it changes.
    NoNetwork,
    /// Poll the network and send [`Input::Network`] now.
    PollNetwork,
    /// Move the host route, and all else that depends on the next hop to the server, to the present one.
    Repin,
    /// The next hop is unchanged: restore our routes that have disappeared.
    RestoreRoutes,
    /// Make the engine check whether the server still answers.
    Probe,
    /// Kill the engine or the resolver at once, for this reason; no input follows.
    Abandon(Failure),
    /// End the engine gracefully, or the resolver; [`Input::EngineEnded`] or [`Input::Resolved`] follows.
    StopChild,
    /// Undo everything and end with this result.
    End(Result<(), Failure>),
}

/// The state of a tunnel, as `status` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelState {
    /// Looking up a server's name.
    Resolving,
    /// Establishing a link.
    Dialing,
    /// The link is up; the network steps are being performed.
    Configuring,
    /// The tunnel carries packets.
    Up,
    /// Waiting for the next attempt.
    Waiting,
    /// Waiting for a route to the server.
    NoNetwork,
    /// Shutting down.
    Stopping,
    /// Ended.
    Ended,
}

impl TunnelState {
    /// Returns the word shown to users.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Resolving => "resolving",
            Self::Dialing => "connecting",
            Self::Configuring => "configuring",
            Self::Up => "up",
            Self::Waiting => "waiting",
            Self::NoNetwork => "no network",
            Self::Stopping => "stopping",
            Self::Ended => "ended",
        }
    }
}
