//! Authentication of a PPP link, both roles: PAP (RFC 1334 §2), CHAP with MD5 (RFC 1994), MS-CHAPv1 (RFC 2433)
//! and MS-CHAPv2 (RFC 2759).
//!
//! [`Client`] proves who we are, [`Server`] asks the peer for proof; which protocol is spoken was agreed in LCP,
//! which is the link's business, as is what happens after a [`AuthEvent`]. Machines here see the packets of protocols
//! C023 and C223 without their PPP header, take time as an argument, and answer a renewed challenge for as long as
//! they live. The hashes are in [`crate::ppp::crypto`].

mod client;
mod failure;
#[doc(hidden)]
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

/// How a peer proves itself. Ordered weakest to strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum AuthProtocol {
    /// Password in clear (RFC 1334).
    Pap,
    /// MD5 over the password and a challenge (RFC 1994). Gives no keys for MPPE.
    ChapMd5,
    /// RFC 2433; the NT response only.
    MsChapV1,
    /// RFC 2759; the server proves itself too.
    MsChapV2,
}

impl AuthProtocol {
    /// Weakest to strongest.
    pub const ALL: [Self; 4] = [Self::Pap, Self::ChapMd5, Self::MsChapV1, Self::MsChapV2];

    /// Value of the LCP Authentication-Protocol option (type 3), without type and length.
    #[must_use]
    pub const fn lcp_option(self) -> &'static [u8] {
        match self {
            Self::Pap => &[0xc0, 0x23],
            Self::ChapMd5 => &[0xc2, 0x23, 5],
            Self::MsChapV1 => &[0xc2, 0x23, 0x80],
            Self::MsChapV2 => &[0xc2, 0x23, 0x81],
        }
    }

    /// The inverse of [`Self::lcp_option`]; `None` for what we do not speak.
    #[must_use]
    pub fn from_lcp_option(value: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.lcp_option() == value)
    }

    /// PPP protocol number of its packets.
    #[must_use]
    pub const fn ppp_protocol(self) -> u16 {
        match self {
            Self::Pap => PAP,
            Self::ChapMd5 | Self::MsChapV1 | Self::MsChapV2 => CHAP,
        }
    }

    /// Whether a success yields MPPE keys.
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

/// Who we are.
#[derive(Clone)]
pub struct Credentials {
    /// User name; may itself be `DOMAIN\user` when `domain` is none.
    pub user: String,
    /// Windows domain, put before the user name with a backslash.
    pub domain: Option<String>,
    /// The password, UTF-8.
    pub password: Secret,
}

impl Credentials {
    /// The name as it goes over the wire.
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

/// What a server knows about a name.
#[derive(Clone)]
pub enum Lookup {
    /// The user's password.
    Password(Secret),
    /// No such user; the peer is told the same as for a wrong password.
    Unknown,
    /// Known and turned away, with an error code of RFC 2759 §6 (646 to 649) for the dialects that carry one.
    Refused(u32),
}

/// A server's users: a name as it came over the wire, domain included, to what is known about it.
#[derive(Clone)]
pub struct Users(Arc<dyn Fn(&str) -> Lookup + Send + Sync>);

impl Users {
    /// Asks a function.
    pub fn from_fn(lookup: impl Fn(&str) -> Lookup + Send + Sync + 'static) -> Self {
        Self(Arc::new(lookup))
    }

    /// A table of names and passwords. A name that came with a domain is looked up whole, then without it.
    #[must_use]
    pub fn table(users: Vec<(String, Secret)>) -> Self {
        let find = move |wanted: &str| {
            users.iter().find(|(name, _)| name == wanted).map(|(_, secret)| secret.clone())
        };
        Self::from_fn(move |name| {
            let bare = name.rsplit('\\').next().unwrap_or(name);
            find(name).or_else(|| find(bare)).map_or(Lookup::Unknown, Lookup::Password)
        })
    }

    /// Looks a name up.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Lookup {
        (self.0)(name)
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Users")
    }
}

/// When a machine repeats itself and when it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Wait before the first repetition; each further one waits twice as long.
    pub retransmit: Duration,
    /// The longest wait between two.
    pub retransmit_max: Duration,
    /// How often a packet is sent at most, the first time included.
    pub attempts: u32,
    /// From the start of the machine to its giving up.
    pub limit: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            retransmit: Duration::from_secs(2),
            retransmit_max: Duration::from_secs(4),
            attempts: 10,
            limit: Duration::from_secs(30),
        }
    }
}

/// Why a machine wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The last packet is due for repetition.
    Retransmit,
    /// The time for the whole exchange is over.
    GiveUp,
}

/// What came of it. Each machine reports one `Success` or `Failure`; a `Failure` can also follow a `Success`, when
/// a renewed challenge goes wrong. A renewed challenge that goes well is not reported and changes no key.
#[derive(Clone)]
pub enum AuthEvent {
    /// The proof was accepted and, with MS-CHAPv2, the server has proven itself.
    Success {
        /// What the peer calls itself: the server's name for a client, the user name for a server. Printable.
        peer_name: String,
        /// What the server said about it. Printable.
        message: Option<String>,
        /// After MS-CHAPv1 and MS-CHAPv2.
        keys: Option<mppe::Keys>,
    },
    /// The link cannot go on.
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
