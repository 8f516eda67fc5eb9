//! Values that may not be known yet, so that one plan can be printed before the call and performed after it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A known value, or the symbol that stands for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value<T> {
    /// Not known yet.
    Open(Symbol),
    /// Known.
    Known(T),
}

impl<T> Value<T> {
    /// Returns the value, if it is known.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Open(_) => None,
        }
    }

    /// Returns the symbol, if the value is not known.
    pub const fn open(&self) -> Option<Symbol> {
        match self {
            Self::Known(_) => None,
            Self::Open(symbol) => Some(*symbol),
        }
    }
}

impl<T: Clone> Value<T> {
    /// Takes the value from a fact, if this is open and the fact is known; returns the symbol if it is still
    /// open.
    pub(super) fn fill<'a>(&mut self, fact: impl Into<Option<&'a T>>) -> Option<Symbol>
    where
        T: 'a,
    {
        if let (Self::Open(_), Some(value)) = (&self, fact.into()) {
            *self = Self::Known(value.clone());
        }
        self.open()
    }
}

impl<T: fmt::Display> fmt::Display for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(value) => value.fmt(f),
            Self::Open(symbol) => symbol.fmt(f),
        }
    }
}

/// A fact that a plan may have to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Symbol {
    /// The server's address, from its name.
    #[serde(rename = "<server>")]
    Server,
    /// The gateway or device by which the kernel reaches the server.
    #[serde(rename = "<gateway>")]
    Gateway,
    /// The tun device, if its unit is not fixed.
    #[serde(rename = "<tun>")]
    Tun,
    /// pppd's device, if its unit is not fixed.
    #[serde(rename = "<ppp>")]
    Ppp,
    /// The MTU that the path and the peer allow.
    #[serde(rename = "<mtu>")]
    Mtu,
    /// The local address in the tunnel (IPCP).
    #[serde(rename = "<local>")]
    Local,
    /// The peer's address in the tunnel (IPCP).
    #[serde(rename = "<peer>")]
    Peer,
    /// The local link-local address in the tunnel (IPV6CP).
    #[serde(rename = "<local6>")]
    Local6,
    /// The peer's link-local address in the tunnel (IPV6CP).
    #[serde(rename = "<peer6>")]
    Peer6,
    /// The supervisor's process ID.
    #[serde(rename = "<pid>")]
    Pid,
    /// The tunnel's own routing table, which is also the mark of its transport (Linux).
    #[serde(rename = "<table>")]
    Table,
    /// The resolvers that the peer names (RFC 1877).
    #[serde(rename = "<dns>")]
    Dns,
    /// The service that manages this host's resolvers.
    #[serde(rename = "<resolver>")]
    Resolver,
    /// A network in local address space to which this host is connected (Linux).
    #[serde(rename = "<connected>")]
    Connected,
    /// A network in other address space to which this host is connected (Linux).
    #[serde(rename = "<public>")]
    Public,
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "<server>",
            Self::Gateway => "<gateway>",
            // The notation of the manual page.
            Self::Tun => "tunX",
            Self::Ppp => "pppX",
            Self::Mtu => "<mtu>",
            Self::Local => "<local>",
            Self::Peer => "<peer>",
            Self::Local6 => "<local6>",
            Self::Peer6 => "<peer6>",
            Self::Pid => "<pid>",
            Self::Table => "<table>",
            Self::Dns => "<dns>",
            Self::Resolver => "<resolver>",
            Self::Connected => "<connected>",
            Self::Public => "<public>",
        })
    }
}
