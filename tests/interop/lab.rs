//! The lab from inside: its guest, its wire, and the places where a case keeps its files.

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

/// Where the lab keeps its own files; never compared, never seen by a profile.
pub const STATE: &str = "/run/lab";

/// The running lab. One per process; this process is in the client's namespaces.
pub struct Lab {
    script: PathBuf,
    binary: PathBuf,
    case_dir: RefCell<PathBuf>,
}

impl Lab {
    /// Finds the lab that this process was started in.
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
        // A copy: root's home may be closed to the users that it changes to, and a rebuild must not pull it away.
        let binary = state.join("bin/pptpctl");
        fs::create_dir_all(state.join("bin")).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_pptpctl"), &binary).unwrap();
        Self { script, binary, case_dir: RefCell::default() }
    }

    /// The `pptpctl` under test.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// A fresh directory for the case that begins.
    pub fn begin(&self, case: &str) {
        let dir = Path::new(STATE).join("case").join(case.replace("::", "-"));
        fs::create_dir_all(&dir).unwrap();
        self.case_dir.replace(dir);
    }

    /// The directory of the present case.
    pub fn case_dir(&self) -> PathBuf {
        self.case_dir.borrow().clone()
    }

    /// Runs a shell command inside the guest and returns what it printed; it must succeed.
    pub fn guest(&self, command: &str) -> String {
        let output =
            Command::new(&self.script).arg("exec").arg(command).stdin(Stdio::null()).output().unwrap();
        note(format_args!("guest$ {command}\n{}", text(&output)));
        assert!(output.status.success(), "in the guest: {command}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `tests/lab/server ACTION NAME` inside the guest.
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

    /// Drops all traffic with `address` until the guard is dropped: the cable is out.
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

    /// Copies the case's files and the servers' logs to where they outlive the lab.
    pub fn keep_evidence(&self, to: &Path) {
        fs::create_dir_all(to).unwrap();
        let sources = [self.case_dir(), Path::new(STATE).join("log"), "/var/log/pptpctl".into()];
        for source in sources.iter().filter(|source| source.is_dir()) {
            let _best_effort = Command::new("cp").arg("-rL").arg(source).arg(to).status();
        }
    }

    /// A failed case may have left a tunnel behind: the next one should not suffer for it.
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

/// See [`Lab::unplugged`].
pub struct Unplugged<'a>(&'a Lab);

impl Drop for Unplugged<'_> {
    fn drop(&mut self) {
        self.0.wire(&["nft", "delete", "table", "ip", "unplugged"]);
    }
}

/// A command on the wire, not yet started.
pub fn on_wire(args: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "wire"]).args(args);
    command
}

/// Both streams of a finished command.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// How long what must happen may take: a guest or a whole machine that stands still for seconds is no failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until the answer is there, at most so long; `None` when it never came.
pub fn wait_for<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        // Before the question: when all has stood still, those who are waited for had no time either, and are asked again.
        let last = Instant::now() >= end;
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if last {
            runner::note(format_args!("(waited {limit:?} in vain)"));
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
