//! The client under test: a profile, `pptpctl` with it, and /proc data about its processes.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    lab::{EVENT_TIMEOUT, Lab, STATE, wait_for},
    runner::note,
};

/// One profile, as TOML keys and values. Keys that are not set have pptpctl's defaults.
#[derive(Clone)]
pub struct Profile {
    name: &'static str,
    keys: BTreeMap<&'static str, String>,
}

impl Profile {
    /// Creates a profile of the lab's usual user for `server`, with a route to the inside network.
    pub fn new(name: &'static str, server: &str) -> Self {
        let keys = BTreeMap::from([
            ("server", format!("{server:?}")),
            ("user", "\"labuser\"".to_owned()),
            ("password.file", format!("\"{STATE}/secret/labpass\"")),
            ("routes", "[\"10.99.0.0/16\"]".to_owned()),
        ]);
        Self { name, keys }
    }

    /// Adds `key = value`; the value is TOML.
    pub fn set(mut self, key: &'static str, value: &str) -> Self {
        self.keys.insert(key, value.to_owned());
        self
    }

    fn toml(&self) -> String {
        let keys: String = self.keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        format!("[profile.{}]\n{keys}\n", self.name)
    }
}

/// `pptpctl` with the profiles of one case.
pub struct Client<'a> {
    lab: &'a Lab,
    config: PathBuf,
}

impl<'a> Client<'a> {
    /// Writes the profiles to a file of the current case.
    pub fn new(lab: &'a Lab, profiles: &[Profile]) -> Self {
        let config = lab.case_dir().join("profiles.toml");
        let text: String = profiles.iter().map(Profile::toml).collect();
        note(&text);
        fs::write(&config, text).unwrap();
        Self { lab, config }
    }

    /// Uses the profiles that this case has already written.
    pub fn with_written_profiles(lab: &'a Lab) -> Self {
        Self { lab, config: lab.case_dir().join("profiles.toml") }
    }

    /// Returns the command `pptpctl --config FILE ARGS`, not started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.lab.binary());
        command.arg("--config").arg(&self.config).args(args);
        command
    }

    /// Runs `pptpctl` and waits until it exits.
    pub fn run(&self, args: &[&str]) -> Finished {
        self.start(args).finish()
    }

    /// Starts `pptpctl`.
    pub fn start(&self, args: &[&str]) -> Running {
        Running::spawn(self.command(args), args.join(" "))
    }

    /// Runs `up NAME`, which must succeed.
    pub fn up(&self, name: &str) -> Finished {
        let done = self.run(&["up", name]);
        assert_eq!(done.code, 0, "up {name}: {}", done.text);
        done
    }

    /// Runs `down NAME`, which must succeed.
    pub fn down(&self, name: &str) -> Finished {
        let done = self.run(&["down", name]);
        assert_eq!(done.code, 0, "down {name}: {}", done.text);
        done
    }

    /// Runs `status NAME --json`; `None` if there is no supervisor.
    pub fn try_status(&self, name: &str) -> Option<Value> {
        let output = self.command(&["status", name, "--json"]).stdin(Stdio::null()).output().unwrap();
        let value: Value = serde_json::from_slice(&output.stdout).ok()?;
        let one = if let Value::Array(all) = value {
            all.into_iter().find(|one| one["name"] == name)?
        } else {
            value
        };
        one["supervisor_pid"].as_u64().filter(|pid| *pid != 0).map(|_| one)
    }

    /// Runs `status NAME --json` for a tunnel that must have a supervisor.
    pub fn status(&self, name: &str) -> Value {
        let status = self
            .try_status(name)
            .unwrap_or_else(|| panic!("no status of {name}: {}", self.run(&["status", name]).text));
        let mut shown = status.clone();
        // Most counters are zero: leave them out.
        if let Some(counters) = shown["counters"].as_object_mut() {
            counters.retain(|_, count| *count != 0);
        }
        note(format_args!("status {name}: {shown}"));
        status
    }

    /// Waits until the tunnel has this state, and returns the status.
    pub fn wait_state(&self, name: &str, state: &str) -> Value {
        let found =
            wait_for(EVENT_TIMEOUT, || self.try_status(name).filter(|status| status["state"] == state));
        found.unwrap_or_else(|| panic!("{name} is not {state}: {:?}", self.try_status(name)))
    }

    /// Returns the counters of a tunnel. Retries, as `status` omits them if the engine is slow.
    pub fn counters(&self, name: &str) -> Value {
        let found = wait_for(EVENT_TIMEOUT, || {
            let counters = self.try_status(name)?["counters"].clone();
            counters.as_object().is_some_and(|counters| !counters.is_empty()).then_some(counters)
        });
        found.unwrap_or_else(|| panic!("no counters of {name}: {:?}", self.try_status(name)))
    }
}

