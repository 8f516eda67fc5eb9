//! Helpers for tests that run themselves again as the lab's client, with a script in the guest, whose kernel
//! has PPP.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// Runs this test program again in the lab, where it runs `inside`. If the lab is missing, the test is
/// skipped, or fails in CI.
pub fn in_the_lab(inside: impl FnOnce()) {
    if env::var_os("LAB").is_some() {
        return inside();
    }
    let lab = root().join("tests/lab/lab");
    let missing = Command::new(&lab).arg("missing").output().unwrap().stdout;
    let usable = missing.is_empty() && nix::unistd::geteuid().is_root() && Path::new("/dev/net/tun").exists();
    if !usable {
        assert!(env::var_os("CI").is_none(), "missing: {}", String::from_utf8_lossy(&missing));
        println!("skipped: the lab is not installed, or this is not root");
        return;
    }
    let status = Command::new(&lab)
        .arg("run")
        .arg(env::current_exe().unwrap())
        .args(["--nocapture", "--test-threads", "1"])
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

/// Runs the test's script in the guest.
pub struct Guest {
    /// Time limit of one run.
    pub seconds: u32,
}

impl Guest {
    /// Copies programs (paths are absolute or relative to the repository) to a directory that the guest sees,
    /// and runs `guest prepare`; the script is the program named `guest`.
    pub fn prepare(&self, programs: &[&str]) {
        fs::create_dir_all("/run/lab/bin").unwrap();
        for program in ["tests/lab/guest-lib"].iter().chain(programs) {
            let path = root().join(program);
            fs::copy(&path, Path::new("/run/lab/bin").join(path.file_name().unwrap())).unwrap();
        }
        let output = self.output("prepare");
        assert!(output.status.success(), "guest prepare: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs the script with these arguments and returns its standard output and standard error.
    pub fn run(&self, words: &str) -> (String, String) {
        let output = self.output(words);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        if !output.status.success() {
            println!("in the guest: {words}: {}\n{stderr}", output.status);
        }
        (stdout, stderr)
    }

    fn output(&self, words: &str) -> Output {
        Command::new(env::var_os("LAB").unwrap())
            .arg("exec")
            .arg(format!("bash /run/lab/bin/guest {words}"))
            .env("LAB_TIMEOUT", self.seconds.to_string())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
