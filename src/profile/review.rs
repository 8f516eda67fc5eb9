//! Doubtful settings that only all profiles together, or the host, show: what `check` reports beyond the files
//! themselves. Every finding is a warning, because the host may still change.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    path::Path,
};

use ipnet::IpNet;

use super::{
    Host, Leak, PasswordSource, PppBackend, Profile, ProfileName, RunAs, Severity, home_command, pf_text,
    report::{Excerpt, Finding},
    source::{Source, Span},
};
use crate::platform::{PROGRAM_PATH, Platform};

/// Facts about the host, for [`Profiles::review`](super::Profiles::review).
pub struct HostView<'a> {
    /// Whether it forwards IPv4 packets; `None` if that is not known, or another host is meant.
    pub forwarding: Option<bool>,
    /// The user who calls through sudo(8) or doas(1), if commands of root do not see that user's home directory.
    pub caller: Option<String>,
    /// Why the user of `password.run-as = "invoker"` is not known, if `up` would not know it from here.
    pub no_invoker: Option<String>,
    /// Returns whether a program exists, by its path or by its name in the `PATH` of `up`.
    pub has_program: &'a dyn Fn(&Path) -> bool,
    /// Returns the text of a file, if it can be read.
    pub read: &'a dyn Fn(&Path) -> Option<String>,
}

/// A profile in a file.
pub(super) struct Entry {
    pub(super) at: Excerpt,
    /// The positions of the values of some keys.
    pub(super) keys: BTreeMap<&'static str, Excerpt>,
    /// `None` if it has an error.
    pub(super) profile: Option<Profile>,
}

/// A usable profile.
struct Reviewed<'a> {
    name: &'a ProfileName,
    entry: &'a Entry,
    profile: &'a Profile,
}

/// Returns all findings, in the order of the names.
pub(super) fn review(
    entries: &BTreeMap<ProfileName, Entry>,
    platform: Platform,
    host: &HostView<'_>,
) -> Vec<Finding> {
    let all: Vec<Reviewed<'_>> = entries
        .iter()
        .filter_map(|(name, entry)| Some(Reviewed { name, entry, profile: entry.profile.as_ref()? }))
        .collect();
    let mut findings = Vec::new();
    for (number, one) in all.iter().enumerate() {
        let earlier = all.get(..number).unwrap_or_default();
        findings.extend(same_unit(one, earlier));
        findings.extend(same_routes(one, earlier));
        findings.extend(leads_nowhere(one));
        findings.extend(covers_server(one));
        findings.extend(forwards_nothing(one, host));
        findings.extend(password_command(one, platform, host));
        pf(one, platform, host, &mut findings);
    }
    findings
}

impl Reviewed<'_> {
    fn warning(&self, key: &str, title: impl Into<String>, label: impl Into<String>) -> Finding {
        Finding {
            severity: Severity::Warning,
            profile: Some(self.name.clone()),
            at: Some(self.at(key)),
            label: label.into(),
            ..Finding::error(title)
        }
    }

    /// Returns the position of a key's value, else of the profile.
    fn at(&self, key: &str) -> Excerpt {
        self.entry.keys.get(key).unwrap_or(&self.entry.at).clone()
    }

    /// Returns where the tunnel's device and routes are: those in different places do not meet.
    fn place(&self) -> (Option<&str>, Option<u32>, Option<u32>) {
        let link = &self.profile.link;
        (link.netns.as_deref(), link.rdomain, link.fib)
    }
}

fn same_unit(one: &Reviewed<'_>, earlier: &[Reviewed<'_>]) -> Option<Finding> {
    let unit = one.profile.unit?;
    let device =
        |of: &Reviewed<'_>| (of.profile.ppp.backend == PppBackend::Pppd, of.place().0.map(str::to_owned));
    let other =
        earlier.iter().find(|other| other.profile.unit == Some(unit) && device(other) == device(one))?;
    let title = format!("unit = {unit} is in the profiles `{}` and `{}`", other.name, one.name);
    let mut finding = one.warning("unit", title, "only one of them can be up at a time");
    finding.also = Some((other.at("unit"), "the other".to_owned()));
    Some(finding)
}

