//! The user who calls `pptpctl up` through sudo(8), doas(1) or pkexec(1), and the environment of a program that runs with
//! that user's rights (`password.run-as = "invoker"`).

use std::{
    ffi::{CString, OsString},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use nix::unistd::{Uid, User, geteuid, getgrouplist, getuid};

use crate::{os::user::Rights, platform::PROGRAM_PATH};

/// The variables that name the invoker. Their programs set them, whatever the user's environment has.
const VARIABLES: [&str; 3] = ["SUDO_UID", "DOAS_USER", "PKEXEC_UID"];

/// Why the invoker is not known. `Display` is the message for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvokerError {
    /// This process was not started by one of the programs.
    #[error(
        "no user is behind this call, as none of SUDO_UID, DOAS_USER and PKEXEC_UID is set; run `sudo pptpctl up` (or \
         doas) in that user's session; for a start at boot use password.credential or password.file"
    )]
    Unset,
    /// Without root there is no change of user.
    #[error("not root, so the command cannot run as another user; run `sudo pptpctl up` (or doas)")]
    NotRoot,
    /// The user is root.
    #[error(
        "{0} is root; run-as = \"root\" runs it as root, or call sudo (or doas) from another user's login"
    )]
    Root(String),
    /// The value names no user.
    #[error("{0} names no user of this host; log in again, or run `pptpctl up` through sudo (or doas) anew")]
    NoSuchUser(String),
    /// Two variables name different users.
    #[error("{0} and {1} name different users; unset the one that is not meant")]
    Ambiguous(String, String),
    /// The groups could not be looked up.
    #[error("cannot look up the groups of {0}: {1}")]
    Groups(String, String),
}

/// The invoker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoker {
    /// Name of the user.
    pub name: String,
    /// Its rights.
    pub rights: Rights,
    /// Its home directory.
    pub home: PathBuf,
    /// Its shell.
    pub shell: PathBuf,
}

/// Returns the user behind this process.
///
/// # Errors
/// Returns why that is not known.
pub fn find() -> Result<Invoker, InvokerError> {
    let by_id = |id| User::from_uid(Uid::from_raw(id)).ok().flatten();
    let by_name = |name: &str| User::from_name(name).ok().flatten();
    let is_root = getuid().is_root() && geteuid().is_root();
    let user = decide(is_root, &|name| std::env::var_os(name), &by_id, &by_name)?;
    let failed = |error: String| InvokerError::Groups(user.name.clone(), error);
    let name = CString::new(user.name.as_bytes()).map_err(|error| failed(error.to_string()))?;
    let groups = getgrouplist(&name, user.gid).map_err(|error| failed(error.to_string()))?;
    let rights = Rights { uid: user.uid, gid: user.gid, groups };
    Ok(Invoker { rights, home: user.dir, shell: user.shell, name: user.name })
}

/// Decides by the environment. `is_root` is whether real and effective user are root: with another real user the
/// environment is that user's.
fn decide(
    is_root: bool,
    variable: &dyn Fn(&str) -> Option<OsString>,
    by_id: &dyn Fn(u32) -> Option<User>,
    by_name: &dyn Fn(&str) -> Option<User>,
) -> Result<User, InvokerError> {
    if !is_root {
        return Err(InvokerError::NotRoot);
    }
    let mut found: Option<(String, User)> = None;
    for name in VARIABLES {
        let Some(value) = variable(name) else { continue };
        let shown = format!("{name}={}", crate::net::sanitize::plain(&value.to_string_lossy()));
        let user = match value.to_str() {
            Some(text) if name == "DOAS_USER" => by_name(text),
            // Digits only: parse() accepts a sign.
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok().and_then(by_id),
            _ => None,
        };
        let Some(user) = user else { return Err(InvokerError::NoSuchUser(shown)) };
        match &found {
            Some((other, before)) if before.uid != user.uid => {
                return Err(InvokerError::Ambiguous(other.clone(), shown));
            }
            Some(_) => {}
            None => found = Some((shown, user)),
        }
    }
    match found {
        None => Err(InvokerError::Unset),
        Some((shown, user)) if user.uid.is_root() => Err(InvokerError::Root(shown)),
        Some((_, user)) => Ok(user),
    }
}

