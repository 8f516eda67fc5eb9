//! The events of `pptpctl up --json` (docs/CONTROL.md) as what NetworkManager wants to know.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddrV4},
};

use serde::Deserialize;
use zbus::zvariant::Value;

/// The values of a signal.
pub type Values = HashMap<&'static str, Value<'static>>;

/// An event that concerns NetworkManager. Others, also those of later versions, are left out.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// The tunnel carries packets, for the first time or again.
    Up(Carrier),
    /// It has ended.
    Down {
        /// Why, unless it was taken down.
        failure: Option<Failure>,
    },
    /// Anything else.
    #[serde(other)]
    Other,
}

/// Device and addresses of a tunnel that is up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Carrier {
    tun: String,
    server: Option<SocketAddrV4>,
    local: Option<Ipv4Addr>,
    peer: Option<Ipv4Addr>,
    mtu: Option<u32>,
    #[serde(default)]
    dns: Vec<Ipv4Addr>,
}

/// Why a tunnel has ended.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Failure {
    kind: String,
    #[serde(default)]
    detail: String,
}

/// The reasons that NetworkManager distinguishes (NMVpnPluginFailure).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The log-in was refused.
    LoginFailed = 0,
    /// There is no tunnel.
    ConnectFailed = 1,
    /// The tunnel has no usable addresses.
    BadIpConfig = 2,
}

/// Reads a line.
pub fn event(line: &str) -> Option<Event> {
    serde_json::from_str(line).ok()
}

impl Failure {
    /// Returns a failure of the service itself.
    pub fn own(detail: impl Into<String>) -> Self {
        Self { kind: "internal".to_owned(), detail: detail.into() }
    }

    /// Returns the reason for NetworkManager.
    pub fn reason(&self) -> Reason {
        match self.kind.as_str() {
            "authentication-failed" => Reason::LoginFailed,
            "no-address" | "collision" => Reason::BadIpConfig,
            _ => Reason::ConnectFailed,
        }
    }

    /// Returns whether another password may help: the server has refused this one. A disabled or expired account, or a
    /// server that does not prove its identity, is another matter.
    pub fn blames_password(&self) -> bool {
        self.kind == "authentication-failed" && self.detail.contains("wrong user name or password")
    }

    /// Returns the failure as a sentence.
    pub fn sentence(&self) -> String {
        if self.detail.is_empty() { self.kind.clone() } else { self.detail.clone() }
    }
}

impl Carrier {
    /// Returns the values of the signal Config, or what is missing.
    pub fn config(&self) -> Result<Values, String> {
        let server = self.server.ok_or("pptpctl named no server: is it older than this service?")?;
        let mut values = Values::from([
            ("tundev", Value::from(self.tun.clone())),
            ("gateway", number(*server.ip())),
            ("has-ip4", Value::from(true)),
            ("has-ip6", Value::from(false)),
            // pptpctl dials again by itself when the network changes.
            ("can-persist", Value::from(true)),
        ]);
        values.extend(self.mtu.map(|mtu| ("mtu", Value::from(mtu))));
        Ok(values)
    }

    /// Returns the values of the signal Ip4Config, or what is missing.
    pub fn ip4_config(&self) -> Result<Values, String> {
        let local = self.local.ok_or("pptpctl named no address: is it older than this service?")?;
        let dns: Vec<u32> = self.dns.iter().copied().map(in_network_order).collect();
        let mut values = Values::from([
            ("tundev", Value::from(self.tun.clone())),
            ("address", number(local)),
            ("prefix", Value::from(32_u32)),
            ("dns", Value::from(dns)),
        ]);
        // A server that names no address of its own: the device alone leads to it.
        let peer = self.peer.filter(|peer| !peer.is_unspecified());
        values.extend(peer.map(|peer| ("ptp", number(peer))));
        Ok(values)
    }

    /// Returns the tunnel in one line, for the log.
    pub fn line(&self) -> String {
        let local = self.local.map(|local| local.to_string()).unwrap_or_default();
        format!("up on {} with {local}", self.tun)
    }
}

fn number(address: Ipv4Addr) -> Value<'static> {
    Value::from(in_network_order(address))
}

/// Returns an address as NetworkManager passes it: a number whose bytes in memory are those of the address.
fn in_network_order(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of docs/CONTROL.md.
    fn documented(word: &str) -> Event {
        let text = include_str!("../../../../docs/CONTROL.md");
        let name = format!("\"event\":\"{word}\"");
        let line = text.lines().find(|line| line.contains(&name)).unwrap_or_default();
        event(line).unwrap_or(Event::Other)
    }

    #[test]
    fn documented_events_are_read() {
        let Event::Up(carrier) = documented("up") else { unreachable!("no event `up`") };
        let config = carrier.config().unwrap_or_default();
        assert_eq!(config.get("tundev"), Some(&Value::from("tun0")));
        assert_eq!(config.get("gateway"), Some(&Value::from(u32::from_ne_bytes([198, 51, 100, 5]))));
        let addresses = carrier.ip4_config().unwrap_or_default();
        assert_eq!(addresses.get("address"), Some(&Value::from(u32::from_ne_bytes([10, 0, 0, 2]))));
        assert_eq!(addresses.get("ptp"), Some(&Value::from(u32::from_ne_bytes([10, 0, 0, 1]))));
        assert_eq!(addresses.get("dns"), Some(&Value::from(vec![u32::from_ne_bytes([10, 0, 0, 53])])));
        assert_eq!(documented("down"), Event::Down { failure: None });
        assert_eq!(documented("phase"), Event::Other);
        assert_eq!(event("{\"event\":\"of a later version\",\"x\":[]}"), Some(Event::Other));
        assert_eq!(event("no JSON"), None);
    }

    #[test]
    fn tunnel_without_addresses_is_refused() {
        let carrier: Carrier = serde_json::from_str("{\"tun\":\"tun0\"}").unwrap_or_else(|_| unreachable!());
        assert!(carrier.config().is_err() && carrier.ip4_config().is_err());
        let unnamed =
            Carrier { local: Some(Ipv4Addr::LOCALHOST), peer: Some(Ipv4Addr::UNSPECIFIED), ..carrier };
        assert!(!unnamed.ip4_config().unwrap_or_default().contains_key("ptp"));
    }

    #[test]
    fn failures_have_the_reasons_of_networkmanager() {
        let failure = |kind: &str, detail: &str| Failure { kind: kind.to_owned(), ..Failure::own(detail) };
        let refused = failure("authentication-failed", "wrong user name or password (MS-CHAPv2, error 691)");
        assert_eq!((refused.reason(), refused.blames_password()), (Reason::LoginFailed, true));
        let disabled = failure("authentication-failed", "account disabled (MS-CHAPv2, error 647)");
        assert_eq!((disabled.reason(), disabled.blames_password()), (Reason::LoginFailed, false));
        assert_eq!(failure("no-address", "").reason(), Reason::BadIpConfig);
        assert_eq!(failure("gre-filtered", "").reason(), Reason::ConnectFailed);
        assert_eq!(failure("login-undecided", "").reason(), Reason::ConnectFailed);
        assert_eq!(failure("no-route", "").sentence(), "no-route");
    }
}
