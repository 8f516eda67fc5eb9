//! What a tunnel of a profile needs: the programs and files that its launcher has to provide, the files that the supervisor
//! opens itself, and its capabilities. No I/O.

use std::path::PathBuf;

use crate::{
    apply::{Directories, NSSWITCH, RESOLVED_UPSTREAM, ppp_daemon},
    engine::handle,
    os::{
        capabilities::Capability,
        landlock::{Access, Rule},
        launch::{Allowed, AllowedProgram, Arguments, Files, LinkedFile, Word},
        ppp,
    },
    plan::{self, HOOK_VARIABLES, RESOLV_CONF},
    platform::{self, Platform},
    profile::{Conntrack, DataPath, DnsBackend, Locations, Mss, PppBackend, Profile},
    supervisor::{
        backend::{self, pppd},
        firewall::reading,
    },
};

/// Returns what the launcher of a tunnel does.
pub(super) fn allowed(profile: &Profile, locations: &Locations) -> Allowed {
    Allowed {
        roles: [handle::ENGINE, handle::RESOLVER, handle::NAME_CHECK].map(str::to_owned).into(),
        programs: programs(profile),
        files: files(profile, locations),
    }
}

/// Returns the programs that a tunnel of this profile may start.
pub(super) fn programs(profile: &Profile) -> Vec<AllowedProgram> {
    let program = |file: &str, arguments: Vec<Arguments>| AllowedProgram {
        file: file.into(),
        arguments,
        variables: Vec::new(),
    };
    // Also without `nftables`: a dial that stalls asks what the host's firewall does.
    let mut programs: Vec<_> = reading::PROGRAMS
        .iter()
        .map(|(name, arguments)| program(name, vec![Arguments::exactly(arguments)]))
        .collect();
    let clamps = profile.ppp.backend != PppBackend::Builtin && profile.mss != Mss::Off;
    let can_pause = plan::pause_refusal(profile, Platform::Linux).is_none();
    let has_table = profile.nftables.is_some() || profile.nat || profile.conntrack == Conntrack::Helper;
    if has_table || clamps || can_pause {
        let tables = ["inet", "ip"].map(|family| Arguments::exactly(&["list", "tables", family]));
        let loading = [Arguments::exactly(&["-c", "-f", "-"]), Arguments::exactly(&["-f", "-"])];
        programs.iter_mut().filter(|program| program.file.ends_with("nft")).for_each(|program| {
            program.arguments.extend(tables.iter().chain(&loading).cloned());
        });
    }
    if runs_resolver(profile, DnsBackend::Resolved) {
        programs.push(program("resolvectl", resolvectl(profile)));
    }
    if runs_resolver(profile, DnsBackend::Resolvconf) {
        let record = || Word::Device(".pptpctl".to_owned());
        let among = |word: &str| Word::Among(vec![word.to_owned()]);
        let add = vec![among("-a"), record(), among("-m"), among("0"), among("-x")];
        let delete = vec![among("-d"), record()];
        let lists = [add, delete].map(|words| Arguments { words, rest: None });
        programs
            .push(program("resolvconf", lists.into_iter().chain([Arguments::exactly(&["-u"])]).collect()));
    }
    for argv in [&profile.hooks.up, &profile.hooks.down] {
        if let Some((path, arguments)) = argv.split_first() {
            let variables = HOOK_VARIABLES.map(str::to_owned).into();
            let arguments = vec![Arguments::exactly(arguments)];
            programs.push(AllowedProgram { variables, ..program(path, arguments) });
        }
    }
    if profile.ppp.backend == PppBackend::Pppd {
        let options = Arguments::exactly(&["nodetach", "file", ppp_daemon::OPTIONS]);
        let words = [Word::Terminal].into_iter().chain(options.words).collect();
        programs.push(program(pppd::PROGRAM, vec![Arguments { words, rest: None }]));
    }
    programs
}

/// Returns whether the tunnel may set its resolvers by this program, or in its file.
fn runs_resolver(profile: &Profile, backend: DnsBackend) -> bool {
    // In a namespace the file is written, whatever the host has.
    let is_inside = profile.link.netns.is_some() && backend != DnsBackend::File;
    let is_chosen =
        profile.link.netns.is_some() || [DnsBackend::Auto, backend].contains(&profile.dns.backend);
    profile.dns.is_wanted() && is_chosen && !is_inside
}

fn resolvectl(profile: &Profile) -> Vec<Arguments> {
    let routed = profile.dns.domains.iter().map(|domain| format!("~{domain}"));
    let domains = routed.chain(["~.".to_owned()]).chain(profile.dns.search.iter().cloned()).collect();
    let list = |verb: &str, rest| {
        let words = vec![Word::Among(vec![verb.to_owned()]), Word::Device(String::new())];
        Arguments { words, rest }
    };
    let answers = Word::Among(["yes", "no"].map(str::to_owned).into());
    vec![
        list("dns", Some(Word::Address)),
        list("domain", Some(Word::Among(domains))),
        list("default-route", Some(answers)),
        list("revert", None),
    ]
}

