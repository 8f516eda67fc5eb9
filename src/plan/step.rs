//! The steps of a plan. Each kind of step is a type of its own; this file only dispatches to them.

use serde::{Deserialize, Serialize};

use super::{
    Facts, Symbol,
    device::{Address6Step, AddressStep, DomainStep, MtuStep, OpenTunStep, PidFileStep, UpStep},
    dns::DnsStep,
    firewall::FirewallStep,
    gre_sysctl::AllowGreStep,
    hook::HookStep,
    kind::{Key, StepKind, StepTraits},
    leak_filter::LeakFilterStep,
    pause::PauseStep,
    policy_routing::PolicyStep,
    ppp_daemon::PppStep,
    route::{HostRouteStep, RemoveDefaultStep, RouteStep},
};
use crate::platform::Platform;

/// Declares [`Step`] with one variant for each kind of step, and the two functions that dispatch to them.
macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident($kind:ty),)*) => {
        /// One reversible change to the host.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        pub enum Step {
            $($(#[$doc])* $name($kind),)*
        }

        impl Step {
            fn kind(&self) -> &dyn StepKind {
                match self {
                    $(Self::$name(step) => step,)*
                }
            }

            fn kind_mut(&mut self) -> &mut dyn StepKind {
                match self {
                    $(Self::$name(step) => step,)*
                }
            }
        }
    };
}

steps! {
    /// Opens the tun device.
    OpenTun(OpenTunStep),
    /// The route to the server alone.
    HostRoute(HostRouteStep),
    /// The MTU of the tun device.
    Mtu(MtuStep),
    /// The routing domain (OpenBSD) or FIB (FreeBSD) of the tun device.
    Domain(DomainStep),
    /// The IPv4 addresses on the tun device.
    Address(AddressStep),
    /// The IPv6 link-local addresses on the tun device.
    Address6(Address6Step),
    /// Brings the tun device up.
    Up(UpStep),
    /// The supervisor's process ID in `tunX.pid`.
    PidFile(PidFileStep),
    /// A route into the tunnel.
    Route(RouteStep),
    /// Removes the default routes of the main table.
    RemoveDefault(RemoveDefaultStep),
    /// OpenBSD's `net.inet.gre.allow`.
    AllowGre(AllowGreStep),
    /// A step of an external PPP. A build without it writes none, and `recover` names a line of one as unreadable.
    #[cfg_attr(not(feature = "pppd"), serde(skip))]
    Ppp(PppStep),
    /// A step of policy routing or of the kill switch.
    Policy(PolicyStep),
    /// The kill switch by pf.
    LeakFilter(LeakFilterStep),
    /// A pause of the kill switch.
    Pause(PauseStep),
    /// Rules of the packet filter.
    Firewall(FirewallStep),
    /// The host's resolvers.
    Dns(DnsStep),
    /// The user's programs.
    Hook(HookStep),
}

impl Step {
    /// Returns the key of the object that the step changes.
    #[must_use]
    pub fn key(&self) -> Key {
        self.kind().key()
    }

    /// Returns the symbols that are still open in the step.
    #[must_use]
    pub fn open(&self) -> Vec<Symbol> {
        self.clone().kind_mut().fill(&Facts::default()).into_iter().flatten().collect()
    }

    /// Fills in the facts that are known.
    pub(super) fn fill(&mut self, facts: &Facts) {
        self.kind_mut().fill(facts);
    }

    /// Returns the properties that decide when the step is renewed and undone, and when it is gone by itself.
    #[must_use]
    pub fn traits(&self) -> StepTraits {
        self.kind().traits()
    }

    /// Returns whether the step belongs to the kill switch or to what passes it: it stays in force for the next supervisor.
    #[must_use]
    pub const fn is_of_kill_switch(&self) -> bool {
        matches!(self, Self::Policy(_) | Self::LeakFilter(_))
    }

    /// Returns the command that an administrator would type to the same effect, in the platform's syntax:
    /// ip(8) on Linux, ifconfig(8) and route(8) on the BSDs. It is only printed; `apply` uses the kernel's
    /// routing sockets.
    #[must_use]
    pub fn line(&self, platform: Platform) -> String {
        self.kind().line(platform)
    }

    /// Returns the undo command in the platform's syntax; `None` if the step disappears with the tun device.
    #[must_use]
    pub fn undo_line(&self, platform: Platform) -> Option<String> {
        self.kind().undo_line(platform)
    }
}
