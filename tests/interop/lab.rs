//! The lab from inside: its guest, its wire, and the directories of the cases.

use std::{
    cell::RefCell,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    client,
    runner::{self, note},
};

/// The directory of the lab's files, which is excluded from comparisons.
pub const STATE: &str = "/run/lab";

/// The running lab, one per process. This process is in the client's namespaces.
pub struct Lab {
    script: PathBuf,
    binary: PathBuf,
    case_dir: RefCell<PathBuf>,
}

impl Lab {
    /// Opens the lab that this process was started in, and writes the password files.
    pub fn open() -> Self {
        let script = PathBuf::from(env::var_os("LAB").expect("not inside the lab"));
        let state = Path::new(STATE);
        fs::create_dir_all(state.join("secret")).unwrap();
        for (file, password) in [
            ("labpass", "labpass\n"),
            ("wrong", "not this\n"),
            ("spaced", "pass word\n"),
            ("fixed", "fixedpass\n"),
        ] {
            let path = state.join("secret").join(file);
            fs::write(&path, password).unwrap();
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        // A copy, as unprivileged users may have no access to root's home, and a rebuild must not replace it.
        let binary = state.join("bin/pptpctl");
        fs::create_dir_all(state.join("bin")).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_pptpctl"), &binary).unwrap();
        Self { script, binary, case_dir: RefCell::default() }
    }

    /// Returns the path of the `pptpctl` under test.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Creates the directory of the case that starts.
    pub fn begin(&self, case: &str) {
        let dir = Path::new(STATE).join("case").join(case.replace("::", "-"));
        fs::create_dir_all(&dir).unwrap();
        self.case_dir.replace(dir);
    }

    /// Returns the directory of the current case.
    pub fn case_dir(&self) -> PathBuf {
        self.case_dir.borrow().clone()
    }

    /// Runs a shell command inside the guest and returns its standard output; it must succeed.
    pub fn guest(&self, command: &str) -> String {
        let output =
            Command::new(&self.script).arg("exec").arg(command).stdin(Stdio::null()).output().unwrap();
        note(format_args!("guest$ {command}\n{}", text(&output)));
        assert!(output.status.success(), "in the guest: {command}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `tests/lab/server ACTION NAME` inside the guest.
    pub fn server(&self, action: &str, name: &str) {
        let server = self.script.with_file_name("server");
        self.guest(&format!("{} {action} {name}", server.display()));
    }

    /// Runs a command on the wire, between client and server; it must succeed.
    pub fn wire(&self, args: &[&str]) -> String {
        let output = on_wire(args).stdin(Stdio::null()).output().unwrap();
        note(format_args!("wire$ {}\n{}", args.join(" "), text(&output)));
        assert!(output.status.success(), "on the wire: {args:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Discards all packets from and to `address` until the guard is dropped, as if the cable were unplugged.
    pub fn unplugged(&self, address: &str) -> Unplugged<'_> {
        self.wire(&["nft", "add", "table", "ip", "unplugged"]);
        self.wire(&[
            "nft",
            "add",
            "chain",
            "ip",
            "unplugged",
            "forward",
            "{ type filter hook forward priority -1; }",
        ]);
        for side in ["saddr", "daddr"] {
            self.wire(&["nft", "add", "rule", "ip", "unplugged", "forward", "ip", side, address, "drop"]);
        }
        Unplugged(self)
    }

    /// Drops GRE packets of more than `limit` bytes, in both directions, until the guard is dropped.
    pub fn drops_long_gre(&self, limit: u16) -> Unplugged<'_> {
        self.rule_on_the_way(&format!("ip protocol gre meta length > {limit} drop"))
    }

    /// Adds an nftables rule for forwarded packets on the wire, until the guard is dropped.
    pub fn rule_on_the_way(&self, rule: &str) -> Unplugged<'_> {
        self.wire(&["nft", "add", "table", "ip", "unplugged"]);
        let hook = "{ type filter hook forward priority -1; }";
        self.wire(&["nft", "add", "chain", "ip", "unplugged", "forward", hook]);
        let words: Vec<&str> = rule.split(' ').collect();
        self.wire(&[&["nft", "add", "rule", "ip", "unplugged", "forward"], &words[..]].concat());
        Unplugged(self)
    }

    /// Copies the case's files and all logs to a directory that outlives the lab.
    pub fn keep_evidence(&self, to: &Path) {
        fs::create_dir_all(to).unwrap();
        let sources = [self.case_dir(), Path::new(STATE).join("log"), "/var/log/pptpctl".into()];
        for source in sources.iter().filter(|source| source.is_dir()) {
            let _best_effort = Command::new("cp").arg("-rL").arg(source).arg(to).status();
        }
    }

    /// Removes what a failed case may have left, so that it does not affect the next case.
    pub fn clean_up_after_failure(&self) {
        let _stuck = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client::kill_all(self)));
        let _best_effort = Command::new(self.binary()).arg("recover").stdin(Stdio::null()).output();
        for (name, _) in client::tun_links() {
            let _best_effort = Command::new("ip").args(["link", "del", &name]).status();
        }
        for dir in ["/run/pptpctl", "/var/lib/pptpctl"] {
            let _best_effort = fs::remove_dir_all(dir);
        }
    }
}

/// The guard of [`Lab::unplugged`] and [`Lab::rule_on_the_way`].
pub struct Unplugged<'a>(&'a Lab);

impl Drop for Unplugged<'_> {
    fn drop(&mut self) {
        self.0.wire(&["nft", "delete", "table", "ip", "unplugged"]);
    }
}

/// Returns a command on the wire, not started.
pub fn on_wire(args: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "wire"]).args(args);
    command
}

/// Returns both output streams of a finished command.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The time limit for expected events, long enough for a guest or host that stalls for seconds.
pub const EVENT_TIMEOUT: Duration = Duration::from_secs(60);

/// Polls until `ask` returns a value, for at most `limit`; then returns `None`.
pub fn wait_for<T>(limit: Duration, mut poll: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        // Read the clock before polling: if the whole machine stalled, poll once more after it.
        let last = Instant::now() >= end;
        if let Some(answer) = poll() {
            return Some(answer);
        }
        if last {
            runner::note(format_args!("(waited {limit:?} in vain)"));
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