impl Invoker {
    /// Returns the whole environment of a program. `terminal` is the path of its terminal.
    #[must_use]
    pub fn environment(&self, terminal: Option<&Path>) -> Vec<(&'static str, OsString)> {
        let runtime = PathBuf::from(format!("/run/user/{}", self.rights.uid));
        let is_theirs = |path: &Path| {
            path.symlink_metadata()
                .is_ok_and(|found| found.uid() == self.rights.uid.as_raw() && !found.is_symlink())
        };
        let mut all: Vec<(&'static str, OsString)> = vec![
            ("HOME", self.home.clone().into()),
            ("USER", self.name.clone().into()),
            ("LOGNAME", self.name.clone().into()),
            ("SHELL", self.shell.clone().into()),
            ("PATH", PROGRAM_PATH.into()),
        ];
        if let Some(terminal) = terminal {
            all.extend(
                std::env::var_os("TERM").filter(|term| is_term(term.as_bytes())).map(|it| ("TERM", it)),
            );
            // gpg(1) tells its agent where to ask.
            all.push(("GPG_TTY", terminal.into()));
        }
        if is_theirs(&runtime) {
            let bus = runtime.join("bus");
            if is_theirs(&bus) {
                let mut address = OsString::from("unix:path=");
                address.push(&bus);
                all.push(("DBUS_SESSION_BUS_ADDRESS", address));
            }
            all.push(("XDG_RUNTIME_DIR", runtime.into()));
        }
        all
    }
}

fn is_term(value: &[u8]) -> bool {
    (1..=64).contains(&value.len())
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: u32, name: &str) -> User {
        let root = User::from_uid(Uid::from_raw(0)).unwrap().unwrap();
        User { name: name.to_owned(), uid: Uid::from_raw(uid), ..root }
    }

    fn decided(is_root: bool, variables: &[(&str, &str)]) -> Result<String, InvokerError> {
        let users = [user(0, "root"), user(1000, "alice"), user(1001, "bob")];
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        let by_id = |id: u32| users.iter().find(|user| user.uid.as_raw() == id).cloned();
        let by_name = |name: &str| users.iter().find(|user| user.name == name).cloned();
        decide(is_root, &variable, &by_id, &by_name).map(|user| user.name)
    }

    #[test]
    fn invoker_is_the_user_of_sudo_doas_and_pkexec() {
        for variable in [("SUDO_UID", "1000"), ("DOAS_USER", "alice"), ("PKEXEC_UID", "1000")] {
            assert_eq!(decided(true, &[variable]).unwrap(), "alice");
            assert_eq!(decided(false, &[variable]), Err(InvokerError::NotRoot));
        }
        assert_eq!(decided(true, &[("SUDO_UID", "1000"), ("DOAS_USER", "alice")]).unwrap(), "alice");
    }

    #[test]
    fn unusable_values_are_errors_with_a_next_step() {
        for (variables, words) in [
            (&[][..], "none of SUDO_UID, DOAS_USER and PKEXEC_UID is set"),
            (&[("SUDO_USER", "alice")], "none of SUDO_UID"),
            (&[("SUDO_UID", "0")], "SUDO_UID=0 is root"),
            (&[("DOAS_USER", "root")], "DOAS_USER=root is root"),
            (&[("SUDO_UID", "1002")], "SUDO_UID=1002 names no user"),
            (&[("SUDO_UID", "+1000")], "names no user"),
            (&[("SUDO_UID", "")], "names no user"),
            (&[("SUDO_UID", "alice\u{1b}[m")], "SUDO_UID=alice?[m names no user"),
            (&[("SUDO_UID", "4294968296")], "names no user"),
            (&[("DOAS_USER", "1000")], "names no user"),
            (&[("SUDO_UID", "1000"), ("DOAS_USER", "bob")], "name different users"),
            (&[("SUDO_UID", "1000"), ("PKEXEC_UID", "0")], "name different users"),
        ] {
            let error = decided(true, variables).unwrap_err().to_string();
            assert!(error.contains(words), "{variables:?}: {error}");
        }
    }

    #[test]
    fn environment_is_that_of_the_user_only() {
        let rights =
            Rights { uid: Uid::from_raw(4_000_000), gid: nix::unistd::Gid::from_raw(7), groups: vec![] };
        let (home, shell) = ("/home/alice".into(), "/bin/sh".into());
        let invoker = Invoker { name: "alice".to_owned(), rights, home, shell };
        let names =
            |terminal| invoker.environment(terminal).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(None), ["HOME", "USER", "LOGNAME", "SHELL", "PATH"]);
        assert!(names(Some(Path::new("/dev/pts/3"))).ends_with(&["GPG_TTY"]));
        assert!(is_term(b"xterm-256color") && !is_term(b"") && !is_term(b"../x") && !is_term(b"a b"));
    }
}
