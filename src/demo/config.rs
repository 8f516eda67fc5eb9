//! Configuration of a server: one line of JSON on its standard input. The server exits at the end of that
//! input.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::impairment::ImpairmentConfig;
use crate::ppp::{
    auth::AuthProtocol,
    mppe::{Demand, Policy, Strength},
};

/// The client's end of the veth pair.
#[cfg(target_os = "linux")]
pub const CLIENT_DEVICE: &str = "eth0";

/// Configuration of one server. The defaults make a valid server with encryption.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Address of TCP 1723 and GRE, in the server's namespace.
    pub address: Ipv4Addr,
    /// Address of the client's end of the veth pair. The server creates the pair between the namespace that
    /// it was started in and a new one, which it enters.
    pub client: Ipv4Addr,
    /// The server's end of each tunnel.
    pub inner: Ipv4Addr,
    /// First address to assign to clients.
    pub first: Ipv4Addr,
    /// Number of addresses to assign.
    pub addresses: u16,
    /// A host that is reachable only through the tunnel and serves a page on port 80.
    pub office: Ipv4Addr,
    /// Name servers to assign.
    pub dns: Vec<Ipv4Addr>,
    /// Whether to allow IPv6, between link-local addresses.
    pub ipv6: bool,
    /// Host name that the server sends.
    pub host_name: String,
    /// Accepted authentication protocols in order of preference; empty for none.
    pub auth: Vec<AuthProtocol>,
    /// MPPE policy.
    pub mppe: Policy,
    /// User names and passwords.
    pub users: Vec<(String, String)>,
    /// Deliberate misbehaviour, for tests.
    pub trouble: Option<Fault>,
    /// Impairment of GRE packets from the client.
    pub inbound: ImpairmentConfig,
    /// Impairment of GRE packets to the client.
    pub outbound: ImpairmentConfig,
    /// Whether the server logs to standard error.
    pub talk: bool,
}

/// A deliberate fault, each in another phase of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// TCP is accepted, but the server never sends anything.
    SilentControl,
    /// Start-Control-Connection-Reply with these codes (RFC 2637 §2.2).
    RefuseControl {
        /// Result code.
        result: u8,
        /// General error code.
        error: u8,
    },
    /// Outgoing-Call-Reply with these codes (RFC 2637 §2.8).
    RefuseCall {
        /// Result code.
        result: u8,
        /// General error code.
        error: u8,
        /// Cause code of the telephone network.
        cause: u16,
    },
    /// The call request is never answered.
    SilentCall,
    /// The control connection works, but no GRE packet leaves the server.
    DropGre,
    /// GRE packets are acknowledged, but the server sends no PPP frame.
    MuteLcp,
    /// The server sends LCP, but drops every frame from the client.
    DeafLcp,
    /// Once LCP is up, the client's authentication packets are dropped.
    DeafAuth,
    /// The server's authenticator response in MS-CHAPv2 (RFC 2759 §5) is wrong.
    WrongProof,
    /// Like pppd, the server gives up its only demand for authentication when the client asks for another protocol.
    GivesUpAuth,
    /// The client's CCP packets are dropped.
    DeafCcp,
    /// The client's IPCP packets are dropped.
    NoIpcp,
    /// The call reply leaves 300 ms after the first GRE packet.
    GreBeforeReply,
    /// The call is ended right after the reply, before any PPP, as when pppd does not start.
    EndsCallAtOnce,
    /// Another kind of server: it greets every connection and waits.
    OtherService(Service),
}

/// A server that is not PPTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// A web server, or a captive portal.
    Http,
    /// A TLS server, which sends an alert.
    Tls,
    /// An SSH server.
    Ssh,
    /// Anything else, with control characters.
    Unknown,
}

impl Service {
    /// Returns its first bytes.
    pub(super) const fn greeting(self) -> &'static [u8] {
        match self {
            Self::Http => b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n",
            // Alert, TLS 1.2, fatal, protocol_version (RFC 5246 section 7.2).
            Self::Tls => &[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x46],
            Self::Ssh => b"SSH-2.0-OpenSSH_9.2p1\r\n",
            Self::Unknown => b"\x1b]0;owned\x07\x1b[31m",
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::new(192, 0, 2, 1),
            client: Ipv4Addr::new(192, 0, 2, 2),
            inner: Ipv4Addr::new(10, 77, 0, 1),
            first: Ipv4Addr::new(10, 77, 0, 100),
            addresses: 64,
            office: Ipv4Addr::new(192, 168, 77, 1),
            dns: Vec::new(),
            ipv6: false,
            host_name: "demo".to_owned(),
            auth: vec![AuthProtocol::MsChapV2],
            mppe: Policy {
                demand: Demand::Require,
                min: Strength::Bits128,
                max: Strength::Bits128,
                stateful: false,
            },
            users: Vec::new(),
            trouble: None,
            inbound: ImpairmentConfig::default(),
            outbound: ImpairmentConfig::default(),
            talk: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_config_is_valid_and_unknown_field_is_not() {
        let config: ServerConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config.mppe.demand, Demand::Require);
        assert!(serde_json::from_str::<ServerConfig>(r#"{"trubble":null}"#).is_err());
    }

    #[test]
    fn config_round_trips_through_json() {
        let trouble = Fault::RefuseCall { result: 2, error: 0, cause: 17 };
        let config = ServerConfig { trouble: Some(trouble), ..ServerConfig::default() };
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<ServerConfig>(&text).unwrap().trouble, Some(trouble));
    }
}
