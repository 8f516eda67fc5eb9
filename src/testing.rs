//! What the tests and benchmarks of `tests` and `benches` use of this crate, under the paths of its modules.
//!
//! Lists items, not modules, so that the compiler finds code that nothing uses. The exceptions are the codecs
//! for the BSDs, which are compiled on all systems.

pub mod apply {
    pub use crate::apply::{
        AppliedRouting, ApplyError, Cause, Changes, Directories, Disposition, FileOp, Host, Kernel, KernelOp,
        Output, Program, ProgramError, RecoveredItem, recover, recover_keeping,
    };
    pub mod ledger {
        pub use crate::apply::ledger::{Header, Ledger, PriorState};
    }
}

pub mod cli {
    pub mod args {
        pub use crate::cli::args::Args;
    }
    pub use crate::cli::exit;
}

#[cfg(all(feature = "demo", target_os = "linux"))]
pub mod demo {
    pub mod config {
        pub use crate::demo::config::{CLIENT_DEVICE, Fault, ServerConfig, Service};
    }
    pub mod impairment {
        pub use crate::demo::impairment::{ImpairedPath, ImpairmentConfig};
    }
    pub mod server {
        pub use crate::demo::server::ROLE;
    }
    pub mod world {
        pub use crate::demo::world::{Server, enter};
    }
}

#[cfg(feature = "drop-in")]
pub mod dropin {
    pub mod options {
        pub use crate::dropin::options::help;
    }
    pub mod stream {
        pub use crate::dropin::stream::Stream;
    }
}

pub mod engine {
    pub mod statistics {
        pub use crate::engine::statistics::names;
    }
}

pub mod failure {
    pub use crate::failure::{FailureKind, Remedy};
}

pub mod net {
    pub use crate::net::{ifreq, rtsock};
    #[cfg(target_os = "linux")]
    pub mod netlink {
        pub use crate::net::netlink::Netlink;
    }
    #[cfg(target_os = "linux")]
    pub mod offload {
        pub use crate::net::offload::{Coalescer, Offloads, VirtioHeader, split};
    }
    pub mod packets {
        pub use crate::net::packets::PacketIo;
    }
    pub mod routes {
        pub use crate::net::routes::{
            Error, Filter, Hop, Insert, Kind, Link, MAIN_TABLE, PROTOCOL, Route, RouteTo,
        };
    }
    pub mod rules {
        pub use crate::net::rules::Rule;
    }
    pub mod transport {
        pub use crate::net::transport::{
            Options, gre_socket, set_receive_buffer, start_connect, strip_ip_header, tcp_socket,
        };
    }
    pub mod tun {
        pub use crate::net::tun::{Error, Tun, open};
    }
}

pub mod os {
    pub mod batch {
        pub use crate::os::batch::Batch;
    }
    pub mod channel {
        pub use crate::os::channel::Channel;
    }
    pub mod launch {
        pub use crate::os::launch::{ProgramFile, Start};
        pub mod files {
            pub use crate::os::launch::files::{
                Opening, listen, open, read_to_string, remove, rename, set_mode,
            };
        }
    }
    pub mod pty {
        pub use crate::os::pty::Pty;
    }
    pub mod wait {
        pub use crate::os::wait::{Interest, until};
    }
}

pub mod plan {
    pub use crate::plan::{
        Clamp, FIRST_TABLE, Facts, FirewallStep, Ipv6, Macros, MtuStep, NextHop, Part, Plan,
        RemoveDefaultStep, Resolver, SLOTS, Step, Value, network, nft_text, transport,
    };
}

pub mod platform {
    pub use crate::platform::Platform;
}

pub mod ppp {
    pub mod auth {
        pub use crate::ppp::auth::{AuthProtocol, Credentials, Users};
    }
    pub mod hdlc {
        pub use crate::ppp::hdlc::{Accm, Decoder, encode};
    }
    pub mod link {
        pub use crate::ppp::link::{Link, LinkConfig, LinkEvent, LinkUp, Received};
    }
    pub mod mppe {
        pub use crate::ppp::{
            crypto::NtHash,
            mppe::{Demand, End, Keys, Opener, Policy, Sealer, Strength},
        };
    }
}

pub mod pptp {
    pub mod flow {
        pub use crate::pptp::flow::{Flow, FlowConfig};
    }
    pub mod gre {
        pub use crate::pptp::gre::{Header, MAX_HEADER, emit, parse};
    }
    pub mod wire {
        pub use crate::pptp::wire::{
            EchoReply, Message, OutgoingCallReply, StartControlConnectionReply, StreamDecoder, Text, VERSION,
        };
    }
}

pub mod profile {
    pub use crate::profile::password::MAX_LENGTH as MAX_PASSWORD;
    pub use crate::profile::{
        Conntrack, DefaultRoute, DnsBackend, DnsServers, Finding, Host, HostView, Leak, LinkSettings,
        Locations, Nftables, PasswordSource, Profile, Profiles, Route, Server, Style,
    };
    pub mod schema {
        pub use crate::profile::schema::{Absent, GATE, KEYS, Key, Kind, find};
    }
}

pub mod secret {
    pub use crate::secret::Secret;
}

pub mod supervisor {
    pub use crate::supervisor::{look_up, restrict};
    pub mod log {
        pub use crate::supervisor::log::LARGEST;
    }
    pub mod password {
        pub use crate::supervisor::password::{SecretAccess, load};
    }
}
