//! The kinds of names and secrets that a report has placeholders for.

/// What was replaced. The earlier kind names a find that overlaps with another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// A password, or a text that may hold one.
    Secret,
    /// A text that the server or another program has sent.
    PeerText,
    /// A server of a profile.
    Server,
    /// The name that a server gives itself.
    ServerName,
    /// A user.
    User,
    /// A domain, of a user or in DNS.
    Domain,
    /// The name of a profile.
    Profile,
    /// This host's name.
    ThisHost,
    /// Another text of a profile: a phone number, a label.
    Text,
    /// What looks like the name of a host.
    Host,
    /// A public address.
    Address,
    /// A private address.
    Private,
    /// A hardware address.
    Mac,
    /// Bytes or an identifier in hexadecimal.
    Hex,
    /// What looks like base64.
    Base64,
}

impl Kind {
    /// Returns the word in a placeholder.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::PeerText => "text of the server",
            Self::Server => "server",
            Self::ServerName => "server's name",
            Self::User => "user",
            Self::Domain => "domain",
            Self::Profile => "profile",
            Self::ThisHost => "this host",
            Self::Text => "text",
            Self::Host => "host",
            Self::Address => "address",
            Self::Private => "private address",
            Self::Mac => "hardware address",
            Self::Hex => "hex",
            Self::Base64 => "base64",
        }
    }

    /// Returns whether its placeholders are numbered: those of secrets would tell whether two are the same.
    pub(super) const fn is_numbered(self) -> bool {
        !matches!(self, Self::Secret | Self::PeerText | Self::ThisHost)
    }
}