/// Returns a pid from a status.
pub fn pid(status: &Value, key: &str) -> i32 {
    i32::try_from(status[key].as_u64().unwrap_or_else(|| panic!("no {key} in {status}"))).unwrap()
}

/// Sends a signal; the process must exist.
pub fn signal(pid: i32, signal: Signal) {
    note(format_args!("kill -{signal} {pid}"));
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// A finished command.
#[derive(Debug)]
pub struct Finished {
    /// Exit status, or 128 + N if signal N ended the process.
    pub code: i32,
    /// Standard output and standard error, in this order.
    pub text: String,
    /// Run time.
    pub took: Duration,
}

/// A command in progress. Dropping it kills it.
pub struct Running {
    child: Child,
    name: String,
    started: Instant,
    streams: Vec<JoinHandle<String>>,
}

impl Running {
    /// Starts `command` and captures both output streams.
    pub fn spawn(mut command: Command, name: String) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let streams = vec![thread::spawn(|| read_all(stdout)), thread::spawn(|| read_all(stderr))];
        Self { child, name, started: Instant::now(), streams }
    }

    /// Returns the pid.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Returns whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until the process exits and both streams are closed: background processes must not keep them
    /// open.
    pub fn finish(mut self) -> Finished {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(self.started.elapsed() < 2 * EVENT_TIMEOUT, "pptpctl {} does not exit", self.name);
            thread::sleep(Duration::from_millis(2));
        };
        let took = self.started.elapsed();
        let streams = std::mem::take(&mut self.streams);
        let closed = wait_for(EVENT_TIMEOUT, || streams.iter().all(JoinHandle::is_finished).then_some(()));
        assert!(
            closed.is_some(),
            "pptpctl {} has exited, but a child process keeps its output open",
            self.name
        );
        let text: String = streams.into_iter().map(|stream| stream.join().unwrap()).collect();
        let code = status
            .code()
            .unwrap_or_else(|| 128 + std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or(0));
        note(format_args!("pptpctl {} -> {code} after {took:.1?}\n{text}", self.name));
        Finished { code, text, took }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn read_all(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    let _partial = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the pids of processes whose executable is in the directory of the binary under test.
pub fn processes(lab: &Lab) -> Vec<i32> {
    let directory = lab.binary().parent().unwrap();
    let all =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    all.filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.starts_with(directory)))
        .collect()
}

/// Kills all processes of the client and waits until they are gone. Repeats until none is left: a process may
/// have forked after the list was read.
pub fn kill_all(lab: &Lab) {
    let gone = wait_for(EVENT_TIMEOUT, || {
        let all = processes(lab);
        note(format_args!("kill -9 {all:?}"));
        for pid in &all {
            let _gone = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        // An exiting process loses /proc/PID/exe before it releases its locks: wait until it is at most a
        // zombie.
        let are_killed = wait_for(EVENT_TIMEOUT, || all.iter().all(|pid| !is_alive(*pid)).then_some(()));
        (are_killed.is_some() && processes(lab).is_empty()).then_some(())
    });
    assert!(gone.is_some(), "processes are left after kill -9: {:?}", processes(lab));
}

/// Returns whether a process exists and is not a zombie.
pub fn is_alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

/// Returns the fields of /proc/PID/status.
pub fn proc_status(pid: i32) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}

/// Returns the names and flags of all tun devices, the flags as in sysfs.
pub fn tun_links() -> Vec<(String, String)> {
    let links = fs::read_dir("/sys/class/net").unwrap().map(|entry| entry.unwrap().path());
    let flags = |link: &Path| fs::read_to_string(link.join("tun_flags")).ok();
    links
        .filter_map(|link| Some((link.file_name()?.to_str()?.to_owned(), flags(&link)?.trim().to_owned())))
        .collect()
}
