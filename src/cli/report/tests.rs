use super::*;

const PROFILE: &str = r#"
server = ["vpn.example.net:1724", "203.0.113.9"]
user = 'CORP\alice'
password = "hunter2-hunter2"
pasword = "old-hunter2"
phone = "555-1234"
mppe = "require-128+stateful"
auth = ["mschapv2"]
routes = ["10.1.0.0/16", { to = "2001:db8::/32", metric = 5 }]
dns = { servers = "peer", search = ["corp.example"] }
timeouts.gre = "7s"
hooks.up = ["/root/up", "s3cret-argument"]
ppp.options = ["password", "plainword"]
mtu = 1400
default = false
"#;

fn rendered() -> (Redactor, String) {
    let table: toml::Table = PROFILE.parse().unwrap();
    let mut redactor = Redactor::default();
    profile::add_terms(&mut redactor, "office", &table);
    let text = profile::render(&mut redactor, "office", &table);
    (redactor, text)
}

#[test]
fn profile_keeps_its_keys_and_loses_its_names() {
    let (_, text) = rendered();
    for line in [
        "server = [\"<server 1>:1724\", \"<server 2>\"]",
        "user = \"<user 1>\"",
        "password = \"<secret>\"",
        "# a key that pptpctl does not know = \"<left out>\"",
        "phone = \"<text 1>\"",
        "mppe = \"require-128+stateful\"",
        "auth = [\"mschapv2\"]",
        "routes.metric = 5",
        "dns.servers = \"peer\"",
        "timeouts.gre = \"7s\"",
        "hooks.up = \"<2 words left out>\"",
        "mtu = 1400",
        "default = false",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    for word in ["example", "203.0", "alice", "CORP", "hunter2", "555", "10.1.", "2001", "s3cret", "office"] {
        assert!(!text.contains(word), "{word} in\n{text}");
    }
}

#[test]
fn log_has_no_name_that_only_the_server_or_the_profile_has() {
    let (mut redactor, _) = rendered();
    let log = "INFO office: finished control: RAS firmware 3 (ras-berlin)\nINFO office: vpn.example.net s3cret-argument\n\
               WARN office: ras-berlin plainword corp.example old-hunter2";
    let text = |content| Section { title: "log", content };
    let report = compose(&mut redactor, vec![text(Content::Text(log.to_owned()))]);
    assert!(
        report.contains("WARN <profile 1>: <server's name 1> <secret> <domain 1> <secret>\n"),
        "{report}"
    );
    for word in ["office", "ras-berlin", "example.net", "s3cret", "plainword", "hunter2"] {
        assert!(!report.contains(word), "{word} in\n{report}");
    }
}

#[test]
fn file_is_private_and_never_replaces_one() {
    use std::os::unix::fs::MetadataExt;
    let home = tempfile::tempdir().unwrap();
    let (path, link) = (home.path().join("report"), home.path().join("link"));
    create(&path).unwrap().write_all(b"x").unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    std::os::unix::fs::symlink(home.path().join("target"), &link).unwrap();
    for path in [&path, &link] {
        let wrong = create(path).unwrap_err();
        assert!(cannot_create(path, &wrong).contains("exists and is not overwritten"), "{wrong}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"x");
}
