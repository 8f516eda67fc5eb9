//! The host's resolvers: which programs set them, with which arguments.
//!
//! `apply::dns` runs the programs, and edits resolv.conf(5) on hosts without a resolver service. The service
//! of a host is a fact ([`Symbol::Resolver`]).

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    Facts, RESOLV_CONF, Resolver, Symbol, Value,
    kind::{Key, StepKind, StepTraits},
};
use crate::{
    platform::Platform,
    profile::{DnsServers, Profile},
};

/// The resolvers that the host uses while the tunnel is up, for all names or some domains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsStep {
    /// Name of the profile, which the marker in resolv.conf contains.
    pub profile: String,
    /// The tun device.
    pub tun: Value<String>,
    /// The resolvers in order of preference.
    pub servers: Value<Vec<IpAddr>>,
    /// The domains whose names they resolve; empty for all names.
    pub domains: Vec<String>,
    /// The search domains, which are appended to short names.
    pub search: Vec<String>,
    /// The service that is configured.
    pub resolver: Value<Resolver>,
    /// Path of resolv.conf(5); tests set another.
    pub file: PathBuf,
}

impl StepKind for DnsStep {
    fn key(&self) -> Key {
        match self.resolver {
            Value::Known(Resolver::File) => Key::of("resolv.conf", &self.file),
            _ => Key::of("resolvers", &self.tun),
        }
    }

    fn fill(&mut self, facts: &Facts) -> Vec<Option<Symbol>> {
        vec![self.tun.fill(&facts.tun), self.servers.fill(&facts.dns), self.resolver.fill(&facts.resolver)]
    }

    fn line(&self, _platform: Platform) -> String {
        let lines = joined(&self.programs());
        let (servers, search) = (self.server_words().join(" "), self.search.join(" "));
        let search = if search.is_empty() { search } else { format!(", search {search}") };
        match self.resolver {
            Value::Known(Resolver::File) => {
                format!(
                    "write nameserver {servers}{search} to {} (saved, restored on down)",
                    self.file.display()
                )
            }
            Value::Known(Resolver::Resolvconf) => format!("{lines} (nameserver {servers}{search})"),
            Value::Known(_) => lines,
            Value::Open(_) => {
                let names = match self.domains.as_slice() {
                    [] => "all names".to_owned(),
                    domains => format!("names in {}", domains.join(", ")),
                };
                format!(
                    "ask {servers} for {names}{search}, by systemd-resolved, resolvconf or {RESOLV_CONF}, whatever this host has"
                )
            }
        }
    }

    fn undo_line(&self, _platform: Platform) -> Option<String> {
        Some(match self.resolver {
            Value::Known(Resolver::File) => format!("restore {} as it was", self.file.display()),
            Value::Known(_) => joined(&self.undo_programs()),
            Value::Open(_) => "restore the resolvers as they were".to_owned(),
        })
    }

    fn traits(&self) -> StepTraits {
        // resolv.conf(5) and the files of resolvconf(8) in /etc survive a reboot and know no device.
        let in_files = matches!(self.resolver, Value::Known(Resolver::Resolvconf | Resolver::File));
        StepTraits {
            volatile: !in_files,
            in_namespace: !in_files,
            of_device: !in_files,
            only_while_up: true,
            ..StepTraits::OF_HOST
        }
    }
}

impl DnsStep {
    pub(super) fn of(profile: &Profile, platform: Platform, tun: Value<String>) -> Option<Self> {
        let servers = match &profile.dns.servers {
            DnsServers::None => return None,
            DnsServers::Peer => Value::Open(Symbol::Dns),
            DnsServers::Fixed(servers) => Value::Known(servers.clone()),
        };
        let resolver = Resolver::forced(profile.dns.backend).or(Resolver::of(platform));
        // ip-netns(8) mounts this file as resolv.conf for programs in the namespace, where no service manages
        // resolvers.
        let inner = profile.link.netns.as_ref().map(|netns| format!("/etc/netns/{netns}/resolv.conf"));
        let resolver = if inner.is_some() { Some(Resolver::File) } else { resolver };
        Some(Self {
            profile: profile.name.as_str().to_owned(),
            tun,
            servers,
            domains: profile.dns.domains.clone(),
            search: profile.dns.search.clone(),
            resolver: resolver.map_or(Value::Open(Symbol::Resolver), Value::Known),
            file: inner.unwrap_or_else(|| RESOLV_CONF.to_owned()).into(),
        })
    }

    /// Returns the argument vectors that set the resolvers, in order; none for a file.
    #[must_use]
    pub fn programs(&self) -> Vec<Vec<String>> {
        let tun = self.tun.to_string();
        let servers = self.server_words();
        match self.resolver {
            Value::Known(Resolver::Resolved) => vec![
                [words(&["resolvectl", "dns", &tun]), servers].concat(),
                [words(&["resolvectl", "domain", &tun]), self.routing_domains()].concat(),
                words(&[
                    "resolvectl",
                    "default-route",
                    &tun,
                    if self.domains.is_empty() { "yes" } else { "no" },
                ]),
            ],
            Value::Known(Resolver::Resolvconf) => {
                vec![words(&["resolvconf", "-a", &self.record(), "-m", "0", "-x"])]
            }
            Value::Known(Resolver::Resolvd | Resolver::Unwind) => {
                vec![[words(&["route", "nameserver", &tun]), servers].concat()]
            }
            Value::Known(Resolver::File) | Value::Open(_) => Vec::new(),
        }
    }

