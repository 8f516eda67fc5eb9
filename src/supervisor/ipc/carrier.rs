//! What reports of a tunnel that is up say about its device and addresses.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// What carries the packets of a tunnel that is up: all that a program needs which sets up routes and resolvers itself
/// (`link.manage = false`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carrier {
    /// Name of the device.
    pub tun: String,
    /// Address and port of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The address of this host in the tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<Ipv4Addr>,
    /// The address of the server in the tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Ipv4Addr>,
    /// The MTU of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// The resolvers that the server named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<Ipv4Addr>,
}