fn files(profile: &Profile, locations: &Locations) -> Files {
    let (name, host) = (profile.name.as_str(), Platform::Linux);
    let run = PathBuf::from(host.run_dir());
    let beside = |path: &PathBuf, suffix: &str| -> PathBuf { format!("{}{suffix}", path.display()).into() };
    let directories = Directories::system(host);
    let [ledger, logins, log] =
        [directories.ledger(name), platform::logins_file(name), platform::log_file(name)];
    let mut files = Files {
        // The profile itself is read again for a reload.
        read: vec![NSSWITCH.into(), RESOLVED_UPSTREAM.into(), locations.file.clone()],
        write: vec![
            beside(&ledger, ".new"),
            beside(&logins, ".new"),
            beside(&log, ".1"),
            ledger,
            logins,
            log,
            platform::lock_file(name),
        ],
        numbered: vec![run.join("tun")],
        directories: vec![platform::control_dir(), directories.state],
        sockets: vec![platform::control_socket(name)],
        ..Files::default()
    };
    files.read.extend(profile.nftables.as_ref().map(|nftables| nftables.file.clone()));
    files.sockets.extend(profile.control_group.is_some().then(|| platform::status_socket(name)));
    if profile.ppp.backend == PppBackend::Pppd {
        files.numbered.push(run.join("ppp"));
        files.write.push(run.join(format!("ppp-{}.pid", backend::link_name(profile))));
    }
    // The draft of an atomic change, and what openresolv leaves.
    let changed = || Some(vec![".*.pptpctl".to_owned(), "*.bak".to_owned()]);
    let is_written =
        runs_resolver(profile, DnsBackend::File) || runs_resolver(profile, DnsBackend::Resolvconf);
    let inner = profile.link.netns.as_ref().map(|netns| PathBuf::from("/etc/netns").join(netns));
    let is_here = is_written && inner.is_none();
    files.linked.push(LinkedFile { path: RESOLV_CONF.into(), beside: changed().filter(|_| is_here) });
    if let Some(inner) = inner.filter(|_| is_written) {
        files.linked.push(LinkedFile { path: inner.join("resolv.conf"), beside: changed() });
        files.directories.extend(inner.parent().map(Into::into));
        files.directories.push(inner);
    }
    files
}

/// Returns what the supervisor opens itself: what the kernel shows, devices, and the directories of its own files, which
/// its launcher changes.
pub(super) fn rules(profile: &Profile, locations: &Locations) -> Vec<Rule> {
    let reads = |path: PathBuf| Rule { path, access: Access::Read };
    let device = |path: &str| Rule { path: path.into(), access: Access::Device };
    let mut rules = vec![
        reads("/proc".into()),
        // Programs of the control group that refuse packets are counted.
        reads("/sys/fs/cgroup".into()),
        reads(platform::control_dir()),
        // Files of `profiles.d`.
        reads(locations.directory.clone()),
        // Other tunnels' routes are in their ledgers.
        reads(Platform::Linux.state_dir().into()),
        device("/dev/null"),
    ];
    match profile.ppp.backend {
        PppBackend::Builtin => {
            rules.push(device("/dev/net/tun"));
            if DataPath::userland_reason(profile, Platform::Linux).is_none() {
                rules.push(device(ppp::NODE));
            }
        }
        PppBackend::Pppd | PppBackend::Ppp => rules.extend([device("/dev/ptmx"), device("/dev/pts")]),
    }
    if profile.conntrack == Conntrack::Helper {
        rules.push(reads("/lib/modules".into()));
    }
    rules
}

/// Returns the capabilities that the steps of a tunnel of this profile need in the supervisor itself.
pub(super) fn capabilities(profile: &Profile) -> Vec<Capability> {
    let mut needed = vec![Capability::NET_ADMIN, Capability::NET_RAW];
    // setns(2), before each request about devices and routes.
    if profile.link.netns.is_some() {
        needed.push(Capability::SYS_ADMIN);
    }
    // The status socket is made by its group, also after another program has removed it.
    if profile.control_group.is_some() {
        needed.push(Capability::SETGID);
    }
    // A resolv.conf(5) may belong to a daemon's user, and keeps its owner.
    let by_program = matches!(profile.dns.backend, DnsBackend::Resolved | DnsBackend::Resolvconf);
    if profile.dns.is_wanted() && !by_program {
        needed.extend([Capability::CHOWN, Capability::DAC_OVERRIDE, Capability::FOWNER]);
    }
    needed.sort_unstable();
    needed.dedup();
    needed
}

#[cfg(test)]
mod tests;
