//! Imports in memory: indirection, limits, names, kinds.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use super::*;

/// Imports a file among others, and returns the TOML of all profiles, the remarks, and the paths that were read.
fn imported(kind: Kind, path: &str, others: &[(&str, &str)]) -> (String, Vec<String>, Vec<PathBuf>) {
    let files: BTreeMap<PathBuf, &str> =
        others.iter().map(|(path, text)| (PathBuf::from(path), *text)).collect();
    let asked = RefCell::new(Vec::new());
    let read = |path: &Path| -> io::Result<Vec<u8>> {
        asked.borrow_mut().push(path.to_owned());
        let text = files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(text.as_bytes().to_vec())
    };
    let sources = Sources::new(&read);
    let source = Source::new(path, files[Path::new(path)].as_bytes()).unwrap();
    let imported = import(kind, &[source], &sources, None);
    let mut remarks = imported.remarks.clone();
    let mut toml = String::new();
    for (name, tunnel) in &imported.tunnels {
        let place = Place::of(Path::new("/etc/pptpctl"), name);
        let text = tunnel.toml(name, kind.title(), &place, false);
        assert_eq!(Tunnel::errors(&text, &place), [""; 0], "{text}");
        toml.push_str(&text);
        remarks.extend(tunnel.remarks().into_iter().map(ToString::to_string));
    }
    (toml, remarks, asked.into_inner())
}

#[test]
fn indirection_stays_below_the_root_of_a_copy() {
    let (toml, remarks, read) = imported(
        Kind::Pppd,
        "/mnt/etc/ppp/peers/a",
        &[
            (
                "/mnt/etc/ppp/peers/a",
                "call b\nfile /etc/ppp/options.x\nfile /etc/../etc/shadow\ncall /etc/shadow\n",
            ),
            ("/mnt/etc/ppp/peers/b", "pty 'pptp a.example'\nname bob\n"),
            ("/mnt/etc/ppp/options.x", "mtu 1300\n"),
            ("/etc/shadow", "root\n"),
        ],
    );
    assert!(toml.contains("server = \"a.example\"") && toml.contains("mtu = 1300"), "{toml}");
    assert!(toml.contains("# /mnt/etc/ppp/options.x:1"), "{toml}");
    assert_eq!(remarks.iter().filter(|remark| remark.contains("not read")).count(), 2, "{remarks:?}");
    assert!(read.iter().all(|path| path.starts_with("/mnt/etc/ppp")), "{read:?}");
}

#[test]
fn files_that_name_each_other_are_read_a_limited_number_of_times() {
    let many = "call a\n".repeat(20);
    let text = format!("pty 'pptp a.example'\n{many}");
    let (_, remarks, read) = imported(Kind::Pppd, "/etc/ppp/peers/a", &[("/etc/ppp/peers/a", &text)]);
    assert!(read.len() <= 64, "{}", read.len());
    assert!(remarks.iter().any(|remark| remark.contains("too many files")), "{remarks:?}");
    // Labels of ppp.conf that load each other end too.
    let conf = "a:\n set device \"!pptp a.example\"\n load b b b b b b\nb:\n load a a a a a a\n";
    let (toml, ..) = imported(Kind::Ppp, "/etc/ppp/ppp.conf", &[("/etc/ppp/ppp.conf", conf)]);
    assert!(toml.contains("[profile.a]"), "{toml}");
}

/// Found by the fuzz target `import_files`: such files took seconds, or for ever.
#[test]
fn labels_that_load_each_other_take_bounded_work() {
    let import = |conf: &str| imported(Kind::Ppp, "/etc/ppp/ppp.conf", &[("/etc/ppp/ppp.conf", conf)]);
    let device = " set device \"!pptp a.example\"\n";
    // Eight hundred loads of the next label in each, and nothing in the last: 800 to the sixth power.
    let chain: String = (0..6)
        .map(|n| format!("b{n}:\n{}", format!(" load{}\n", format!(" b{}", n + 1).repeat(8)).repeat(100)))
        .collect();
    let (toml, remarks, _) = import(&format!("a:\n{device} load b0\n{chain}"));
    assert!(toml.contains("[profile.a]"), "{toml}");
    assert!(remarks.iter().any(|remark| remark.contains("more than 4096 commands")), "{remarks:?}");
    // A file that includes itself: each label is there nine times, and is one tunnel.
    let conf = format!(
        "!include /etc/ppp/ppp.conf\ncommon:\n set mppe 56\n load common\na:\n{device} load common\n"
    );
    let (toml, ..) = import(&conf);
    assert_eq!(toml.matches("[profile.").count(), 1, "{toml}");
    // More labels than anyone has, all with the same commands.
    let labels: String = (0..50_000).map(|number| format!("l{number}:\n load common\n")).collect();
    let (toml, remarks, _) = import(&format!("common:\n{device}{}{labels}", " set mtu 1400\n".repeat(300)));
    assert!((10..=256).contains(&toml.matches("[profile.").count()));
    assert!(remarks.iter().any(|remark| remark.contains("too many labels and commands: `l")), "{remarks:?}");
}

