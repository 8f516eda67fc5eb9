//! The typed profile: servers, credentials, the timeout of each phase, retry.
//!
//! Pure data; defaults are in `schema`. PPP, authentication and encryption are in `ppp`, the tunnel's
//! changes to the host in `host`.

use std::{
    ffi::OsString,
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
    time::Duration,
};

use super::{
    AuthProtocol, Conntrack, DataPath, DefaultRoute, Dns, Hooks, Leak, LinkSettings, Mss, Mtu, Nftables,
    OnCollision, Pf, Policy, Ppp, ProfileName, Quirks, Reorder, Route,
};
use crate::secret::Secret;

/// One `[profile.NAME]` table, validated, every default filled in.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The NAME, which is safe in paths.
    pub name: ProfileName,
    /// Where it is in its file; `None` for a profile that was not read from one.
    pub origin: Option<Origin>,
    /// `server`: at least one. They are tried in order, each with all of its addresses.
    pub servers: Vec<Server>,
    /// `phone`: sent in the Outgoing-Call-Request (RFC 2637 §2.7), at most 64 bytes; overrides a quirk's
    /// number.
    pub phone: Option<String>,
    /// `quirks`: workaround for a peer that departs from RFC 2637.
    pub quirks: Quirks,
    /// `timeouts`: the limit of every phase.
    pub timeouts: Timeouts,
    /// `missing-window`: GRE packets this many sequence numbers ahead are bogus and dropped; `None` accepts
    /// any.
    pub missing_window: Option<u32>,
    /// `transmit-window`: packets are held back while the server's receive window is full.
    pub transmit_window: bool,
    /// `localbind`: the source address of control connection and GRE; `None` leaves it to the kernel.
    pub localbind: Option<Ipv4Addr>,
    /// `logstring`: prefix of each log line; `None` means the profile's name.
    pub logstring: Option<String>,
    /// `loglevel`: how much is logged.
    pub loglevel: LogLevel,
    /// `user`, without a domain.
    pub user: String,
    /// `domain`, or the part before the backslash in `user = "DOMAIN\\name"`.
    pub domain: Option<String>,
    /// `password`: the source of the password. The password is read once per `up` (a descriptor or a PIN
    /// cannot be read twice), and not stored here unless inline.
    pub password: PasswordSource,
    /// `password.run-as`: the user that `password.command` runs as.
    pub password_run_as: RunAs,
    /// `auth`: the accepted authentication protocols, strongest first, each once; empty only for `none` alone.
    pub auth: Vec<AuthProtocol>,
    /// `auth` has `none`: a server that asks for no authentication is accepted too.
    pub unauthenticated: bool,
    /// `mppe`: the required encryption; its `max` is 128 bits, since no key sets it.
    pub mppe: Policy,
    /// `ppp`: the PPP side of the call.
    pub ppp: Ppp,
    /// `unit`: the N of tunN; `None` selects a free one.
    pub unit: Option<u32>,
    /// `mtu` of the tunnel device.
    pub mtu: Mtu,
    /// `data-path`: who moves the packets.
    pub data_path: DataPath,
    /// `routes` into the tunnel, sorted by prefix, each prefix and table once.
    pub routes: Vec<Route>,
    /// `peer-routes`: also ask the server for routes (DHCPINFORM options 121 and 249).
    pub peer_routes: bool,
    /// `exclude`: prefixes that stay outside the tunnel.
    pub exclude: Vec<ipnet::IpNet>,
    /// `collision`: what happens to a route that has the addresses of a network of this host.
    pub collision: OnCollision,
    /// `default`: how all traffic is sent through the tunnel; `None` leaves the default route alone.
    pub default_route: Option<DefaultRoute>,
    /// `leak`: whether traffic for the tunnel may leave in clear while the tunnel is lost between `up` and
    /// `down`.
    pub leak: Leak,
    /// `dns`: the resolvers that are used while the tunnel is up.
    pub dns: Dns,
    /// `pf`: an anchor that is loaded while the tunnel is up.
    pub pf: Option<Pf>,
    /// `nftables`: a rules file that is loaded while the tunnel is up.
    pub nftables: Option<Nftables>,
    /// `conntrack`: help for a stateful firewall of this host.
    pub conntrack: Conntrack,
    /// `nat`: masquerade traffic from the LAN behind this host into the tunnel.
    pub nat: bool,
    /// `mss`: clamp the MSS of TCP connections through the tunnel.
    pub mss: Mss,
    /// `hooks`: the user's programs that run at link-up and link-down.
    pub hooks: Hooks,
    /// `link`: the namespace, routing domain or FIB of the tunnel.
    pub link: LinkSettings,
    /// `retry`: when and how often a lost tunnel is redialled.
    pub retry: Retry,
    /// `control.group`: the group whose members may read the status.
    pub control_group: Option<String>,
    /// `sandbox`: whether the tunnel runs without a filter that the kernel refuses.
    pub sandbox: SandboxMode,
    /// `autostart`: whether the tunnel is brought up at boot.
    pub autostart: bool,
}

impl Profile {
    /// Returns the prefix of each log line.
    #[must_use]
    pub fn log_name(&self) -> &str {
        self.logstring.as_deref().unwrap_or(self.name.as_str())
    }

