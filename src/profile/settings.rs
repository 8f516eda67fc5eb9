//! The typed profile: who is called, how long each phase may take, when it is tried again.
//!
//! Pure data with the defaults in one place; what PPP has to prove and to encrypt is in `ppp`, what the tunnel does to
//! the host in `host`.

use std::{
    ffi::OsString,
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
    time::Duration,
};

use super::{
    AuthProtocol, DefaultRoute, Dns, Hooks, Leak, LinkPlace, Mppe, Mss, Mtu, Nftables, Pf, Ppp, ProfileName,
    Route,
};
use crate::secret::Secret;

/// One `[profile.NAME]` table, validated, every default filled in.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The NAME, safe in paths.
    pub name: ProfileName,
    /// Where it was written; `None` for one that a program made.
    pub origin: Option<Origin>,
    /// `server`: at least one; tried in order, all addresses of each.
    pub servers: Vec<Server>,
    /// `phone`: passed in the Outgoing-Call-Request (RFC 2637 §2.7), at most 64 bytes; overrides a quirk's number.
    pub phone: Option<String>,
    /// `quirks`: works around a peer that departs from RFC 2637.
    pub quirks: Quirks,
    /// `timeouts`: the limit of every phase.
    pub timeouts: Timeouts,
    /// `missing-window`: a GRE packet this many sequence numbers ahead is bogus and dropped; `None` accepts any.
    pub missing_window: Option<u32>,
    /// `localbind`: the source address of control connection and GRE; `None` leaves it to the kernel.
    pub localbind: Option<Ipv4Addr>,
    /// `logstring`: the word that opens each log line; `None` means the profile's name.
    pub logstring: Option<String>,
    /// `loglevel`: how much is logged.
    pub loglevel: LogLevel,
    /// `user`, without a domain.
    pub user: String,
    /// `domain`, or what stood before the backslash in `user = "DOMAIN\\name"`.
    pub domain: Option<String>,
    /// `password`: where the password comes from. It is fetched once per `up` (a descriptor or a PIN cannot be
    /// asked twice), and not kept here unless inline.
    pub password: PasswordSource,
    /// `auth`: the protocols that we accept, strongest first, each once, never empty.
    pub auth: Vec<AuthProtocol>,
    /// `mppe`: what encryption we insist on.
    pub mppe: Mppe,
    /// `ppp`: the PPP side of the call.
    pub ppp: Ppp,
    /// `unit`: the N of tunN; `None` takes a free one.
    pub unit: Option<u32>,
    /// `mtu` of the tunnel device.
    pub mtu: Mtu,
    /// `routes` into the tunnel, sorted by prefix, each prefix and table once.
    pub routes: Vec<Route>,
    /// `peer-routes`: also ask the server for routes (DHCPINFORM options 121 and 249).
    pub peer_routes: bool,
    /// `exclude`: prefixes that stay outside the tunnel.
    pub exclude: Vec<ipnet::IpNet>,
    /// `default`: everything goes through the tunnel, and how; `None` leaves the default route alone.
    pub default_route: Option<DefaultRoute>,
    /// `leak`: whether traffic meant for the tunnel may leave in clear while it is down between `up` and `down`.
    pub leak: Leak,
    /// `dns`: whose resolvers are used while the tunnel is up.
    pub dns: Dns,
    /// `pf`: an anchor that is loaded while the tunnel is up.
    pub pf: Option<Pf>,
    /// `nftables`: a rules file that is loaded while the tunnel is up.
    pub nftables: Option<Nftables>,
    /// `nat`: masquerade the LAN behind this host into the tunnel.
    pub nat: bool,
    /// `mss`: clamp the TCP MSS of what crosses the tunnel.
    pub mss: Mss,
    /// `hooks`: the person's own programs at link-up and link-down.
    pub hooks: Hooks,
    /// `link`: the namespace, routing domain or FIB that the tunnel lives in.
    pub link: LinkPlace,
    /// `retry`: when and how often a lost tunnel is dialled again.
    pub retry: Retry,
    /// `autostart`: brought up at boot.
    pub autostart: bool,
}

impl Profile {
    /// A profile with every default, as if only these four had been written.
    #[must_use]
    pub fn new(name: ProfileName, server: Server, user: &str, password: PasswordSource) -> Self {
        Self {
            name,
            origin: None,
            servers: vec![server],
            phone: None,
            quirks: Quirks::default(),
            timeouts: Timeouts::default(),
            missing_window: None,
            localbind: None,
            logstring: None,
            loglevel: LogLevel::default(),
            user: user.to_owned(),
            domain: None,
            password,
            auth: vec![AuthProtocol::MsChapV2],
            mppe: Mppe::default(),
            ppp: Ppp::default(),
            unit: None,
            mtu: Mtu::default(),
            routes: Vec::new(),
            peer_routes: false,
            exclude: Vec::new(),
            default_route: None,
            leak: Leak::default(),
            dns: Dns::default(),
            pf: None,
            nftables: None,
            nat: false,
            mss: Mss::default(),
            hooks: Hooks::default(),
            link: LinkPlace::default(),
            retry: Retry::default(),
            autostart: false,
        }
    }

