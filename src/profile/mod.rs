//! Turns configuration files into validated profiles, or into diagnostics with a caret.
//!
//! Owns the TOML schema, its defaults, the diagnostics (file, line, column, advice) and the sources of
//! passwords. `plan` derives the steps from a profile and `apply` performs them; nothing here opens a socket.
//! A [`Profile`] that exists is valid: errors in a file end up in a report, and no other module sees a
//! half-checked value. `man/pptpctl.toml.5` describes the format.
//!
//! ```text
//! files ─► source ─► (TOML tree) ─► privacy ─► read, read_host ─► check ─► Profile
//!            │ what may be shown      through tree, values, schema    │
//!            └────────────────────────► report ◄──────────────────────┘
//! ```

mod backend;
mod check;
mod data_path;
pub mod differences;
mod files;
mod home_command;
mod host;
mod manage;
mod name;
mod nearest;
pub mod password;
mod pf_text;
mod ppp;
mod privacy;
mod probe;
mod profiles;
mod read;
mod read_host;
mod report;
mod review;
pub mod schema;
mod settings;
mod source;
mod summary;
mod tree;
mod values;

pub use files::Locations;
pub use host::{
    Conntrack, DefaultRoute, Dns, DnsBackend, DnsServers, Hooks, Leak, LinkSettings, Mtu, Nftables,
    OnCollision, Pf, Route,
};
pub use name::ProfileName;
pub use password::SecretError;
pub use ppp::{DataPath, Ppp, PppBackend};
pub use profiles::{LookupError, Profiles};
pub use report::{Finding, Severity, Style};
pub use review::HostView;
pub use settings::{
    Host, LogLevel, Origin, PasswordSource, Profile, Retry, RunAs, SandboxMode, Server, Timeouts,
};
pub use values::mppe_text;

pub use crate::{
    ppp::{
        auth::AuthProtocol,
        link::Echo,
        mppe::{Demand, Policy, Strength},
        mss::Mss,
    },
    pptp::{flow::Reorder, quirks::Quirks},
};
