//! `edit`: a copy in the editor, errors with a way back, and the file replaced as a whole.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
};

use crate::{
    at_terminal::AtTerminal,
    working_server,
    world::{World, in_world, text},
};

/// The editor: runs `/run/edit.N` with the file, N being how often it was called before, and records its arguments.
const EDITOR: &str = "#!/bin/sh\nn=$(cat /run/calls 2> /dev/null || echo 0)\necho $((n + 1)) > /run/calls\n\
                      echo \"$1\" > /run/words\nstat -c '%a' \"$2\" >> /run/words\ntouch \"$2~\"\n. /run/edit.$n\n";

/// Starts `edit vpn` with these scripts, which have the file as `$2`.
fn edit(world: &World, scripts: &[&str]) -> AtTerminal {
    world.shell("rm -f /run/calls; mkdir -p /run/tmp");
    fs::write("/run/editor", EDITOR).unwrap();
    for (number, script) in scripts.iter().enumerate() {
        fs::write(format!("/run/edit.{number}"), script).unwrap();
    }
    let variables = [("VISUAL", "sh /run/editor  word"), ("EDITOR", "false"), ("TMPDIR", "/run/tmp")];
    // Words of a command; /run may be mounted without execution.
    AtTerminal::start(world, &["edit", "vpn"], &variables)
}

fn profile() -> String {
    fs::read_to_string(World::CONFIG).unwrap()
}

#[track_caller]
fn assert_no_copy() {
    assert_eq!(fs::read_dir("/run/tmp").unwrap().count(), 0);
    let hidden = fs::read_dir("/run").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(hidden.filter(|name| name.ends_with(".pptpctl")).count(), 0);
}

#[test]
fn errors_lead_back_to_the_editor_and_the_file_keeps_owner_and_mode() {
    in_world(working_server(), |world| {
        world.profile("");
        chown(World::CONFIG, Some(0), Some(4242)).unwrap();
        fs::set_permissions(World::CONFIG, fs::Permissions::from_mode(0o640)).unwrap();
        world.up();
        // Each removes the line of the one before.
        let scripts = [
            "echo 'routse = [' >> \"$2\"",
            "sed -i '$d' \"$2\"; echo 'mtu = 9' >> \"$2\"",
            "sed -i '$d' \"$2\"; echo 'exclude = [\"10.9.0.0/16\"]' >> \"$2\"",
        ];
        let mut at = edit(world, &scripts);
        at.expect("this is not TOML");
        at.expect("/run/test.toml:9:1");
        at.expect("^");
        at.expect("edit or quit [edit]: ");
        at.send("\n");
        at.expect("bad value for `mtu`");
        at.expect("edit or quit [edit]: ");
        at.send("e\n");
        at.expect("changed /run/test.toml");
        at.expect("vpn is running with its former settings: `pptpctl reload vpn` applies the new ones");
        assert_eq!(at.end(), 0);
        let file = fs::metadata(World::CONFIG).unwrap();
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (0, 4242, 0o640));
        assert!(profile().ends_with("exclude = [\"10.9.0.0/16\"]\n"), "{}", profile());
        assert_eq!(fs::read_to_string("/run/words").unwrap(), "word\n600\n");
        assert_no_copy();
        assert_eq!(world.run(&["down", "vpn"]).status.code(), Some(0));
    });
}

#[test]
fn nothing_is_changed_unless_the_editor_leaves_a_valid_file() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = profile();
        let mistake = "echo 'mtu = 9' >> \"$2\"";
        // (script, keys at the question, exit status, message)
        for (script, keys, status, words) in [
            (":", "", 0, "nothing was changed"),
            ("exit 3", "", 1, "the editor sh failed (exit status: 3), so nothing was changed"),
            (mistake, "quit\n", 3, "/run/test.toml was not changed"),
            (mistake, "\x04", 2, "the input has ended; nothing was changed"),
            (mistake, "\x03", 24, "interrupted; nothing was changed"),
            ("printf '\\377' >> \"$2\"", "q\n", 3, "not UTF-8 text"),
        ] {
            let mut at = edit(world, &[script]);
            if !keys.is_empty() {
                at.expect("edit or quit [edit]: ");
                at.send(keys);
            }
            assert_eq!(at.end(), status, "{script}");
            assert!(at.shown.contains(words), "{script}: {}", at.shown);
            assert_eq!(profile(), before);
            assert_no_copy();
        }
        let mut at = edit(world, &["echo '# one' >> \"$2\"; echo '# other' >> /run/test.toml"]);
        at.expect("was changed by another program meanwhile");
        assert_eq!(at.end(), 1);
        assert_eq!(profile(), format!("{before}# other\n"));
        assert!(world.shell("cat /run/tmp/pptpctl.*/test.toml").ends_with("# one\n"), "the copy stays");
    });
}

#[test]
fn file_that_is_not_toml_can_be_repaired() {
    in_world(working_server(), |world| {
        world.profile("");
        let whole = profile();
        fs::write(World::CONFIG, format!("{whole}routes = [\n")).unwrap();
        let mut at = edit(world, &["sed -i '$d' \"$2\""]);
        assert_eq!(at.end(), 0, "{}", at.shown);
        assert_eq!(profile(), whole);
        assert_no_copy();
        let unknown = world.run(&["edit", "vpm"]);
        assert_eq!(unknown.status.code(), Some(3));
        let message = text(&unknown.stderr);
        assert!(
            message.contains("did you mean `vpn`?") && message.contains("`pptpctl init vpm`"),
            "{message}"
        );
    });
}
