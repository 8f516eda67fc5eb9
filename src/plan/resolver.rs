//! The services that can manage a host's resolvers.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{platform::Platform, profile::DnsBackend};

/// The file from which programs read their resolvers.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The service that manages a host's resolvers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resolver {
    /// systemd-resolved, by resolvectl(1).
    Resolved,
    /// resolvconf(8): Debian's or openresolv.
    Resolvconf,
    /// OpenBSD's resolvd(8), by route(8) nameserver.
    Resolvd,
    /// OpenBSD's unwind(8), which receives the same proposals.
    Unwind,
    /// No service: resolv.conf(5) itself is written.
    File,
}

impl Resolver {
    /// Returns the service that a profile selects; `None` for `auto`.
    #[must_use]
    pub const fn forced(backend: DnsBackend) -> Option<Self> {
        Some(match backend {
            DnsBackend::Auto => return None,
            DnsBackend::Resolved => Self::Resolved,
            DnsBackend::Resolvconf => Self::Resolvconf,
            DnsBackend::Resolvd => Self::Resolvd,
            DnsBackend::Unwind => Self::Unwind,
            DnsBackend::File => Self::File,
        })
    }

    /// Returns the service of a platform that has exactly one.
    pub(super) const fn of(platform: Platform) -> Option<Self> {
        match platform {
            Platform::Linux => None,
            // openresolv is in the base system of both.
            Platform::FreeBsd | Platform::NetBsd => Some(Self::Resolvconf),
            Platform::OpenBsd => Some(Self::Resolvd),
        }
    }

    /// Returns whether the service can use separate resolvers for some domains (split DNS).
    #[must_use]
    pub const fn supports_split_dns(self) -> bool {
        // unwind(8) does so by its own configuration, which cannot be changed while it runs.
        matches!(self, Self::Resolved)
    }
}

impl fmt::Display for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolved => "systemd-resolved",
            Self::Resolvconf => "resolvconf",
            Self::Resolvd => "resolvd",
            Self::Unwind => "unwind",
            Self::File => RESOLV_CONF,
        })
    }
}
