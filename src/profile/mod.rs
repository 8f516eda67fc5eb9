//! What a person wrote: files become validated profiles, or errors with a caret.
//!
//! Owns the TOML schema, its defaults, the diagnostics (file, line, column, what would be right) and the ways
//! to get at a password. Does not own what a profile leads to: the steps are `plan`'s, the deeds `link`'s, and
//! nothing here opens a socket. A [`Profile`] that exists is valid; whatever is wrong with a file is said by a
//! report, and nothing past this room sees a half-checked value. `man/pptpctl.toml.5` describes the format.

mod host;
mod name;
mod settings;

pub use host::{
    DefaultRoute, Dns, DnsBackend, DnsServers, Hooks, Leak, LinkPlace, Mss, Mtu, Nftables, Pf, Route,
};
pub use name::{InvalidName, ProfileName};
pub use settings::{
    AuthProtocol, Echo, Host, LogLevel, Mppe, MppeMode, MppeStrength, Origin, PasswordSource, Ppp,
    PppBackend, Profile, Quirks, Reorder, Retry, Server, Timeouts,
};
