//! What users other than root may see of a tunnel: that it runs, and with `control.group` its status.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    process::{Command, Output, Stdio},
};

use super::{
    working_server,
    world::{World, in_world, text},
};

const SOCKET: &str = "/run/pptpctl/vpn.status";
/// A group that every system has, and its number.
const GROUP: (&str, u32) = ("daemon", 1);

/// Opens connections, half of which ask for the status and do not read it, says so, and goes on connecting.
const CROWD: &str = r#"
    use Socket;
    my @all;
    for my $n (1 .. 100) {
        socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die;
        connect($s, pack_sockaddr_un($ARGV[0])) or die "connect: $!";
        syswrite($s, "{\"command\":\"status\"}\n") if $n % 2;
        push @all, $s;
    }
    syswrite(STDOUT, "open\n");
    while (socket(my $s, PF_UNIX, SOCK_STREAM, 0)) { connect($s, pack_sockaddr_un($ARGV[0])) or exit }
"#;

/// Returns a command run by another user, in one supplementary group or in none.
fn as_user(group: Option<u32>, words: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534"]);
    command.arg(group.map_or_else(|| "--clear-groups".to_owned(), |group| format!("--groups={group}")));
    command.args(words).stdin(Stdio::null()).env("HOME", "/nonexistent").env_remove("XDG_CONFIG_HOME");
    command
}

fn run(group: Option<u32>, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        as_user(group, &[&[World::PROGRAM], arguments].concat()).output().unwrap();
    (status.code(), text(&stdout) + &text(&stderr))
}

fn ask(request: &str) -> String {
    let mut stream = UnixStream::connect(SOCKET).unwrap();
    stream.write_all(format!("{request}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn members_of_the_group_read_the_status_only() {
    in_world(working_server(), |world| {
        world.profile(&format!("control.group = \"{}\"", GROUP.0));
        let before = world.state();
        world.up();
        let during = world.state();
        let socket = fs::metadata(SOCKET).unwrap();
        assert_eq!((socket.mode() & 0o777, socket.uid(), socket.gid()), (0o660, 0, GROUP.1));

        let (code, said) = run(Some(GROUP.1), &["status", "vpn"]);
        assert!(code == Some(0) && said.starts_with("vpn: up on tun0 for "), "{said}");
        assert!(said.contains("10.77.0.100") && !said.contains(super::PASSWORD), "{said}");
        let (code, said) = run(Some(GROUP.1), &["list"]);
        assert!(code == Some(0) && said.contains("vpn      up           (a profile of root)"), "{said}");
        for forbidden in [["down", "vpn"], ["logs", "vpn"]] {
            let (code, said) = run(Some(GROUP.1), &forbidden);
            assert_eq!(code, Some(4), "{forbidden:?}: {said}");
        }
        assert!(ask("{\"command\":\"down\"}").contains("this socket answers status only"));
        assert!(ask("{\"command\":\"redial\"}").contains("this socket answers status only"));
        assert!(ask("{\"command\":\"status\"}").contains("\"state\":\"up\""));

        assert_refused("only root and members of the group daemon may see more");
        // The peer's groups are checked, too.
        fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o666)).unwrap();
        let (code, said) = run(None, &["status", "vpn"]);
        assert!(code != Some(0) && !said.contains("up on"), "{said}");
        fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o660)).unwrap();
        world.assert_state(&during);

        // Another program that removes the socket, or everything, does not lock the group out.
        for removal in [format!("rm {SOCKET}"), "rm -r /run/pptpctl".to_owned()] {
            world.shell(&removal);
            world.wait_for(|| run(Some(GROUP.1), &["status", "vpn"]).1.starts_with("vpn: up on tun0 for "));
            assert!(ask("{\"command\":\"down\"}").contains("this socket answers status only"), "{removal}");
            world.assert_state(&during);
        }
        world.down(&before);
    });
}

/// Checks what a user sees who is in no group.
#[track_caller]
fn assert_refused(who: &str) {
    let (code, said) = run(None, &["status", "vpn"]);
    assert!(code == Some(4) && said.contains("only root or a member of its control.group"), "{said}");
    let (code, said) = run(None, &["status"]);
    assert!(code == Some(0) && said.contains("vpn: running; ") && said.contains(who), "{said}");
    let (code, said) = run(None, &["list"]);
    assert!(code == Some(0) && said.contains("vpn      running      (a profile of root)"), "{said}");
    assert!(
        said.contains("profiles in /etc/pptpctl belong to root: `sudo pptpctl list` shows all"),
        "{said}"
    );
    let (code, said) = run(None, &["list", "--json"]);
    assert!(
        code == Some(0) && said.contains(r#"[{"name":"vpn","profile":null,"state":"running"}]"#),
        "{said}"
    );
}

#[test]
fn a_crowd_in_the_group_does_not_block_down() {
    in_world(working_server(), |world| {
        world.profile(&format!("control.group = \"{}\"", GROUP.0));
        let before = world.state();
        // The systemd unit takes this capability.
        let up =
            format!("setpriv --bounding-set=-chown {} --config {} up vpn", World::PROGRAM, World::CONFIG);
        let said = world.shell(&up);
        assert!(said.contains("vpn: up on tun0"), "{said}");
        assert_eq!(fs::metadata(SOCKET).unwrap().gid(), GROUP.1, "{said}");
        let mut crowd = as_user(Some(GROUP.1), &["perl", "-e", CROWD, SOCKET]);
        let mut crowd = world.spawn(crowd.stdout(Stdio::piped()));
        let mut line = String::new();
        BufReader::new(crowd.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "open\n");
        assert!(world.run(&["status", "vpn"]).status.success());
        world.down(&before);
    });
}

#[test]
fn tunnel_without_such_a_group_comes_up() {
    in_world(working_server(), |world| {
        for (keys, note) in [
            (
                "control.group = \"no-such-group\"",
                "control.group: there is no group no-such-group; only root",
            ),
            ("", "up on tun0"),
        ] {
            world.profile(keys);
            let before = world.state();
            let up = world.run(&["up", "vpn"]);
            let said = text(&up.stdout) + &text(&up.stderr);
            assert!(up.status.success() && said.contains(note), "{said}");
            assert!(!fs::exists(SOCKET).unwrap());
            assert_refused("only root may see more (`control.group` admits a group)");
            world.down(&before);
        }
    });
}
