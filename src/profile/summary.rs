//! A summary of a profile for `list --json` and for the ledger. It contains no secret and nothing that could
//! be one (of the password only the kind of its source).

use serde::Serialize;

use super::{DefaultRoute, PasswordSource, Profile, ProfileName, values};

/// The fields of a profile that may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The NAME of `[profile.NAME]`.
    pub name: ProfileName,
    /// `FILE:LINE:COLUMN` of its header, if it was read from a file.
    pub origin: Option<String>,
    /// The servers as they were written.
    pub servers: Vec<String>,
    /// The user, without a domain.
    pub user: String,
    /// The domain of the user.
    pub domain: Option<String>,
    /// `file`, `command`, `fd`, `credential`, `inline` or `ask`.
    pub password: &'static str,
    /// The accepted authentication protocols, strongest first.
    pub auth: Vec<&'static str>,
    /// As in the profile: `require-128`, …
    pub mppe: String,
    /// The N of tunN, if it is fixed.
    pub unit: Option<u32>,
    /// Prefixes with a route into the tunnel.
    pub routes: Vec<String>,
    /// The mode of the default route, if one is set.
    pub default: Option<&'static str>,
}

impl Profile {
    /// Returns the fields that may be shown.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            name: self.name.clone(),
            origin: self.origin.as_ref().map(ToString::to_string),
            servers: self.servers.iter().map(ToString::to_string).collect(),
            user: self.user.clone(),
            domain: self.domain.clone(),
            password: self.password.kind(),
            auth: (self.auth.iter().copied().map(Some))
                .chain(self.unauthenticated.then_some(None))
                .map(|one| values::word(one, &values::AUTH))
                .collect(),
            mppe: values::mppe_text(self.mppe),
            unit: self.unit,
            routes: self.routes.iter().map(|route| route.prefix.to_string()).collect(),
            default: self.default_route.map(DefaultRoute::name),
        }
    }
}

impl PasswordSource {
    /// Returns the kind of source by the name of its key; `inline` for a password in the profile, `ask` also for none.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Command(_) => "command",
            Self::Fd(_) => "fd",
            Self::Credential(_) => "credential",
            Self::Inline(_) => "inline",
            Self::Ask { .. } => "ask",
        }
    }
}
