//! The names of the empty directories that unprivileged processes make their root, and the end of those that stayed.
//!
//! [`super::privileges::drop_all`] makes such a directory, goes into it and removes it at once. One who is killed
//! between the first and the last leaves it behind.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use nix::{errno::Errno, sys::signal::kill, unistd::Pid};

/// What this process calls its own, below `directory`. `role` is a word in lower case.
#[must_use]
pub fn path(directory: &Path, role: &str) -> PathBuf {
    directory.join(format!(".{role}-{}", process::id()))
}

/// Removes those below `directory` whose process is gone; gives what it removed. Whatever else is there stays.
pub fn sweep(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let left =
        entries.flatten().filter(|entry| entry.file_name().to_str().and_then(owner).is_some_and(is_gone));
    // Only an empty directory can be removed like this, so the worst name costs nothing.
    left.map(|entry| entry.path()).filter(|path| fs::remove_dir(path).is_ok()).collect()
}

/// The process that made it.
fn owner(name: &str) -> Option<Pid> {
    let (role, pid) = name.strip_prefix('.')?.split_once('-')?;
    let plain = !role.is_empty() && role.bytes().all(|byte| byte.is_ascii_lowercase());
    pid.parse().ok().filter(|pid| plain && *pid > 0).map(Pid::from_raw)
}

fn is_gone(pid: Pid) -> bool {
    kill(pid, None) == Err(Errno::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_dead_left() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let dead = dir.path().join(format!(".engine-{}", child.id()));
        let kept = [
            path(dir.path(), "engine"),
            dir.path().join(".engine-x"),
            dir.path().join(".-2147483647"),
            dir.path().join("engine-2147483647"),
            dir.path().join(".engine-0"),
            dir.path().join(".engine--1"),
        ];
        for path in kept.iter().chain([&dead]) {
            fs::create_dir(path).unwrap();
        }
        let file = dir.path().join(".engine-2147483647");
        fs::write(&file, "not a directory").unwrap();
        assert_eq!(sweep(dir.path()), [dead]);
        assert!(kept.iter().chain([&file]).all(|path| path.exists()));
        assert_eq!(sweep(&dir.path().join("missing")), Vec::<PathBuf>::new());
    }
}