/// Reports the first route that another profile has too, or has a part of.
fn same_routes(one: &Reviewed<'_>, earlier: &[Reviewed<'_>]) -> Option<Finding> {
    let of = |reviewed: &Reviewed<'_>| {
        let routes = reviewed.profile.routes.iter();
        routes.map(|route| (route.prefix, route.table)).collect::<Vec<_>>()
    };
    // Lists of thousands are common: look up covering prefixes instead of comparing all pairs.
    let own: HashMap<_, ()> = of(one).into_iter().map(|route| (route, ())).collect();
    let covering = |(prefix, table): (IpNet, Option<u32>), among: &HashMap<(IpNet, Option<u32>), ()>| {
        let wider = std::iter::successors(Some(prefix), IpNet::supernet);
        wider.map(|prefix| (prefix, table)).find(|route| among.contains_key(route)).map(|(prefix, _)| prefix)
    };
    for other in earlier.iter().filter(|other| other.place() == one.place()) {
        let others: HashMap<_, ()> = of(other).into_iter().map(|route| (route, ())).collect();
        let meets = of(one).into_iter().find_map(|route| Some((route.0, covering(route, &others)?)));
        let met = || of(other).into_iter().find_map(|route| Some((covering(route, &own)?, route.0)));
        let Some((ours, theirs)) = meets.or_else(met) else { continue };
        let title = if ours == theirs {
            format!("the route to {ours} is in the profiles `{}` and `{}`", other.name, one.name)
        } else {
            format!("the route to {ours} of `{}` overlaps the one to {theirs} of `{}`", one.name, other.name)
        };
        let label = if ours == theirs {
            "while both are up, only one of the tunnels gets these packets"
        } else {
            "while both are up, the longer prefix wins"
        };
        let mut finding = one.warning("routes", title, label);
        finding.also = Some((other.at("routes"), "the other".to_owned()));
        return Some(finding);
    }
    None
}

fn leads_nowhere(one: &Reviewed<'_>) -> Option<Finding> {
    let profile = one.profile;
    // The other settings have warnings of their own; hooks and pppd's scripts can add routes.
    let said = profile.leak == Leak::Block || !profile.exclude.is_empty() || profile.link.rtlabel.is_some();
    let added = !profile.hooks.up.is_empty() || profile.ppp.backend != PppBackend::Builtin;
    let none = profile.default_route.is_none() && profile.routes.is_empty() && !profile.peer_routes;
    (none && !said && !added).then(|| {
        let title = format!("nothing goes through the tunnel of `{}`", one.name);
        let mut finding = one.warning("", title, "no `routes`, no `default`, no `peer-routes`");
        finding.help.push("only the server's own address in the tunnel can be reached".to_owned());
        finding
    })
}

fn covers_server(one: &Reviewed<'_>) -> Option<Finding> {
    let profile = one.profile;
    if one.place() != (None, None, None) {
        return None;
    }
    profile.servers.iter().find_map(|server| {
        let Host::Address(address) = server.host else { return None };
        let route = profile.routes.iter().find(|route| {
            route.table.is_none()
                && route.prefix.contains(&IpAddr::V4(address))
                && route.prefix.prefix_len() < 32
        })?;
        let title = format!("the route to {} covers the server {address}", route.prefix);
        let mut finding = one.warning("routes", title, "the server itself stays outside the tunnel");
        finding.help.push(format!(
            "`up` adds a host route to {address}; from then on other connections to it also go outside"
        ));
        Some(finding)
    })
}

fn forwards_nothing(one: &Reviewed<'_>, host: &HostView<'_>) -> Option<Finding> {
    let applies = one.profile.nat && one.profile.link.netns.is_none() && host.forwarding == Some(false);
    applies.then(|| {
        let key = if cfg!(target_os = "linux") { "net.ipv4.ip_forward" } else { "net.inet.ip.forwarding" };
        let mut finding =
            one.warning("nat", "`nat` without forwarding", "this host does not forward IPv4 packets now");
        finding.help.push(format!("`sysctl {key}=1` enables it, /etc/sysctl.conf for good"));
        finding
    })
}

