//! Commands whose result depends on the home directory of the user that runs them.

use std::path::Path;

/// Programs that keep their data in a home directory.
const TOOLS: [&str; 11] =
    ["pass", "gopass", "gpg", "gpg2", "secret-tool", "kwallet-query", "rbw", "bw", "op", "passage", "age"];
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "ksh", "zsh", "ash", "mksh"];
/// Programs that run another one as another user.
const SWITCHES: [&str; 7] = ["sudo", "doas", "su", "runuser", "setpriv", "chpst", "machinectl"];

/// Returns an argument that is meant for a shell, which does not run the command.
pub(super) fn unexpanded(argv: &[String]) -> Option<&str> {
    if argv.first().is_some_and(|program| SHELLS.contains(&file_name(program))) {
        return None;
    }
    let for_shell = |word: &&String| *word == "~" || word.starts_with("~/") || mentions_home(word);
    argv.iter().find(for_shell).map(String::as_str)
}

/// Returns what in the command reads the home directory of the user that runs it.
pub(super) fn reads_home(argv: &[String]) -> Option<&str> {
    let program = file_name(argv.first()?);
    if SWITCHES.contains(&program) {
        return None;
    }
    if !SHELLS.contains(&program) {
        return Some(program).filter(|program| TOOLS.contains(program));
    }
    let script = argv.get(1..)?;
    if script.iter().flat_map(|line| words(line)).any(|word| SWITCHES.contains(&word)) {
        return None;
    }
    let tool = script.iter().flat_map(|line| words(line)).find(|word| TOOLS.contains(word));
    tool.or_else(|| {
        let home =
            script.iter().any(|line| mentions_home(line) || words(line).any(|word| word.starts_with("~/")));
        home.then_some("its script")
    })
}

fn mentions_home(text: &str) -> bool {
    text.contains("$HOME") || text.contains("${HOME")
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| c.is_whitespace() || "|;&()`\"'<>".contains(c)).filter(|word| !word.is_empty())
}

fn file_name(program: &str) -> &str {
    Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn tools_that_read_a_home_directory_are_recognised() {
        for (command, expected) in [
            (&["pass", "show", "vpn"][..], Some("pass")),
            (&["/usr/bin/gpg", "-d", "/root/vpn.gpg"], Some("gpg")),
            (&["sh", "-c", "gpg -qd ~/vpn.gpg"], Some("gpg")),
            (&["sh", "-c", "cat ~/vpn"], Some("its script")),
            (&["/bin/bash", "-c", "cat \"$HOME/vpn\" | head -1"], Some("its script")),
            (&["sudo", "-u", "alice", "pass", "show", "vpn"], None),
            (&["sh", "-c", "sudo -u alice pass vpn"], None),
            (&["cat", "/etc/pass"], None),
            (&["/usr/local/bin/vpn-password", "pass"], None),
        ] {
            assert_eq!(reads_home(&argv(command)), expected, "{command:?}");
        }
    }

    #[test]
    fn arguments_for_a_shell_are_recognised() {
        for (command, expected) in [
            (&["cat", "~/vpn"][..], Some("~/vpn")),
            (&["gpg", "-d", "$HOME/vpn.gpg"], Some("$HOME/vpn.gpg")),
            (&["sh", "-c", "cat ~/vpn"], None),
            (&["cat", "/home/a~/vpn"], None),
        ] {
            assert_eq!(unexpanded(&argv(command)), expected, "{command:?}");
        }
    }
}