    /// Returns the address of the first server, if the profile gives it instead of a name.
    #[must_use]
    pub fn first_literal(&self) -> Option<Ipv4Addr> {
        self.servers.first()?.literal().map(|address| *address.ip())
    }
}

/// A position in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The file, by the path under which it was opened.
    pub file: PathBuf,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// One server: `"vpn.example.net"`, `"203.0.113.9"` or either with `:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Its name or address.
    pub host: Host,
    /// TCP port of the control connection.
    pub port: u16,
}

impl Server {
    /// The default port (RFC 2637 §1.2).
    pub const PORT: u16 = 1723;

    /// Returns the address, if the profile gives an address, which needs no name resolution.
    #[must_use]
    pub const fn literal(&self) -> Option<SocketAddrV4> {
        match self.host {
            Host::Address(address) => Some(SocketAddrV4::new(address, self.port)),
            Host::Name(_) => None,
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        if self.port == Self::PORT { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// A server's name or its IPv4 address (GRE of RFC 2637 runs over IPv4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A syntactically valid host name, not yet resolved.
    Name(String),
    /// An IPv4 address.
    Address(Ipv4Addr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// The timeout of each phase, and of each wait inside one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// `resolve`: looking up one server name.
    pub resolve: Duration,
    /// `connect`: the TCP handshake with one address.
    pub connect: Duration,
    /// `control`: from SCCRQ to SCCRP.
    pub control: Duration,
    /// `call`: from OCRQ to OCRP.
    pub call: Duration,
    /// `gre`: from the established call to the first GRE packet (IP protocol 47).
    pub gre: Duration,
    /// `lcp`: from the first Configure-Request to LCP open.
    pub lcp: Duration,
    /// `auth`: the authentication phase.
    pub auth: Duration,
    /// `network`: CCP, IPCP and IPV6CP together, until packets may flow.
    pub network: Duration,
    /// `stop`: each wait of a graceful shutdown (CDN, Stop-Control-Connection-Reply, LCP Terminate-Ack).
    pub stop: Duration,
    /// `reorder`: how long a GRE packet may wait for an earlier one; `Off` is "off".
    pub reorder: Reorder,
    /// `idle-wait`: idle time of the control connection before an Echo-Request; `None` ("off", or 0 as in
    /// pptp(8)) sends none.
    pub idle_wait: Option<Duration>,
    /// `max-echo-wait`: how long the Echo-Reply may take before the connection is considered dead.
    pub max_echo_wait: Duration,
}

/// `loglevel`, with the meaning of `pptp --loglevel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Errors only.
    Quiet = 0,
    /// Also the phases, and reordered or duplicate packets.
    Normal = 1,
    /// Also every message.
    Verbose = 2,
}

/// The backoff for redialling a lost tunnel: exponential, capped, with jitter. A failed authentication is
/// never retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// `retry.first`: the wait before the first new attempt; it doubles with each failure.
    pub first: Duration,
    /// `retry.max`: the longest wait.
    pub max: Duration,
    /// `retry.attempts`: consecutive failures before giving up; 0 never retries, `None` never gives up.
    pub attempts: Option<u32>,
    /// `retry.jitter`: the largest random change of each wait, up or down, in percent, 0 to 100.
    pub jitter_percent: u8,
    /// `retry.from-start`: whether a tunnel that has never been up is redialled like a lost one.
    pub from_start: bool,
    /// `retry.keep-routes`: whether routes into the tunnel, resolvers and packet filter stay while it is lost.
    pub keep_routes: bool,
}

/// What happens if the kernel refuses a filter of system calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SandboxMode {
    /// `up` fails.
    #[default]
    Strict,
    /// The tunnel runs without it, and `status` warns.
    BestEffort,
}

/// The user that `password.command` runs as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunAs {
    /// root; only root may be able to change the program.
    #[default]
    Root,
    /// The user who called sudo(8), doas(1) or pkexec(1).
    Invoker,
}

/// The source of the password.
#[derive(Clone)]
pub enum PasswordSource {
    /// `password.file`: an absolute path of a file that only its owner may read.
    File(PathBuf),
    /// `password.command`: program and arguments, never run by a shell; the password is the first line of its
    /// output.
    Command(Vec<OsString>),
    /// `password.fd`: a file descriptor that `pptpctl` inherits; can be read once.
    Fd(i32),
    /// `password.credential`: a name in systemd's `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// `password = "…"`, only in a file that other users cannot read.
    Inline(Secret),
    /// The user is asked at the terminal: by `password.ask = true`, or because the profile names no source.
    Ask {
        /// Whether the profile says so.
        is_explicit: bool,
    },
}

impl fmt::Debug for PasswordSource {
    /// Writes the kind and the location, and of a command the program only, because its arguments may be
    /// secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Command(argv) => f.debug_tuple("Command").field(&argv.first()).finish(),
            Self::Fd(fd) => f.debug_tuple("Fd").field(fd).finish(),
            Self::Credential(name) => f.debug_tuple("Credential").field(name).finish(),
            Self::Inline(_) => f.write_str("Inline(…)"),
            Self::Ask { is_explicit } => f.debug_struct("Ask").field("is_explicit", is_explicit).finish(),
        }
    }
}
