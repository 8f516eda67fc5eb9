//! A profile in a few plain fields, for `list --json` and for the ledger: nothing secret is in it, and nothing
//! that could be (of a password only the kind of its source).

use serde::Serialize;

use super::{PasswordSource, Profile, ProfileName};

/// What may be shown of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The NAME.
    pub name: ProfileName,
    /// `FILE:LINE:COLUMN` of its header.
    pub origin: Option<String>,
    /// The servers as they were written.
    pub servers: Vec<String>,
    /// The user, without domain.
    pub user: String,
    /// The domain.
    pub domain: Option<String>,
    /// `file`, `command`, `fd`, `credential` or `inline`.
    pub password: &'static str,
    /// The protocols that are accepted, strongest first.
    pub auth: Vec<&'static str>,
    /// As in the profile: `require-128`, …
    pub mppe: String,
    /// The fixed tunnel unit.
    pub unit: Option<u32>,
    /// Prefixes that go through the tunnel.
    pub routes: Vec<String>,
    /// How everything goes through the tunnel, if it does.
    pub default: Option<&'static str>,
}

impl Profile {
    /// The fields that may be shown.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            name: self.name.clone(),
            origin: self.origin.as_ref().map(ToString::to_string),
            servers: self.servers.iter().map(ToString::to_string).collect(),
            user: self.user.clone(),
            domain: self.domain.clone(),
            password: self.password.kind(),
            auth: self.auth.iter().map(|protocol| protocol.name()).collect(),
            mppe: self.mppe.to_string(),
            unit: self.unit,
            routes: self.routes.iter().map(|route| route.prefix.to_string()).collect(),
            default: self.default_route.map(super::DefaultRoute::name),
        }
    }
}

impl PasswordSource {
    /// The kind of place, as the key is called; `inline` for a password in the profile itself.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Command(_) => "command",
            Self::Fd(_) => "fd",
            Self::Credential(_) => "credential",
            Self::Inline(_) => "inline",
        }
    }
}