    /// The word that opens each log line.
    #[must_use]
    pub fn log_name(&self) -> &str {
        self.logstring.as_deref().unwrap_or(self.name.as_str())
    }
}

/// The place in a file where something was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The file, as it was opened.
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

/// One place to call: `"vpn.example.net"`, `"203.0.113.9"` or either with `:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Name or address.
    pub host: Host,
    /// TCP port of the control connection.
    pub port: u16,
}

impl Server {
    /// The port of RFC 2637 §1.2.
    pub const PORT: u16 = 1723;

    /// The address, when it was written as one: there is nothing to resolve then.
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
    /// A host name, checked for form, not yet resolved.
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

/// A known departure of some peer from RFC 2637; `pptp::quirks` has the differences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quirks {
    /// The peer follows the RFC.
    #[default]
    None,
    /// `BEZEQ_ISRAEL`: the Orckit Atur3 modem.
    BezeqIsrael,
}

impl Quirks {
    /// The name in profiles and in `pptp --quirks`; `None` for no quirk.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::BezeqIsrael => Some("BEZEQ_ISRAEL"),
        }
    }
}

/// The limit of each phase, and of each wait inside one.
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
    /// `gre`: call up, and nothing heard yet on protocol 47.
    pub gre: Duration,
    /// `lcp`: from the first Configure-Request to LCP open.
    pub lcp: Duration,
    /// `auth`: the authentication phase.
    pub auth: Duration,
    /// `network`: CCP, IPCP and IPV6CP together, until packets may flow.
    pub network: Duration,
    /// `stop`: each single wait of a polite end (CDN, Stop-Control-Connection-Reply, LCP Terminate-Ack).
    pub stop: Duration,
    /// `reorder`: how long a packet may wait for an earlier one.
    pub reorder: Reorder,
    /// `idle-wait`: control silence before an Echo-Request; `None` ("off", or 0 as in pptp(8)) sends none.
    pub idle_wait: Option<Duration>,
    /// `max-echo-wait`: how long the Echo-Reply may take before the connection counts as dead.
    pub max_echo_wait: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            resolve: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            control: Duration::from_secs(10),
            call: Duration::from_secs(30),
            gre: Duration::from_secs(10),
            lcp: Duration::from_secs(30),
            auth: Duration::from_secs(30),
            network: Duration::from_secs(30),
            stop: Duration::from_secs(3),
            reorder: Reorder::default(),
            idle_wait: Some(Duration::from_secs(60)),
            max_echo_wait: Duration::from_secs(60),
        }
    }
}

/// What happens to GRE packets that overtook an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reorder {
    /// `"off"`, `--nobuffer`: delivered at once; what comes late is dropped.
    Off,
    /// Held for an adaptive time, never longer than this (10 ms to 10 s, `--timeout`).
    Hold(Duration),
}

impl Default for Reorder {
    fn default() -> Self {
        Self::Hold(Duration::from_millis(300))
    }
}

/// `loglevel`, with the meaning of `pptp --loglevel`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// 0: what went wrong.
    Quiet,
    /// 1: also the phases, and reordered or duplicate packets.
    #[default]
    Normal,
    /// 2: also every message.
    Verbose,
}

/// When a lost tunnel is dialled again: exponential, capped, jittered; never after a failed authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// `retry.first`: wait before the first new attempt; doubles with each failure.
    pub first: Duration,
    /// `retry.max`: the longest wait.
    pub max: Duration,
    /// `retry.attempts`: failures in a row before giving up; 0 never tries again, `None` never gives up.
    pub attempts: Option<u32>,
    /// `retry.jitter`: each wait is shortened or lengthened at random by up to so many percent, 0 to 100.
    pub jitter_percent: u8,
    /// `retry.keep-routes`: whether what leads into the tunnel, routes and resolvers, stays while it is lost.
    pub keep_routes: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            max: Duration::from_secs(60),
            attempts: None,
            jitter_percent: 20,
            keep_routes: true,
        }
    }
}

/// Where the password comes from.
#[derive(Clone)]
pub enum PasswordSource {
    /// `password.file`: an absolute path; no one else may read it.
    File(PathBuf),
    /// `password.command`: program and arguments, never a shell; the first line of its output.
    Command(Vec<OsString>),
    /// `password.fd`: an open file descriptor of the `pptpctl` that was started; can be read once.
    Fd(i32),
    /// `password.credential`: a name in systemd's `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// `password = "…"`, only in a file that no one else can read.
    Inline(Secret),
}

impl fmt::Debug for PasswordSource {
    /// Names the kind and the place, and of a command the program alone: its arguments may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Command(argv) => f.debug_tuple("Command").field(&argv.first()).finish(),
            Self::Fd(fd) => f.debug_tuple("Fd").field(fd).finish(),
            Self::Credential(name) => f.debug_tuple("Credential").field(name).finish(),
            Self::Inline(_) => f.write_str("Inline(…)"),
        }
    }
}