    /// Returns the argument vectors that undo the step.
    #[must_use]
    pub fn undo_programs(&self) -> Vec<Vec<String>> {
        let tun = self.tun.to_string();
        match self.resolver {
            Value::Known(Resolver::Resolved) => vec![words(&["resolvectl", "revert", &tun])],
            Value::Known(Resolver::Resolvconf) => vec![words(&["resolvconf", "-d", &self.record()])],
            Value::Known(Resolver::Resolvd | Resolver::Unwind) => {
                vec![words(&["route", "nameserver", &tun])]
            }
            Value::Known(Resolver::File) | Value::Open(_) => Vec::new(),
        }
    }

    /// Returns the name of the record in resolvconf(8): interface, dot, program.
    #[must_use]
    pub fn record(&self) -> String {
        format!("{}.pptpctl", self.tun)
    }

    /// Returns the step in the syntax of resolv.conf(5).
    #[must_use]
    pub fn resolv_conf(&self) -> String {
        let mut text = String::new();
        if !self.search.is_empty() {
            text.push_str(&format!("search {}\n", self.search.join(" ")));
        }
        for server in self.servers.known().into_iter().flatten() {
            text.push_str(&format!("nameserver {server}\n"));
        }
        text
    }

    /// Returns the domains for resolvectl(1): `~` routes names without appending the domain to short ones;
    /// `~.` is every name.
    #[must_use]
    pub fn routing_domains(&self) -> Vec<String> {
        let route_only = self.domains.iter().filter(|domain| !self.search.contains(domain));
        let mut domains: Vec<String> = route_only.map(|domain| format!("~{domain}")).collect();
        if self.domains.is_empty() {
            domains.push("~.".to_owned());
        }
        domains.extend(self.search.iter().cloned());
        domains
    }

    fn server_words(&self) -> Vec<String> {
        match &self.servers {
            Value::Known(servers) => servers.iter().map(ToString::to_string).collect(),
            Value::Open(symbol) => vec![symbol.to_string()],
        }
    }
}

/// Returns notes on a profile's resolvers, which may be known only when the peer has named them.
#[must_use]
pub fn dns_notes(profile: &Profile, resolver: Option<Resolver>, servers: &[IpAddr]) -> Vec<String> {
    let mut notes = Vec::new();
    if profile.dns.servers == DnsServers::None || servers.is_empty() {
        return notes;
    }
    // Routes that the server offers are not known here.
    if profile.default_route.is_none() && !profile.peer_routes {
        let routed = |server: &&IpAddr| profile.routes.iter().any(|route| route.prefix.contains(*server));
        for server in servers.iter().filter(|server| !routed(server)) {
            notes.push(format!(
                "the resolver {server} is in none of the tunnel's routes, so it is asked outside the tunnel; \
                 routes = [\"{}\"] sends it through the tunnel",
                IpNet::from(*server)
            ));
        }
    }
    if matches!(resolver, Some(Resolver::Resolvd | Resolver::Unwind)) && !profile.dns.search.is_empty() {
        notes.push(format!(
            "resolvd takes no search domains: add `search {}` to {RESOLV_CONF} yourself",
            profile.dns.search.join(" ")
        ));
    }
    if servers.len() > MAX_SERVERS && matches!(resolver, Some(Resolver::File | Resolver::Resolvconf)) {
        notes.push(format!("resolv.conf(5) supports {MAX_SERVERS} resolvers; the others are not asked"));
    }
    notes
}

/// The most resolvers in resolv.conf(5) (MAXNS).
pub const MAX_SERVERS: usize = 3;

/// Returns why the service cannot provide split DNS for these domains; `None` if it can.
#[must_use]
pub fn split_dns_refusal(resolver: Resolver, domains: &[String], servers: &[IpAddr]) -> Option<String> {
    if domains.is_empty() || resolver.supports_split_dns() {
        return None;
    }
    let (first, server) =
        (domains.first()?, servers.first().map_or("ADDRESS".to_owned(), ToString::to_string));
    let instead = match resolver {
        Resolver::Unwind | Resolver::Resolvd => format!(
            "put `forwarder {{ {server} }}` and `force accept bogus forwarder {{ {first} }}` into /etc/unwind.conf(5), \
             and dns = \"none\" into the profile"
        ),
        _ => format!(
            "systemd-resolved can, or a local dnsmasq with server=/{first}/{server} and dns = \"none\" in the \
             profile; without `dns.domains` all names are asked through the tunnel"
        ),
    };
    Some(format!(
        "{resolver} can't ask other resolvers for some domains only ({}): {instead}",
        domains.join(", ")
    ))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn joined(programs: &[Vec<String>]) -> String {
    programs.iter().map(|argv| argv.join(" ")).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
