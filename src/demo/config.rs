//! What a server is told: one JSON line on its standard input. When that input ends, so does the server.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::impairment::ImpairmentConfig;
use crate::ppp::{
    auth::AuthProtocol,
    mppe::{Demand, Policy, Strength},
};

/// One server's orders. Everything has a default that makes a sound, encrypted server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Where TCP 1723 and GRE are, in the server's namespace.
    pub address: Ipv4Addr,
    /// The client's end of the wire. The server makes the wire: it leaves the namespace that it was started in
    /// for one of its own, with a veth pair between the two.
    pub client: Ipv4Addr,
    /// The server's end of each tunnel.
    pub inner: Ipv4Addr,
    /// The first address that is given to a client; more follow.
    pub first: Ipv4Addr,
    /// How many there are to give.
    pub addresses: u16,
    /// A host that only the tunnel leads to, and that serves a page on port 80.
    pub office: Ipv4Addr,
    /// Name servers to give.
    pub dns: Vec<Ipv4Addr>,
    /// Whether IPv6 may flow as well, between link-local addresses.
    pub ipv6: bool,
    /// What the server calls itself.
    pub host_name: String,
    /// The authentication that will do, the first is demanded first; empty for none.
    pub auth: Vec<AuthProtocol>,
    /// Encryption.
    pub mppe: Policy,
    /// Who may come in, with the password.
    pub users: Vec<(String, String)>,
    /// What goes wrong on purpose.
    pub trouble: Option<Fault>,
    /// The road from the client, GRE only.
    pub inbound: ImpairmentConfig,
    /// The road to the client, GRE only.
    pub outbound: ImpairmentConfig,
    /// Whether the server tells on standard error what it does.
    pub talk: bool,
}

/// One thing that goes wrong on purpose, each in a phase of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// TCP is accepted, and nothing is ever said.
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
    /// Control is fine, and no GRE packet leaves the server.
    DropGre,
    /// GRE packets are acknowledged, and no PPP frame is ever sent.
    MuteLcp,
    /// The server speaks LCP and hears nothing of what the client says.
    DeafLcp,
    /// Once LCP is up, whatever the client says to prove itself is lost.
    DeafAuth,
    /// The server's own proof in MS-CHAPv2 (RFC 2759 §5) is another than the right one.
    WrongProof,
    /// Whatever the client says in IPCP is lost.
    NoIpcp,
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
    fn an_empty_order_is_a_sound_server_and_a_slip_is_an_error() {
        let orders: ServerConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(orders.mppe.demand, Demand::Require);
        assert!(serde_json::from_str::<ServerConfig>(r#"{"trubble":null}"#).is_err());
    }

    #[test]
    fn orders_survive_their_way_through_json() {
        let trouble = Fault::RefuseCall { result: 2, error: 0, cause: 17 };
        let orders = ServerConfig { trouble: Some(trouble), ..ServerConfig::default() };
        let text = serde_json::to_string(&orders).unwrap();
        assert_eq!(serde_json::from_str::<ServerConfig>(&text).unwrap().trouble, Some(trouble));
    }
}
