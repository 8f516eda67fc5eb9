//! A supervisor of version 0.1.0, played by its recorded answers: an upgrade leaves it running.
//!
//! `socket-0.1.0.jsonl` has requests, and what 0.1.0 (commit f20ddc9) answered when a tunnel to a real pptpd was up, with
//! time and process ids replaced. It knew two requests.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use super::{
    working_server,
    world::{in_world, text},
};

const RECORDED: &str = include_str!("socket-0.1.0.jsonl");
const SOCKET: &str = "/run/pptpctl/vpn.sock";

#[test]
fn supervisor_of_0_1_0_is_shown_and_ended() {
    in_world(working_server(), |world| {
        world.profile("");
        fs::create_dir_all("/run/pptpctl").unwrap();
        fs::set_permissions("/run/pptpctl", fs::Permissions::from_mode(0o755)).unwrap();
        let supervisor =
            world.spawn(Command::new("perl").args(["-MSocket", "-e", SUPERVISOR, SOCKET, RECORDED]));
        world.wait_for(|| Path::new(SOCKET).exists());
        let status = world.run(&["status", "vpn"]);
        let shown = text(&status.stdout);
        assert_eq!(status.status.code(), Some(0), "{}", text(&status.stderr));
        for words in [
            "up on tun0",
            "10.77.10.100 → 10.77.10.1, MTU 1396",
            "MS-CHAPv2",
            "MPPE-128 stateless",
            "supervisor 4711",
        ] {
            assert!(shown.contains(words), "{words}: {shown}");
        }
        assert!(text(&world.run(&["list"]).stdout).contains("up "));
        for (arguments, words) in [
            (&["reload", "vpn"][..], "unknown variant `reload`"),
            (&["pause", "vpn", "--for", "1m"][..], "unknown variant `pause`"),
            (&["capture", "vpn", "/run/capture"][..], "unknown variant `capture`"),
            (&["events", "vpn"][..], "its supervisor is of an older version, which has no events"),
        ] {
            let output = world.run(arguments);
            let errors = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
            assert!(errors.contains(words), "{arguments:?}: {errors}");
        }
        let down = world.run(&["down", "vpn"]);
        assert_eq!(down.status.code(), Some(0), "{}", text(&down.stderr));
        assert!(text(&down.stdout).contains("vpn: down"), "{}", text(&down.stdout));
        let ended = supervisor.wait_with_output();
        assert!(ended.status.success(), "{}", text(&ended.stderr));
        assert_eq!(world.run(&["status", "vpn"]).status.code(), Some(6));
    });
}

/// Answers as recorded, until it is asked to take the tunnel down; for a minute at most. A process, as no thread can be made
/// in a world.
const SUPERVISOR: &str = r#"
    alarm 60;
    my ($path, @recorded) = ($ARGV[0], split /\n/, $ARGV[1]);
    socket(my $listener, PF_UNIX, SOCK_STREAM, 0) or die "socket: $!";
    umask 0177;
    bind($listener, pack_sockaddr_un($path)) or die "bind: $!";
    listen($listener, 5) or die "listen: $!";
    while (accept(my $client, $listener)) {
        my ($asked) = <$client> =~ /"command":"([a-z]+)"/ or die "no request";
        my ($at) = grep { $recorded[$_] =~ /^\{"command":"$asked"/ } 0 .. $#recorded;
        defined $at or die "0.1.0 was not asked $asked";
        unlink $path if $asked eq "down";
        syswrite $client, "$recorded[$at + 1]\n";
        exit 0 if $asked eq "down";
    }
"#;
