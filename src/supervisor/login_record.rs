//! Stores the undecided log-ins of a profile in a file beside its ledger, so that a service manager, cron(8) or a user
//! that starts the tunnel repeatedly does not lock the account either.
//!
//! The file exists only while there are undecided log-ins. It is written before the credentials are sent.

use std::{
    fs::{self, DirBuilder},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{login_limit::LoginState, machine::Machine};
use crate::{
    failure::{Failure, FailureKind, Phase, UndecidedLogin},
    os::{
        boot,
        launch::files::{self, Opening},
    },
    platform,
};

/// A longer file was not written by this program.
const MAX_BYTES: usize = 4096;

/// The contents of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Stored {
    /// Undecided log-ins in a row.
    undecided: u32,
    /// How the last one ended.
    how: UndecidedLogin,
    /// The boot in which that was.
    boot: String,
    /// The time since that boot, suspends included, in seconds.
    uptime: u64,
    /// The wall clock, in seconds since 1970: for a later boot.
    unix: u64,
}

/// The clocks of this host.
#[derive(Clone, Debug)]
struct Clocks {
    boot: String,
    uptime: u64,
    unix: u64,
}

impl Clocks {
    fn now() -> Self {
        Self {
            boot: boot::id(),
            uptime: boot::uptime().as_secs(),
            unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        }
    }
}

impl Stored {
    /// Returns the time since the last log-in. A wall clock that was set back does not make it negative.
    fn age(&self, now: &Clocks) -> Duration {
        let same_boot = !self.boot.is_empty() && self.boot == now.boot;
        let (then, now) = if same_boot { (self.uptime, now.uptime) } else { (self.unix, now.unix) };
        Duration::from_secs(now.saturating_sub(then))
    }

    fn of(state: LoginState, at: Instant, clocks: Clocks) -> Self {
        let age = at.saturating_duration_since(state.last).as_secs();
        Self {
            undecided: state.undecided,
            how: state.how,
            boot: clocks.boot,
            uptime: clocks.uptime.saturating_sub(age),
            unix: clocks.unix.saturating_sub(age),
        }
    }
}

/// The file of one profile.
#[derive(Debug)]
pub(super) struct LoginRecord {
    path: PathBuf,
    /// What was stored last.
    stored: Option<LoginState>,
}

impl LoginRecord {
    /// Reads the file of an earlier supervisor into the machine.
    pub fn load(name: &str, machine: &mut Machine) -> Self {
        let path = platform::logins_file(name);
        match read(&path) {
            Ok(Some(stored)) => {
                let age = stored.age(&Clocks::now());
                machine.restore_logins(Instant::now(), stored.undecided, stored.how, age);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!("{}: {error}; earlier log-ins are not counted", path.display()),
        }
        let record = Self { path, stored: machine.logins() };
        if record.stored.is_none() {
            record.remove();
        }
        record
    }

    /// Checks that a log-in is allowed now.
    ///
    /// # Errors
    /// Returns why not, and how to log in nevertheless.
    pub fn check(&self, machine: &Machine) -> Result<(), Failure> {
        let now = Instant::now();
        let (Some(wait), Some(state)) = (machine.login_wait(now), machine.logins()) else { return Ok(()) };
        let minutes = |time: Duration| time.as_secs().div_ceil(60);
        let detail = format!(
            "not tried: the last {} log-ins ended without a verdict of the server, the latest {} min ago; the next one is \
             allowed in {} min",
            state.undecided,
            now.saturating_duration_since(state.last).as_secs() / 60,
            minutes(wait)
        );
        Err(Failure::new(Phase::Authentication, FailureKind::LoginUndecided, detail)
            .hint("the server may count each of them as a failed log-in; more of them could lock the account")
            .hint(format!("to log in now nevertheless: rm {}", self.path.display())))
    }

    /// Stores the machine's log-ins if they have changed.
    pub fn store(&mut self, state: Option<LoginState>) {
        if state == self.stored {
            return;
        }
        self.stored = state;
        let Some(state) = state else { return self.remove() };
        if let Err(error) = write(&self.path, &Stored::of(state, Instant::now(), Clocks::now())) {
            tracing::warn!("{}: {error}; a later supervisor may log in too often", self.path.display());
        }
    }

    fn remove(&self) {
        match files::remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("{}: {error}; a later supervisor may wait in vain", self.path.display());
            }
            _ => {}
        }
    }
}

fn read(path: &PathBuf) -> io::Result<Option<Stored>> {
    match fs::read(path) {
        Ok(bytes) if bytes.len() > MAX_BYTES => Err(io::Error::other("too long")),
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces the file atomically. `doctor` may be the first command that needs the state directory.
fn write(path: &Path, stored: &Stored) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let new = path.with_extension("logins.new");
    match files::remove(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = files::open(&new, Opening::New)?;
    let written = serde_json::to_vec(stored)
        .map_err(io::Error::other)
        .and_then(|text| file.write_all(&text))
        .and_then(|()| files::rename(&new, path));
    if written.is_err() {
        let _as_well = files::remove(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(boot: &str, uptime: u64, unix: u64) -> Clocks {
        Clocks { boot: boot.to_owned(), uptime, unix }
    }

    #[test]
    fn age_uses_the_wall_clock_only_after_a_reboot() {
        let at = Instant::now();
        let state = LoginState { undecided: 2, last: at, how: UndecidedLogin::Unanswered };
        let stored = Stored::of(state, at + Duration::from_secs(5), clocks("a", 105, 1005));
        assert_eq!((stored.uptime, stored.unix), (100, 1000));
        let seconds = |clocks: Clocks| stored.age(&clocks).as_secs();
        assert_eq!(seconds(clocks("a", 160, 9_999_999)), 60, "the wall clock was set");
        assert_eq!(seconds(clocks("b", 3, 1090)), 90);
        assert_eq!(seconds(clocks("b", 3, 0)), 0, "a clock without a battery");
    }

    #[test]
    fn file_is_replaced_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vpn.logins");
        assert_eq!(read(&path).unwrap(), None);
        for undecided in 1..3 {
            let stored =
                Stored { undecided, how: UndecidedLogin::Refused, boot: "a".to_owned(), uptime: 1, unix: 2 };
            write(&path, &stored).unwrap();
            assert_eq!(read(&path).unwrap(), Some(stored));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(&path, "{").unwrap();
        assert!(read(&path).is_err());
    }

    proptest::proptest! {
        /// A file that another program has written never leads to a longer pause than the limit.
        #[test]
        fn any_stored_time_is_bounded(undecided: u32, uptime: u64, unix: u64, same_boot: bool, now: u64) {
            let boot = if same_boot { "a" } else { "b" };
            let stored =
                Stored { undecided, how: UndecidedLogin::Refused, boot: boot.to_owned(), uptime, unix };
            let mut limit = crate::supervisor::login_limit::LoginLimit::default();
            let at = Instant::now();
            limit.restore(at, undecided, stored.how, stored.age(&clocks("a", now, now)));
            proptest::prop_assert!(limit.wait(at).unwrap_or_default() <= Duration::from_secs(1800));
            let _state = limit.state();
        }

        #[test]
        fn arbitrary_file_is_refused_or_read(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("vpn.logins");
            fs::write(&path, bytes).unwrap();
            let _no_panic = read(&path);
        }
    }
}
