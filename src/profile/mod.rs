//! What a person wrote: files become validated profiles, or errors with a caret.
//!
//! Owns the TOML schema, its defaults, the diagnostics (file, line, column, what would be right) and the ways
//! to get at a password. Does not own what a profile leads to: the steps are `plan`'s, the deeds `link`'s, and
//! nothing here opens a socket. A [`Profile`] that exists is valid; whatever is wrong with a file is said by a
//! [`Report`], and nothing past this room sees a half-checked value. `man/pptpctl.toml.5` describes the format.
//!
//! ```text
//! files ─► source ─► (TOML tree) ─► privacy ─► read, read_host ─► check ─► Profile
//!            │ what may be shown      through tree, values, schema    │
//!            └────────────────────────► report ◄──────────────────────┘
//! ```

mod backend;
mod check;
mod files;
mod host;
mod name;
mod nearest;
mod password;
mod ppp;
mod privacy;
mod probe;
mod profiles;
mod read;
mod read_host;
mod report;
pub mod schema;
mod settings;
mod source;
mod summary;
mod tree;
mod values;

pub use files::{Locations, NoHome, SYSTEM_DIRECTORY};
pub use host::{
    DefaultRoute, Dns, DnsBackend, DnsServers, Hooks, Leak, LinkPlace, Mss, Mtu, Nftables, Pf, Route,
};
pub use name::{InvalidName, ProfileName};
pub use password::{MAX_LENGTH as MAX_PASSWORD, SecretAccess, SecretError};
pub use ppp::{AuthProtocol, Echo, Mppe, MppeMode, MppeStrength, Ppp, PppBackend};
pub use probe::MayRun;
pub use profiles::{LookupError, Profiles};
pub use report::{Excerpt, Finding, Report, Severity, Style};
pub use settings::{
    Host, LogLevel, Origin, PasswordSource, Profile, Quirks, Reorder, Retry, Server, Timeouts,
};
pub use summary::Summary;