#[test]
fn hostile_text_stays_in_its_comment_and_its_string() {
    let text = "pty 'pptp a.example'\nuser \"a\\\"\\x7f# [profile.b]\"\nipparam \"x\\ny\"\nmtu \"1400\\n[profile.evil]\"\n";
    let (toml, remarks, _) = imported(Kind::Pppd, "/x\n[profile.c]", &[("/x\n[profile.c]", text)]);
    assert_eq!(toml.matches("[profile.").count(), toml.matches("/x?[profile.c]").count() + 1, "{toml}");
    assert!(remarks.iter().all(|remark| !remark.contains(['\n', '\u{7f}'])), "{remarks:?}");
}

#[test]
fn names_of_profiles_are_valid_and_different() {
    let name = |label: &str| render::profile_name(label, |_| false).unwrap().to_string();
    for (label, expected) in [
        ("Office VPN", "office-vpn"),
        ("Büro: 1/2", "buero-1-2"),
        ("../../etc", "etc"),
        ("--x--", "x"),
        ("日本", "vpn"),
        ("", "vpn"),
        (&"x".repeat(80), &"x".repeat(32)),
    ] {
        assert_eq!(name(label), expected, "{label}");
    }
    let second = render::profile_name(&"x".repeat(80), |name| name.as_str() == "x".repeat(32));
    assert_eq!(second.unwrap().as_str(), format!("{}-2", "x".repeat(30)));
}

#[test]
fn kinds_are_recognized_by_content_before_name() {
    let kind = |path: &str, text: &str| {
        Kind::detect(&Source::new(path, text.as_bytes()).unwrap()).map(|(kind, _)| kind)
    };
    let keyfile = "[vpn]\nservice-type=org.freedesktop.NetworkManager.pptp\n";
    assert_eq!(kind("/etc/ppp/peers/x", keyfile), Some(Kind::NetworkManager));
    assert_eq!(kind("x", "pty \"/usr/sbin/pptp h --nolaunchpppd\"\n"), Some(Kind::Pppd));
    assert_eq!(kind("x", "plugin /usr/lib/pppd/2.4.9/pptp.so\n"), Some(Kind::Pppd));
    assert_eq!(kind("/etc/ppp/peers/x", "noauth\n"), Some(Kind::Pppd));
    assert_eq!(kind("x", "vpn:\n set device \"!pptp h\"\n"), Some(Kind::Ppp));
    assert_eq!(kind("/etc/ppp/ppp.linkup", "vpn:\n add default HISADDR\n"), Some(Kind::Ppp));
    assert_eq!(kind("rc.local", "/usr/sbin/ppp -ddial vpn\n"), Some(Kind::Ppp));
    assert_eq!(kind("x", "config interface vpn\n option proto 'pptp'\n"), Some(Kind::OpenWrt));
    assert_eq!(kind("x", "v:\n create link static L1 pptp\n set pptp peer h\n"), Some(Kind::Mpd));
    assert_eq!(kind("x", "[Office]\r\nDEVICE=vpn\r\n"), Some(Kind::Windows));
    for other in ["", "hello\n", "[connection]\ntype=wifi\n", "config interface lan\n option proto static\n"]
    {
        assert_eq!(kind("x", other), None, "{other}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    /// Mutates real files, because random bytes seldom have a tunnel.
    #[test]
    fn formats_accept_mutated_files(
        seed: proptest::sample::Index,
        changes in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0..4_u8, proptest::prelude::any::<u8>()), 0..8),
    ) {
        static SEEDS: std::sync::LazyLock<Vec<Vec<u8>>> = std::sync::LazyLock::new(|| {
            let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/import_files");
            let mut paths: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
            paths.sort();
            paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
        });
        let mut bytes = seed.get(&SEEDS).clone();
        for (at, how, byte) in changes {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => {
                    // A piece of the file in another place, such as a line in the wrong section.
                    let end = (at + usize::from(byte)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    bytes.extend(piece);
                }
            }
            if bytes.is_empty() {
                bytes.push(0);
            }
        }
        proptest::prop_assert_eq!(fuzz::files(&bytes), Ok(()));
    }
}

#[test]
fn unreadable_secrets_are_no_reason_to_print_nothing() {
    let read = |path: &Path| -> io::Result<Vec<u8>> {
        Err(if path.ends_with("chap-secrets") {
            io::ErrorKind::PermissionDenied
        } else {
            io::ErrorKind::NotFound
        }
        .into())
    };
    let source = Source::new("/etc/ppp/peers/a", b"pty 'pptp a.example'\nname bob\n").unwrap();
    let imported = import(Kind::Pppd, &[source], &Sources::new(&read), None);
    let (_, tunnel) = &imported.tunnels[0];
    let hint = tunnel.password_hint.as_deref().unwrap();
    assert!(hint.contains("cannot read /etc/ppp/chap-secrets"), "{hint}");
}
