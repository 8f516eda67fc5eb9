use super::*;
use crate::{
    profile::{DefaultRoute, DnsServers, Host, Leak, PasswordSource, Server},
    secret::Secret,
};

fn profile() -> Profile {
    let server = Server { host: Host::Address("192.0.2.1".parse().unwrap()), port: 1723 };
    Profile::new("vpn".parse().unwrap(), server, "User", PasswordSource::Inline(Secret::from("MySecret")))
}

fn locations() -> Locations {
    Locations::find(Some(std::path::Path::new("/etc/pptpctl/profiles.toml"))).unwrap()
}

/// Returns the programs, each with its numbers of lists of arguments.
fn names(profile: &Profile) -> Vec<(String, usize)> {
    let all = programs(profile);
    all.into_iter().map(|program| (program.file.display().to_string(), program.arguments.len())).collect()
}

const LISTINGS: [(&str, usize); 3] = [("nft", 1), ("iptables-legacy-save", 1), ("iptables-save", 1)];

fn with_listings(others: &[(&str, usize)]) -> Vec<(String, usize)> {
    LISTINGS.iter().chain(others).map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn paths(files: &[&str]) -> Vec<PathBuf> {
    files.iter().map(PathBuf::from).collect()
}

#[test]
fn plain_tunnel_changes_only_its_own_files() {
    let profile = profile();
    assert_eq!(names(&profile), with_listings(&[]));
    let allowed = allowed(&profile, &locations());
    assert_eq!(allowed.roles, ["__engine", "__resolve", "__why"]);
    assert_eq!(
        allowed.files,
        Files {
            read: paths(&[
                "/etc/nsswitch.conf",
                "/run/systemd/resolve/resolv.conf",
                "/etc/pptpctl/profiles.toml",
            ]),
            write: paths(&[
                "/var/lib/pptpctl/vpn.ledger.new",
                "/var/lib/pptpctl/vpn.logins.new",
                "/var/log/pptpctl/vpn.log.1",
                "/var/lib/pptpctl/vpn.ledger",
                "/var/lib/pptpctl/vpn.logins",
                "/var/log/pptpctl/vpn.log",
                "/run/pptpctl/vpn.lock",
            ]),
            numbered: paths(&["/run/tun"]),
            linked: vec![LinkedFile { path: "/etc/resolv.conf".into(), beside: None }],
            directories: paths(&["/run/pptpctl", "/var/lib/pptpctl"]),
            sockets: paths(&["/run/pptpctl/vpn.sock"]),
        }
    );
    let opened: Vec<_> =
        rules(&profile, &locations()).into_iter().map(|rule| (rule.path, rule.access)).collect();
    let (read, device) = (Access::Read, Access::Device);
    let expected = [
        ("/proc", read),
        ("/sys/fs/cgroup", read),
        ("/run/pptpctl", read),
        ("/etc/pptpctl/profiles.d", read),
        ("/var/lib/pptpctl", read),
        ("/dev/null", device),
        ("/dev/net/tun", device),
    ];
    assert_eq!(opened, expected.map(|(path, access)| (path.into(), access)));
}

#[test]
fn resolvers_add_their_programs_and_files() {
    let with = |backend, netns: Option<&str>| {
        let mut profile = profile();
        profile.dns.servers = DnsServers::Peer;
        profile.dns.backend = backend;
        profile.link.netns = netns.map(str::to_owned);
        let files = allowed(&profile, &locations()).files;
        let written = files.linked.iter().filter(|linked| linked.beside.is_some());
        let written: Vec<_> = written.map(|linked| linked.path.display().to_string()).collect();
        (names(&profile), written, files.directories.len())
    };
    let (resolvectl, resolvconf) = (("resolvectl", 4), ("resolvconf", 3));
    let file = || vec!["/etc/resolv.conf".to_owned()];
    assert_eq!(with(DnsBackend::Auto, None), (with_listings(&[resolvectl, resolvconf]), file(), 2));
    assert_eq!(with(DnsBackend::Resolved, None), (with_listings(&[resolvectl]), Vec::new(), 2));
    assert_eq!(with(DnsBackend::Resolvconf, None), (with_listings(&[resolvconf]), file(), 2));
    assert_eq!(with(DnsBackend::File, None), (with_listings(&[]), file(), 2));
    let inner = vec!["/etc/netns/inner/resolv.conf".to_owned()];
    assert_eq!(with(DnsBackend::Auto, Some("inner")), (with_listings(&[]), inner, 4));
}

#[test]
fn programs_of_other_keys_are_added() {
    let mut hooks = profile();
    hooks.hooks.up = vec!["/etc/vpn-up".to_owned(), "a b".to_owned()];
    hooks.hooks.down = vec!["/etc/vpn-down".to_owned()];
    assert_eq!(names(&hooks), with_listings(&[("/etc/vpn-up", 1), ("/etc/vpn-down", 1)]));
    let mut filter = profile();
    filter.nat = true;
    assert_eq!(names(&filter), [vec![("nft".to_owned(), 5)], with_listings(&[]).split_off(1)].concat());
    // `pptpctl pause` loads a table.
    let mut paused = profile();
    (paused.leak, paused.default_route) = (Leak::Block, Some(DefaultRoute::Policy));
    assert_eq!(names(&paused), names(&filter));
    let mut pppd = profile();
    pppd.ppp.backend = PppBackend::Pppd;
    assert_eq!(names(&pppd).last().unwrap(), &("/usr/sbin/pppd".to_owned(), 1));
    assert!(rules(&pppd, &locations()).iter().any(|rule| rule.path.ends_with("pts")));
    assert!(!rules(&pppd, &locations()).iter().any(|rule| rule.path.ends_with("tun")));
    let files = allowed(&pppd, &locations()).files;
    assert!(
        files.numbered.contains(&"/run/ppp".into())
            && files.write.contains(&"/run/ppp-pptpctl-vpn.pid".into())
    );
}

/// The launcher starts each program that a step of the profile's plan runs.
#[test]
fn plan_fits_the_lists() {
    use crate::plan::{self, Facts, Resolver, Step};
    let mut profile = profile();
    profile.dns.servers =
        DnsServers::Fixed(vec!["10.0.0.53".parse().unwrap(), "2001:db8::53".parse().unwrap()]);
    profile.dns.domains = vec!["example.net".to_owned()];
    profile.dns.search = vec!["office.example.net".to_owned(), "example.net".to_owned()];
    profile.hooks.up = vec!["/etc/vpn-up".to_owned()];
    let programs = programs(&profile);
    let fits = |argv: &[String]| {
        let (name, arguments) = argv.split_first().unwrap();
        programs.iter().any(|program| {
            program.file.as_path() == std::path::Path::new(name)
                && program.arguments.iter().any(|list| list.fit(arguments))
        })
    };
    let mut seen = 0;
    for resolver in [Resolver::Resolved, Resolver::Resolvconf] {
        let facts = Facts { tun: Some("tun0".to_owned()), resolver: Some(resolver), ..Facts::default() };
        for step in
            plan::network(&profile, Platform::Linux, std::path::Path::new("/run")).resolve(&facts).steps
        {
            let Step::Dns(dns) = step else { continue };
            for argv in dns.programs().into_iter().chain(dns.undo_programs()) {
                assert!(fits(&argv), "{argv:?}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 6);
    for argv in [&["resolvectl", "dns", "tun0"][..], &["resolvectl", "domain", "tun0"], &["resolvconf", "-u"]]
    {
        assert!(fits(&argv.iter().map(|&word| word.to_owned()).collect::<Vec<_>>()), "{argv:?}");
    }
}