fn password_command(one: &Reviewed<'_>, platform: Platform, host: &HostView<'_>) -> Option<Finding> {
    let PasswordSource::Command(argv) = &one.profile.password else { return None };
    let program = Path::new(argv.first()?);
    let key = "password.command";
    let label = "its `password.command`";
    let name = program.display();
    if !(host.has_program)(program) {
        let title = if program.components().count() > 1 {
            format!("there is no program {name}")
        } else {
            format!("there is no program {name} in {PROGRAM_PATH}")
        };
        return Some(one.warning(key, title, label));
    }
    let words: Vec<String> = argv.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some(literal) = home_command::unexpanded(&words) {
        let title = format!("`{literal}` in a command that no shell runs");
        let mut finding = one.warning(key, title, label);
        finding.help.push("write the absolute path; nothing replaces `~` and variables".to_owned());
        return Some(finding);
    }
    if one.profile.password_run_as == RunAs::Invoker {
        return without_invoker(one, host);
    }
    let caller = host.caller.as_deref()?;
    let tool = home_command::reads_home(&words)?;
    let title = format!("`up` runs as root: {tool} then looks in root's home, not in that of {caller}");
    let mut finding = one.warning(key, title, label);
    let instead = match platform {
        Platform::Linux => format!("[\"sudo\", \"-H\", \"-u\", \"{caller}\", \"{name}\", …]"),
        _ => format!("[\"doas\", \"-u\", \"{caller}\", \"{name}\", …]"),
    };
    finding.help.push(format!("password.run-as = \"invoker\" runs it as {caller}, and so does {instead}"));
    Some(finding)
}

/// Reports a command for a user who is not known at boot, or not from here.
fn without_invoker(one: &Reviewed<'_>, host: &HostView<'_>) -> Option<Finding> {
    let key = "password.run-as";
    if one.profile.autostart {
        let label = "no user calls `up` at boot, so the tunnel does not come up then";
        let mut finding = one.warning(key, "`autostart` with the password of a user", label);
        finding.help.push("use password.credential or password.file, or leave autostart out".to_owned());
        return Some(finding);
    }
    let why = host.no_invoker.clone()?;
    Some(one.warning(key, "`up` would fail from here", why))
}

fn pf(one: &Reviewed<'_>, platform: Platform, host: &HostView<'_>, findings: &mut Vec<Finding>) {
    if platform == Platform::Linux {
        return;
    }
    let conf = (host.read)(Path::new("/etc/pf.conf"));
    let missing = |kinds: &[&'static str], anchor: &str| {
        let lines = pf_text::missing_anchors(conf.as_deref()?, kinds, anchor);
        (!lines.is_empty()).then(|| {
            let title = format!("/etc/pf.conf seems to lack {}", lines.join(" and "));
            (title, format!("pf does not evaluate the anchor {anchor} without it"))
        })
    };
    if one.profile.nat {
        let kind = if platform == Platform::OpenBsd { "anchor" } else { "nat-anchor" };
        let lacking = missing(&[kind], &format!("pptpctl/{}", one.name));
        findings.extend(lacking.map(|(title, label)| one.warning("nat", title, label)));
    }
    leak(one, platform, conf.as_deref(), findings);
    let Some(pf) = &one.profile.pf else { return };
    let Some(file) = &pf.file else { return };
    let Some(text) = (host.read)(file) else { return };
    let source = Source::new(file, text, true);
    for rule in pf_text::foreign_rules(&source.text, platform) {
        let mut finding = one.warning("pf.file", rule.title, rule.advice);
        let its = (one.at("pf.file"), "loaded by this".to_owned());
        finding.at = Some(source.excerpt(Span { start: rule.at.start, end: rule.at.end }));
        finding.also = Some(its);
        findings.push(finding);
    }
    let kinds = pf_text::anchor_kinds(&source.text, platform);
    findings.extend(missing(&kinds, &pf.anchor).map(|(title, label)| one.warning("pf.anchor", title, label)));
}

/// Reports a kill switch that consists of routes alone, or whose anchor pf does not evaluate.
fn leak(one: &Reviewed<'_>, platform: Platform, conf: Option<&str>, findings: &mut Vec<Finding>) {
    if one.profile.leak != Leak::Block || one.place() != (None, None, None) {
        return;
    }
    let has_pf = platform != Platform::NetBsd;
    let Some(pf) = one.profile.pf.as_ref().filter(|_| has_pf) else {
        let label = if has_pf {
            "connected networks and routes of DHCP pass: add `pf.anchor`"
        } else {
            "connected networks and routes of DHCP pass: npf(7) can block them, but pptpctl does not load its rules"
        };
        let mut finding = one.warning("leak", "the kill switch blocks by routes alone", label);
        if has_pf {
            let lines = "pf = { anchor = \"vpn\" } here, and `anchor \"vpn/leak\"` in /etc/pf.conf before other filter rules";
            finding.help.push(lines.to_owned());
        }
        findings.push(finding);
        return;
    };
    let anchor = format!("{}/leak", pf.anchor);
    for title in conf.map(|conf| pf_text::leak_problems(conf, &anchor)).unwrap_or_default() {
        findings.push(one.warning(
            "leak",
            title,
            format!("the rules of the kill switch are in the anchor {anchor}"),
        ));
    }
}
