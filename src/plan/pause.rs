//! A pause of the kill switch, which lets the login page of a captive portal through for a bounded time (Linux).
//!
//! Rules lead the packets for it to the main table, and a table of nftables accepts them as long as its set has an
//! element, which the kernel removes when its time is over: from then on the same table drops them. It therefore ends
//! although no process of this program runs any more. The table is loaded before the rules are added, and deleted after
//! they are.
//!
//! Names (port 53) and web pages pass, from every program of this host, and nothing that it forwards. Portals use the ports
//! of HTTP and HTTPS, and those beside them. A wider opening would let every program that waits for a network out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    firewall::nft_removal,
    kind::{Key, StepKind, StepTraits},
};
use crate::platform::Platform;

/// The longest pause.
pub const LONGEST: Duration = Duration::from_secs(30 * 60);

/// The IP protocols and ports that pass: names; web pages, and the ports beside those (8880 and 8843: UniFi).
pub const PORTS: [(u8, u16); 8] =
    [(UDP, 53), (TCP, 53), (TCP, 80), (TCP, 443), (TCP, 8080), (TCP, 8443), (TCP, 8843), (TCP, 8880)];
const TCP: u8 = 6;
const UDP: u8 = 17;

/// One step of this kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseStep {
    /// The table of nftables, in the family inet.
    pub nft: String,
    /// The tunnel's routing table, which is also the mark of its transport.
    pub table: u32,
    /// The tunnel's device, if there is one.
    pub tun: Option<String>,
    /// How long packets pass from now on, in seconds.
    pub seconds: u64,
}

impl PauseStep {
    /// Returns the text that loads the table in one transaction.
    #[must_use]
    pub fn nft_text(&self) -> String {
        let Self { nft, table, seconds, .. } = self;
        let devices: String = self.tun.iter().map(|tun| format!(", \"{tun}\"")).collect();
        let ports = |wanted: u8| {
            let ports = PORTS.iter().filter(|(protocol, _)| *protocol == wanted);
            ports.map(|(_, port)| port.to_string()).collect::<Vec<_>>().join(", ")
        };
        format!(
            "{}table inet {nft} {{\n\
             \tset open {{\n\t\ttype inet_proto; flags timeout;\n\
             \t\telements = {{ tcp timeout {seconds}s, udp timeout {seconds}s }}\n\t}}\n\
             \tchain output {{\n\
             \t\ttype filter hook output priority 0; policy accept;\n\
             \t\tmeta mark {table:#x} accept\n\
             \t\toifname {{ \"lo\"{devices} }} accept\n\
             \t\tmeta l4proto @open accept\n\
             \t\tudp dport {{ {} }} drop\n\
             \t\ttcp dport {{ {} }} drop\n\
             \t}}\n}}\n",
            nft_removal("inet", nft),
            ports(UDP),
            ports(TCP)
        )
    }

    fn words(&self) -> String {
        let ports: Vec<String> = PORTS.iter().skip(1).map(|(_, port)| port.to_string()).collect();
        format!("this host's packets for UDP port 53 and TCP ports {}", ports.join(", "))
    }
}

impl StepKind for PauseStep {
    fn key(&self) -> Key {
        Key::of("pause", ())
    }

    fn line(&self, _platform: Platform) -> String {
        format!(
            "nft add table inet {}: for {} s, {} pass by the main table",
            self.nft,
            self.seconds,
            self.words()
        )
    }

    fn undo_line(&self, _platform: Platform) -> Option<String> {
        Some(format!("nft delete table inet {}, and its rules", self.nft))
    }

    fn traits(&self) -> StepTraits {
        StepTraits::OF_HOST
    }
}
