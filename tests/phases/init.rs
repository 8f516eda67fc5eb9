//! `init`: from nothing to a tunnel, and nothing that stays behind otherwise.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Output, Stdio},
};

use crate::{
    at_terminal::AtTerminal,
    working_server,
    world::{PASSWORD, World, download, in_world, text},
};

const PROFILE: &str = "/run/profiles.d/office.toml";
const SECRET: &str = "/run/secrets/office";

/// The questions of `init`, each with an answer.
const DIALOGUE: &[(&str, &str)] = &[
    ("server: ", "192.0.2.1"),
    ("user: ", "tester"),
    ("domain [none]: ", ""),
    ("password [ask each time]: ", PASSWORD),
    ("all, networks or server [all]: ", "networks"),
    ("networks: ", "192.168.77.0/24"),
    ("/run/secrets/office?\r\n  yes or no [yes]: ", ""),
    ("Connect then?\r\n  yes or no [yes]: ", ""),
];

fn mode(path: &str) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn start(world: &World) -> AtTerminal {
    AtTerminal::start(world, &["init", "office"], &[("SUDO_UID", "none")])
}

#[test]
fn dialogue_leads_to_a_tunnel() {
    in_world(working_server(), |world| {
        fs::write(World::CONFIG, "").unwrap();
        let mut at = start(world);
        for (question, answer) in DIALOGUE {
            at.expect(question);
            // A wrong answer is explained, and asked for again.
            match *question {
                "server: " => {
                    at.send("vpn example\n");
                    at.expect("bad value for `server`: ");
                    at.expect(question);
                }
                "networks: " => {
                    at.send("10.0.0.0/33\n");
                    at.expect("bad value for `routes`: ");
                    at.expect(question);
                }
                "password [ask each time]: " => assert!(!at.echoes()),
                _ => {}
            }
            at.send(&format!("{answer}\n"));
        }
        at.expect("office: up on tun0");
        assert_eq!(at.end(), 0);
        assert!(at.shown.contains("# down") && !at.shown.contains(PASSWORD), "{}", at.shown);
        assert_eq!((mode(PROFILE), mode(SECRET), mode("/run/secrets")), (0o644, 0o600, 0o700));
        download(world.server_config.office, 10_000);

        let check = world.run(&["check"]);
        assert_eq!(text(&check.stdout), "1 profile, 0 errors, 0 warnings\n", "{}", text(&check.stderr));
        let again = world.run(&["init", "office", "--server", "a.example", "--user", "u", "--yes"]);
        assert_eq!(again.status.code(), Some(3));
        let message = text(&again.stderr);
        assert!(
            message.contains("there is a profile office already (/run/profiles.d/office.toml:3:"),
            "{message}"
        );
        assert_eq!(world.run(&["down", "office"]).status.code(), Some(0));
    });
}

#[test]
fn end_at_any_question_leaves_nothing() {
    in_world(working_server(), |world| {
        fs::write(World::CONFIG, "").unwrap();
        let before = world.state();
        for last in 0..DIALOGUE.len() {
            for (key, status) in [("\x04", 2), ("\x03", 24)] {
                let mut at = start(world);
                for (question, answer) in &DIALOGUE[..last] {
                    at.expect(question);
                    at.send(&format!("{answer}\n"));
                }
                at.expect(DIALOGUE[last].0);
                at.send(key);
                at.expect("nothing was changed");
                assert_eq!(at.end(), status, "{}", at.shown);
                world.assert_state(&before);
            }
        }
        let mut at = start(world);
        for (question, answer) in &DIALOGUE[..6] {
            at.expect(question);
            at.send(&format!("{answer}\n"));
        }
        at.expect("yes or no");
        at.send("no\n");
        assert_eq!(at.end(), 0);
        world.assert_state(&before);
    });
}

/// Runs `init` without a terminal, with a text at its standard input.
fn init(world: &World, arguments: &[&str], input: &str) -> Output {
    let mut command = std::process::Command::new("setsid");
    command.args(["-w", World::PROGRAM, "--config", World::CONFIG, "init"]).args(arguments);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut command = world.spawn(command);
    let mut stdin = command.stdin.take().unwrap();
    // One that ends before it reads.
    let _closed = stdin.write_all(input.as_bytes());
    drop(stdin);
    command.wait_with_output()
}

#[test]
fn arguments_replace_the_questions() {
    in_world(working_server(), |world| {
        fs::write(World::CONFIG, "").unwrap();
        let to = &["--server", "vpn.example.net", "--user", "CORP\\alice"][..];
        let run = |arguments: &[&str], input: &str| {
            let output = init(world, &[&["office"], arguments].concat(), input);
            (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
        };
        let before = world.state();
        for (arguments, status, words) in [
            (&["--yes"][..], 2, "--server and --user missing"),
            (&["--server", "a.example"], 2, "--user missing, and there is no terminal to ask at"),
            (&[to, &["--domain", "OTHER", "--yes"]].concat(), 2, "leave one out"),
            (&[to, &["--route", "10.0.0.0/33", "--yes"]].concat(), 3, "bad value for `routes`"),
            (&[to, &["--password-file", "/nonexistent"]].concat(), 3, "there is no password file"),
            (&[to, &["--password-stdin"]].concat(), 3, "the password from descriptor 0 is empty"),
        ] {
            let (found, shown) = run(arguments, "\n");
            assert!(found == status && shown.contains(words), "{arguments:?}: {found}\n{shown}");
            world.assert_state(&before);
        }
        // A place that other users can change is refused, as `up` would refuse it.
        world.shell("mkdir -m 777 /run/profiles.d");
        let (status, shown) = run(&[to, &["--yes"]].concat(), "");
        assert!(status == 3 && shown.contains("can be written by others"), "{shown}");
        assert!(!Path::new(PROFILE).exists());
        world.shell("chmod 755 /run/profiles.d");

        let networks = &["--route", "10.0.0.0/8,192.0.2.0/24", "--route", "192.168.77.0/24"];
        let (status, shown) = run(&[to, networks, &["--password-stdin"]].concat(), "hunter2\n");
        assert!(status == 0 && shown.contains("`pptpctl up office` connects"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!((fs::read_to_string(SECRET).unwrap(), mode(SECRET)), ("hunter2".to_owned(), 0o600));
        let profile = fs::read_to_string(PROFILE).unwrap();
        for line in ["user = \"alice\"", "domain = \"CORP\"", "password.file = \"/run/secrets/office\""] {
            assert!(profile.lines().any(|found| found == line), "{profile}");
        }
        assert!(profile.contains("routes = [\"10.0.0.0/8\", \"192.0.2.0/24\", \"192.168.77.0/24\"]"));
        // The password of a profile that was removed is not overwritten.
        fs::remove_file(PROFILE).unwrap();
        let (status, shown) = run(&[to, &["--password-stdin"]].concat(), "other\n");
        assert!(status == 3 && shown.contains("exists already and is not overwritten"), "{shown}");
        let (status, shown) = run(&[to, &["--password-file", SECRET]].concat(), "");
        assert_eq!((status, fs::read_to_string(SECRET).unwrap().as_str()), (0, "hunter2"), "{shown}");

        // For programs: nothing but JSON, and only where nothing is asked.
        fs::remove_file(PROFILE).unwrap();
        assert_eq!(run(&[to, &["--json"]].concat(), "").0, 2);
        let (status, shown) = run(&[to, &["--yes", "--json"]].concat(), "");
        let object: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((status, &object["name"], &object["file"]), (0, &"office".into(), &PROFILE.into()));
        assert!(object["password_file"].is_null() && object["warnings"].is_array(), "{shown}");
    });
}
