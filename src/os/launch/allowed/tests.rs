use super::*;

fn start(path: &str, arguments: &[&str]) -> Start {
    Start {
        program: ProgramFile::At(path.into()),
        title: None,
        arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
        environment: vec![("PATH".to_owned(), PROGRAM_PATH.to_owned()), ("LANG".to_owned(), "C".to_owned())],
        umask: None,
        separate_group: true,
        ends_with_parent: false,
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn allowed() -> Allowed {
    let program = |file: &str, arguments: Vec<Arguments>, variables: &[&str]| AllowedProgram {
        file: file.into(),
        arguments,
        variables: words(variables),
    };
    let dns = vec![Word::Among(words(&["dns", "revert"])), Word::Device(String::new())];
    let record = vec![Word::Among(words(&["-d"])), Word::Device(".pptpctl".to_owned())];
    let line = vec![Word::Terminal, Word::Among(words(&["nodetach"]))];
    Allowed {
        roles: words(&["__engine"]),
        programs: vec![
            program("nft", vec![Arguments::exactly(&["-f", "-"])], &[]),
            program("resolvectl", vec![Arguments { words: dns, rest: Some(Word::Address) }], &[]),
            program("resolvconf", vec![Arguments { words: record, rest: None }], &[]),
            program("/etc/vpn/hook", vec![Arguments::exactly(&["down"])], &[]),
            program("/etc/vpn/hook", vec![Arguments::exactly(&["up", "a b"])], &["IFNAME"]),
            program("/usr/sbin/pppd", vec![Arguments { words: line, rest: None }], &[]),
        ],
        files: Files {
            read: vec!["/etc/nsswitch.conf".into()],
            write: vec!["/var/lib/pptpctl/vpn.ledger".into(), "/var/lib/pptpctl/vpn.ledger.new".into()],
            numbered: vec!["/run/tun".into()],
            linked: vec![LinkedFile {
                path: "/etc/resolv.conf".into(),
                beside: Some(words(&[".*.pptpctl"])),
            }],
            directories: vec!["/run/pptpctl".into()],
            sockets: vec!["/run/pptpctl/vpn.sock".into()],
        },
    }
}

#[test]
fn programs_are_compared_by_their_whole_path() {
    let may = |path: &str, arguments: &[&str]| allowed().refusal(&start(path, arguments)).is_none();
    assert!(may("/usr/sbin/nft", &["-f", "-"]) && may("/usr/local/bin/nft", &["-f", "-"]));
    assert!(may("/etc/vpn/hook", &["up", "a b"]));
    for other in
        ["nft", "/tmp/nft", "/usr/sbin/../../tmp/nft", "/usr/sbin/nft2", "/etc/vpn/hook2", "/bin/sh", "/hook"]
    {
        assert!(!may(other, &["-f", "-"]) && !may(other, &["up", "a b"]), "{other}");
    }
}

#[test]
fn arguments_are_those_of_the_plan() {
    let may = |path: &str, arguments: &[&str]| allowed().refusal(&start(path, arguments)).is_none();
    for fits in [
        ("/usr/bin/resolvectl", &["dns", "tun0", "192.0.2.53", "2001:db8::1"][..]),
        ("/usr/bin/resolvectl", &["revert", "vpn-1.2_x"]),
        ("/sbin/resolvconf", &["-d", "tun12.pptpctl"]),
        ("/usr/sbin/pppd", &["/dev/pts/7", "nodetach"]),
        ("/etc/vpn/hook", &["up", "a b"]),
        ("/etc/vpn/hook", &["down"]),
    ] {
        assert!(may(fits.0, fits.1), "{fits:?}");
    }
    for other in [
        ("/usr/sbin/nft", &["-f", "/etc/shadow"][..]),
        ("/usr/sbin/nft", &["-f", "-", "-D", "x=y"]),
        ("/usr/sbin/nft", &["-f"]),
        ("/usr/sbin/nft", &[]),
        ("/usr/bin/resolvectl", &["dns", "tun0", "example.net"]),
        ("/usr/bin/resolvectl", &["dns", "--help"]),
        ("/usr/bin/resolvectl", &["dns", "-"]),
        ("/usr/bin/resolvectl", &["dns", "../x"]),
        ("/usr/bin/resolvectl", &["flush-caches", "tun0"]),
        ("/sbin/resolvconf", &["-d", ".pptpctl"]),
        ("/sbin/resolvconf", &["-d", "eth0.dhcp"]),
        ("/sbin/resolvconf", &["-d", "tun0.pptpctl", "-f"]),
        ("/usr/sbin/pppd", &["/dev/pts/../sda", "nodetach"]),
        ("/usr/sbin/pppd", &["/dev/pts/", "nodetach"]),
        ("/usr/sbin/pppd", &["call", "evil"]),
        ("/etc/vpn/hook", &["up", "a", "b"]),
        ("/etc/vpn/hook", &["down", "x"]),
    ] {
        assert!(!may(other.0, other.1), "{other:?}");
    }
}

#[test]
fn environment_and_name_are_those_of_the_plan() {
    let with = |path: &str, arguments: &[&str], variable: (&str, &str)| {
        let (name, value) = variable;
        let environment = vec![(name.to_owned(), value.to_owned())];
        allowed().refusal(&Start { environment, ..start(path, arguments) }).is_none()
    };
    assert!(with("/etc/vpn/hook", &["up", "a b"], ("IFNAME", "tun0")));
    assert!(!with("/usr/sbin/nft", &["-f", "-"], ("IFNAME", "tun0")));
    for (name, value) in [
        ("LD_PRELOAD", "/var/lib/pptpctl/vpn.ledger"),
        ("PATH", "/tmp"),
        ("LANG", "../x"),
        ("BASH_ENV", "/x"),
    ] {
        assert!(!with("/etc/vpn/hook", &["up", "a b"], (name, value)), "{name}");
    }
    let named = Start { title: Some("sh".to_owned()), ..start("/usr/sbin/nft", &["-f", "-"]) };
    assert!(allowed().refusal(&named).is_some());
}

#[test]
fn this_program_is_started_only_in_its_roles() {
    let own = |arguments: &[&str], environment: Vec<(String, String)>| {
        let start = Start { program: ProgramFile::Own, environment, ..start("", arguments) };
        allowed().refusal(&start).is_none()
    };
    assert!(own(&["__engine", "1"], Vec::new()));
    for other in [
        &["__launcher"][..],
        &["up", "vpn"],
        &["recover"],
        &["__engine"],
        &["__engine", "1", "x"],
        &["__engine", "x"],
    ] {
        assert!(!own(other, Vec::new()), "{other:?}");
    }
    assert!(!own(&["__engine", "1"], vec![("LD_PRELOAD".to_owned(), "/x".to_owned())]));
}

#[test]
fn only_the_files_of_the_tunnel_are_changed() {
    let files = allowed().files;
    let may = |request: FileRequest| files.permit(&request);
    let open = |path: &str, opening| may(FileRequest::Open { path: path.into(), opening });
    let changing = [Opening::Write, Opening::Append, Opening::Lock, Opening::New];
    for own in [
        "/var/lib/pptpctl/vpn.ledger",
        "/run/tun0.pid",
        "/run/tun17.pid",
        "/etc/resolv.conf",
        "/etc/.resolv.conf.pptpctl",
    ] {
        assert!(changing.iter().all(|opening| open(own, *opening)) && open(own, Opening::Read), "{own}");
        assert!(!open(own, Opening::Follow) && may(FileRequest::Remove { path: own.into() }), "{own}");
    }
    for other in [
        "/etc/shadow",
        "/etc/resolv.conf.pptpctl",
        "/etc/../etc/resolv.conf",
        "/var/lib/pptpctl/other.ledger",
        "/run/tun.pid",
        "/run/tunx.pid",
        "/run/tun/../x1.pid",
        "/run/sshd.pid",
        "/run/pptpctl/vpn.lock",
        "",
    ] {
        assert!(!changing.iter().any(|opening| open(other, *opening)), "{other}");
        assert!(!open(other, Opening::Read) && !open(other, Opening::Follow), "{other}");
        assert!(!may(FileRequest::Remove { path: other.into() }), "{other}");
        let (from, to) = ("/etc/resolv.conf".into(), other.into());
        assert!(!may(FileRequest::Rename { from, to }), "{other}");
    }
    assert!(open("/etc/nsswitch.conf", Opening::Follow) && open("/etc/nsswitch.conf", Opening::Read));
    assert!(!changing.iter().any(|opening| open("/etc/nsswitch.conf", *opening)));
    for directory in ["/etc", "/run", "/var/lib/pptpctl"] {
        assert!(open(directory, Opening::Read) && !open(directory, Opening::New), "{directory}");
    }
    assert!(!open("/var/lib", Opening::Read) && !open("/", Opening::Read));
}

#[test]
fn only_its_directories_and_sockets_are_made() {
    let files = allowed().files;
    let (run, socket) = (PathBuf::from("/run/pptpctl"), PathBuf::from("/run/pptpctl/vpn.sock"));
    let make = |path: &Path, mode| files.permit(&FileRequest::MakeDirectory { path: path.into(), mode });
    let remove = |path: &str| files.permit(&FileRequest::RemoveDirectory { path: path.into() });
    let mode = |path: &Path, mode| files.permit(&FileRequest::SetMode { path: path.into(), mode });
    let listen = |path: &Path| files.permit(&FileRequest::Listen { path: path.into(), group: Some(1) });
    assert!(make(&run, 0o755) && make(&run, 0o700) && !make(&run, 0o777) && !make(&run, 0o4755));
    assert!(!make(Path::new("/run/systemd"), 0o755));
    assert!(remove("/run/pptpctl") && remove("/run/pptpctl/.engine-12"));
    assert!(!remove("/run/pptpctl/engine") && !remove("/run/.x") && !remove("/run"));
    assert!(mode(&socket, 0o600) && mode(&socket, 0o660) && !mode(&socket, 0o666) && !mode(&socket, 0o6600));
    assert!(!mode(Path::new("/bin/sh"), 0o600));
    assert!(listen(&socket) && !listen(Path::new("/run/pptpctl/other.sock")));
    assert!(files.permit(&FileRequest::Remove { path: socket }));
}

#[test]
fn links_are_followed_and_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().canonicalize().unwrap();
    let [link, first, second] = ["resolv.conf", "first", "second"].map(|name| home.join(name));
    std::fs::write(&first, "").unwrap();
    std::fs::write(&second, "").unwrap();
    let beside = Some(words(&["*.bak"]));
    let mut files = Files { linked: vec![LinkedFile { path: link.clone(), beside }], ..Files::default() };
    let may = |files: &Files, path: &Path| {
        files.permit(&FileRequest::Open { path: path.to_owned(), opening: Opening::Write })
    };
    for (target, reached) in [(&first, [true, false]), (&second, [true, true])] {
        std::os::unix::fs::symlink(target, &link).unwrap();
        files.follow_links();
        assert_eq!([may(&files, &first), may(&files, &second)], reached);
        assert!(may(&files, &target.with_extension("bak")) && may(&files, &link));
        std::fs::remove_file(&link).unwrap();
    }
    files.follow_links();
    assert_eq!(files.linked.len(), 3);
}
