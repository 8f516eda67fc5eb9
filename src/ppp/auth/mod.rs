//! Authentication of a PPP link in both roles: PAP (RFC 1334 §2), CHAP with MD5 (RFC 1994), MS-CHAPv1 (RFC
//! 2433) and MS-CHAPv2 (RFC 2759).
//!
//! [`Client`] authenticates us to the server, [`Server`] authenticates the peer. The link negotiates the
//! protocol in LCP and acts on each [`AuthEvent`]. Both state machines take packets of the PPP protocols C023
//! and C223 without PPP header, and the time as an argument; after the first success they still handle
//! renewed challenges. The hashes are in [`crate::ppp::crypto`].

mod client;
mod failure;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzz;
mod packet;
mod retransmit;
mod server;
#[cfg(test)]
mod tests;
mod text;

use std::{fmt, sync::Arc, time::Duration};

pub use client::Client;
pub use failure::{AuthFailure, FailureKind};
pub use packet::AuthDrop;
pub use server::Server;
pub use text::printable;

use crate::{ppp::mppe, secret::Secret};

/// PPP protocol number of PAP.
pub const PAP: u16 = 0xc023;
/// PPP protocol number of CHAP in all its dialects.
pub const CHAP: u16 = 0xc223;

/// An authentication protocol. Ordered weakest to strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum AuthProtocol {
    /// Password in clear (RFC 1334).
    Pap,
    /// MD5 over the password and a challenge (RFC 1994). Gives no keys for MPPE.
    ChapMd5,
    /// RFC 2433; only the NT response is sent and accepted.
    MsChapV1,
    /// RFC 2759; also authenticates the server.
    MsChapV2,
}

impl AuthProtocol {
    /// All protocols, weakest to strongest.
    pub const ALL: [Self; 4] = [Self::Pap, Self::ChapMd5, Self::MsChapV1, Self::MsChapV2];

    /// Returns the value of the LCP Authentication-Protocol option (type 3), without type and length.
    #[must_use]
    pub const fn lcp_option(self) -> &'static [u8] {
        match self {
            Self::Pap => &[0xc0, 0x23],
            Self::ChapMd5 => &[0xc2, 0x23, 5],
            Self::MsChapV1 => &[0xc2, 0x23, 0x80],
            Self::MsChapV2 => &[0xc2, 0x23, 0x81],
        }
    }

    /// Returns the protocol of an option value, `None` if it is not supported. Inverse of
    /// [`Self::lcp_option`].
    #[must_use]
    pub fn from_lcp_option(value: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.lcp_option() == value)
    }

    /// Returns the PPP protocol number of its packets.
    #[must_use]
    pub const fn ppp_protocol(self) -> u16 {
        match self {
            Self::Pap => PAP,
            Self::ChapMd5 | Self::MsChapV1 | Self::MsChapV2 => CHAP,
        }
    }

    /// Returns whether a success yields MPPE keys.
    #[must_use]
    pub const fn gives_keys(self) -> bool {
        matches!(self, Self::MsChapV1 | Self::MsChapV2)
    }
}

impl fmt::Display for AuthProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pap => "PAP",
            Self::ChapMd5 => "CHAP-MD5",
            Self::MsChapV1 => "MS-CHAPv1",
            Self::MsChapV2 => "MS-CHAPv2",
        })
    }
}

/// Our user name and password.
#[derive(Clone)]
pub struct Credentials {
    /// User name; may itself be `DOMAIN\user` if `domain` is `None`.
    pub user: String,
    /// Windows domain, put before the user name with a backslash.
    pub domain: Option<String>,
    /// The password, UTF-8.
    pub password: Secret,
}

impl Credentials {
    /// Returns the name as sent on the wire, with the domain if there is one.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.domain {
            Some(domain) if !domain.is_empty() => format!("{domain}\\{}", self.user),
            _ => self.user.clone(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// A server's user database: names with their passwords.
#[derive(Clone)]
pub struct Users(Arc<[(String, Secret)]>);

impl Users {
    /// Creates a database.
    #[must_use]
    pub fn table(users: Vec<(String, Secret)>) -> Self {
        Self(users.into())
    }

    /// Returns the password of a user. A name with a domain is looked up first with it, then without.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Option<&Secret> {
        let find = |wanted: &str| self.0.iter().find(|(name, _)| name == wanted).map(|(_, secret)| secret);
        find(name).or_else(|| find(name.rsplit('\\').next().unwrap_or(name)))
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Users")
    }
}

/// Retransmission intervals and time limit of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Wait before the first retransmission; doubled for each further one.
    pub retransmit: Duration,
    /// Maximum wait between two transmissions.
    pub retransmit_max: Duration,
    /// Maximum number of transmissions of a packet, including the first.
    pub attempts: u32,
    /// Time from the start of the exchange until it fails.
    pub limit: Duration,
    /// Client: time to wait for the peer's end of the link after its refusal, see [`Client::refusal`]; `None`
    /// fails at once.
    pub confirm: Option<Duration>,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            retransmit: Duration::from_secs(2),
            retransmit_max: Duration::from_secs(4),
            attempts: 10,
            limit: Duration::from_secs(30),
            confirm: None,
        }
    }
}

/// The outcome of an exchange. Each state machine reports one `Success` or `Failure`; a `Failure` can also
/// follow a `Success` if a renewed challenge fails. A renewed challenge that succeeds is not reported and
/// changes no key.
#[derive(Clone)]
pub enum AuthEvent {
    /// The credentials were accepted and, with MS-CHAPv2, the server has authenticated itself.
    Success {
        /// The peer's name: the server's name on a client, the user name on a server. Printable.
        peer_name: String,
        /// The server's message. Printable.
        message: Option<String>,
        /// MPPE keys, after MS-CHAPv1 and MS-CHAPv2.
        keys: Option<mppe::Keys>,
    },
    /// Authentication failed; the link must be closed.
    Failure(AuthFailure),
}

impl fmt::Debug for AuthEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success { peer_name, message, keys } => f
                .debug_struct("Success")
                .field("peer_name", peer_name)
                .field("message", message)
                .field("has_keys", &keys.is_some())
                .finish(),
            Self::Failure(failure) => f.debug_tuple("Failure").field(failure).finish(),
        }
    }
}
