//! Runs the scripts of `pptpctl completions` in the shells they are for. A shell that is missing is skipped outside CI.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]
#![expect(clippy::print_stdout, reason = "what is skipped is printed")]

use std::{fs, path::Path, process::Command};

/// The files of a user: both programs in a directory of `PATH`, three profiles, the scripts.
struct Home(tempfile::TempDir);

impl Home {
    fn new(shell: &str) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        let config = home.path("config/pptpctl");
        fs::create_dir_all(&config).unwrap();
        fs::create_dir(home.path("bin")).unwrap();
        let profile = |name: &str| format!("[profile.{name}]\nserver = 'a.example'\nuser = 'u'\n");
        let profiles = ["office", "office-2", "home"].map(profile).concat();
        fs::write(Path::new(&config).join("profiles.toml"), profiles).unwrap();
        // For root the files of its own would count: the real program is called with them.
        let program = env!("CARGO_BIN_EXE_pptpctl");
        let wrapper = format!("#!/bin/sh\nexec {program} --config {config}/profiles.toml \"$@\"\n");
        write_program(&home.path("bin/pptpctl"), &wrapper);
        write_program(&home.path("bin/pptp"), "#!/bin/sh\n");
        for (program, prefix) in [("pptpctl", ""), ("pptp", "pptp-")] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_pptpctl"));
            let output = command.args(["completions", shell, program]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            fs::write(home.path(&format!("{prefix}script")), output.stdout).unwrap();
        }
        home
    }

    fn path(&self, below: &str) -> String {
        self.0.path().join(below).to_str().unwrap().to_owned()
    }

    /// Runs a shell with these arguments, which completes all of [`CASES`], and compares what it prints: the words of
    /// each, and a line `==`.
    fn compare(&self, shell: &mut Command) {
        let path = format!("{}:{}", self.path("bin"), std::env::var("PATH").unwrap());
        let output = shell.env("PATH", path).env("HOME", self.path("")).env("TERM", "dumb").output().unwrap();
        let (text, stderr) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && stderr.is_empty(), "{text}{stderr}");
        let mut found = text.split("==");
        for (line, expected) in CASES {
            let words = found.next().unwrap_or_default().lines();
            let mut words: Vec<&str> = words.filter_map(|line| line.split_whitespace().next()).collect();
            words.sort_unstable();
            assert_eq!(words, *expected, "{line}");
        }
    }
}

/// Not written by this process: see `tests/lab/script.rs`.
fn write_program(path: &str, text: &str) {
    let script = "printf %s \"$2\" > \"$1\" && chmod 755 \"$1\"";
    let status = Command::new("sh").args(["-c", script, "sh", path, text]).status();
    assert!(status.unwrap().success());
}

/// Returns whether the shell is installed. In CI it must be.
fn has(shell: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap();
    let is_installed = std::env::split_paths(&path).any(|directory| directory.join(shell).exists());
    assert!(is_installed || std::env::var_os("CI").is_none(), "{shell} is missing");
    if !is_installed {
        println!("skipped: {shell} is missing");
    }
    is_installed
}

/// The command lines to complete, each with what every shell offers, and nothing else that begins in the same way.
const CASES: &[(&str, &[&str])] = &[
    ("pptpctl re", &["recover", "redial", "reload", "report", "restart"]),
    ("pptpctl st", &["start", "status", "stop"]),
    ("pptpctl up of", &["office", "office-2"]),
    ("pptpctl start h", &["home"]),
    ("pptpctl restart office-", &["office-2"]),
    ("pptpctl status --json h", &["home"]),
    ("pptpctl capture --wait h", &["home"]),
    ("pptpctl up --dry", &["--dry-run"]),
    ("pptpctl check --platform open", &["openbsd"]),
    ("pptpctl completions z", &["zsh"]),
    ("pptp --no", &["--nobuffer", "--nohostroute", "--nolaunchpppd"]),
    ("pptp --max", &["--max-echo-wait"]),
];

#[test]
fn bash_completes_commands_options_and_names() {
    let home = Home::new("bash");
    let mut script = format!(". '{}'; . '{}'\n", home.path("script"), home.path("pptp-script"));
    for (line, _) in CASES {
        let words: Vec<&str> = line.split(' ').collect();
        let (program, last) = (words.first().unwrap(), words.len() - 1);
        // As bash itself calls the function that the script has registered.
        script += &format!(
            "COMP_WORDS=({line}); COMP_CWORD={last}; COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}\n\
             function=$(complete -p {program}); function=${{function##*-F }}; function=${{function%% *}}\n\
             \"$function\" {program} \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{}]}}\"\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\" ==\n",
            last - 1
        );
    }
    let driver = home.path("driver");
    fs::write(&driver, script).unwrap();
    home.compare(Command::new("bash").args(["--norc", &driver]));
}

#[test]
fn fish_completes_commands_options_and_names() {
    if !has("fish") {
        return;
    }
    let home = Home::new("fish");
    let mut script = format!("source '{}'; source '{}'\n", home.path("script"), home.path("pptp-script"));
    script += &CASES.iter().map(|(line, _)| format!("complete -C '{line}'; echo ==\n")).collect::<String>();
    let driver = home.path("driver");
    fs::write(&driver, script).unwrap();
    home.compare(Command::new("fish").args(["--no-config", &driver]));
}

/// Drives an interactive zsh at a pty: its completion exists only in the line editor.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty shell zsh -f -i
line() { zpty -w shell "$1" }
line "PS1= PS2= RPS1="
line "fpath=($1 \$fpath); autoload -U compinit; compinit -u -D"
line "zstyle ':completion:*' list-colors no=; zstyle ':completion:*' menu no; zstyle ':completion:*' verbose no"
# Instead of inserting or listing: the words that match, between two marks.
line 'compadd() { local -a found; builtin compadd -O found "$@"; (( ${#found} )) && all+=($found); return 1 }'
line 'show() { local -a all; _main_complete; print; print -rl -- BEGIN ${(u)all} END; }'
line 'zle -C show complete-word show; bindkey "^T" show'
line 'print RE""ADY'
zpty -r -m shell out '*READY*' || exit 1
for typed in "${@:2}"; do
    zpty -n -w shell "$typed"$'\x14'
    zpty -r -m shell out '*END*' || exit 1
    print -r -- "${${out##*BEGIN}%%END*}"
    print -- '=='
    # Deletes the line.
    zpty -n -w shell $'\x15'
done
zpty -d shell
"#;

#[test]
fn zsh_completes_commands_options_and_names() {
    if !has("zsh") {
        return;
    }
    let home = Home::new("zsh");
    for (name, file) in [("_pptpctl", "script"), ("_pptp", "pptp-script")] {
        fs::create_dir_all(home.path("functions")).unwrap();
        fs::copy(home.path(file), home.path(&format!("functions/{name}"))).unwrap();
    }
    let functions = home.path("functions");
    let lines = CASES.iter().map(|(line, _)| *line);
    home.compare(
        Command::new("timeout").args(["120", "zsh", "-f", "-c", ZSH, "zsh", &functions]).args(lines),
    );
}
