//! The phone book of Windows, rasphone.pbk: a section for each connection.

use super::{
    draft::{Origin, Tunnel},
    ini::{self, Section},
    security::{Encryption, Security},
    sources::Source,
};

/// The bit of `AuthRestrictions` for MS-CHAPv2.
const MSCHAPV2: u32 = 512;

/// Returns the connections that are VPNs which may use PPTP.
#[must_use]
pub fn names(source: &Source) -> Vec<String> {
    let all = ini::sections(source);
    all.iter()
        .filter(|section| other_protocol(section).is_none())
        .map(|section| section.name.clone())
        .collect()
}

/// Returns why a connection does not use PPTP.
fn other_protocol(section: &Section) -> Option<&'static str> {
    let is_vpn =
        section.entries.iter().any(|entry| entry.key == "DEVICE" && entry.value.eq_ignore_ascii_case("vpn"));
    let strategy = section.get("VpnStrategy").map_or("0", |entry| entry.value.as_str());
    match strategy {
        _ if !is_vpn => Some("not a VPN"),
        "3" => Some("VpnStrategy=3 is L2TP only"),
        "5" => Some("VpnStrategy=5 is SSTP only"),
        "7" => Some("VpnStrategy=7 is IKEv2 only"),
        _ => None,
    }
}

/// Reads the connections; those that do not use PPTP become remarks.
#[must_use]
pub fn tunnels(source: &Source) -> (Vec<Tunnel>, Vec<String>) {
    let mut tunnels = Vec::new();
    let mut remarks = Vec::new();
    for section in ini::sections(source) {
        match other_protocol(&section) {
            Some(why) => {
                remarks.push(format!(
                    "{}: the connection `{}` is left out: {why}",
                    section.origin,
                    super::draft::shown(&section.name)
                ));
            }
            None => tunnels.push(tunnel(&section)),
        }
    }
    (tunnels, remarks)
}

fn tunnel(section: &Section) -> Tunnel {
    let mut tunnel = Tunnel::new(&section.name);
    let mut security =
        Security { encryption: Encryption::Optional(None), is_told: true, ..Security::default() };
    let flag = |key: &str| section.get(key).is_some_and(|entry| entry.value == "1");
    let has_own_resolvers = section.get("IpNameAssign").is_some_and(|entry| entry.value == "2");
    for entry in &section.entries {
        let (value, origin) = (entry.value.as_str(), &entry.origin);
        let number = value.parse::<u32>().unwrap_or(0);
        let is_address = !value.is_empty() && value != "0.0.0.0";
        match entry.key.as_str() {
            "PhoneNumber" if !value.is_empty() => tunnel.set("server", value, origin),
            "DataEncryption" => security.encryption = encryption(value, origin, &mut tunnel),
            "AuthRestrictions" => auth(value, origin, &mut tunnel),
            "IpPrioritizeRemote" if value == "1" => tunnel.set("default", true, origin),
            "IpPrioritizeRemote" => {
                let how = "Windows then routes the class network (A, B or C) of its address in the tunnel: add `routes`";
                if !flag("DisableClassBasedDefaultRoute") {
                    tunnel.changed(origin, "IpPrioritizeRemote=0", how);
                }
            }
            "IpDnsAddress" | "IpDns2Address" if is_address && has_own_resolvers => {
                tunnel.set("dns.servers", value, origin)
            }
            "IpDnsSuffix" if !value.is_empty() => tunnel.set("dns.search", value, origin),
            "IpAddress" | "IpWinsAddress" | "IpWins2Address" if is_address => {
                tunnel.left_out(origin, &entry.key, "the addresses are those that the server assigns");
            }
            "IdleDisconnectSeconds" if number > 0 => {
                tunnel.left_out(origin, &entry.key, "pptpctl does not hang up when idle");
            }
            "RedialOnLinkFailure" if value == "0" => {
                let how = "Windows then ends a lost connection; this profile dials again (retry.attempts = 0 does not)";
                tunnel.changed(origin, "RedialOnLinkFailure=0", how);
            }
            "VpnStrategy" if number != 1 => {
                let how = "Windows may have used another protocol than PPTP with this server";
                tunnel.changed(origin, &format!("VpnStrategy={number}"), how);
            }
            "IpInterfaceMetric" if number > 0 => {
                tunnel.left_out(origin, &entry.key, "`default` uses rules, not metrics");
            }
            "NumRoutes" if number > 0 => {
                tunnel.left_out(
                    origin,
                    &entry.key,
                    "the routes are binary: read them in Windows, and add `routes`",
                );
            }
            "AutoLogon" if value == "1" => {
                tunnel.left_out(
                    origin,
                    &entry.key,
                    "the name and password of the Windows session are not in this file",
                );
            }
            "CustomDialDll" | "CustomDialFunc" | "CustomRasDialDll" | "PrerequisiteEntry"
                if !value.is_empty() =>
            {
                tunnel.left_out(origin, &entry.key, "pptpctl has no such setting");
            }
            "PreSharedKey" if !value.is_empty() => tunnel.needless("PreSharedKey"),
            _ => {}
        }
    }
    if !tunnel.has("dns.servers") {
        tunnel.imply("dns", "peer", "Windows uses the resolvers that the server names");
    }
    tunnel.needless("the keys for Windows alone");
    tunnel.password_hint =
        Some("rasphone.pbk has neither user nor password: Windows keeps them elsewhere".to_owned());
    security.apply(&mut tunnel, "Windows");
    tunnel
}

fn encryption(value: &str, origin: &Origin, tunnel: &mut Tunnel) -> Encryption {
    if value == "0" {
        return Encryption::Refused(origin.clone());
    }
    if value != "512" {
        let how =
            "Windows may accept shorter keys with it, or none; this profile requires 128 bits: see `mppe`";
        tunnel.changed(origin, &format!("DataEncryption={value}"), how);
    }
    Encryption::Demanded { origin: origin.clone(), least: 128, most: 128 }
}

fn auth(value: &str, origin: &Origin, tunnel: &mut Tunnel) {
    match value.parse::<u32>() {
        Ok(MSCHAPV2) => tunnel.needless("AuthRestrictions=512 (MS-CHAPv2)"),
        Ok(bits) if bits & MSCHAPV2 != 0 => {
            let how =
                "Windows may accept other protocols beside MS-CHAPv2; this profile does not: see `auth`";
            tunnel.changed(origin, &format!("AuthRestrictions={bits}"), how);
        }
        _ => {
            let why =
                "it does not name MS-CHAPv2 (EAP, or older protocols): `auth` is its default, MS-CHAPv2";
            tunnel.left_out(origin, "AuthRestrictions", why);
        }
    }
}
