//! Names of the empty directories that unprivileged processes use as root, and removal of stale ones.
//!
//! [`super::privileges::drop_all`] creates such a directory, enters it and removes it at once. A process that
//! is killed before the removal leaves it behind.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use super::launch::files::remove_directory;

/// Returns the path of this process's directory below `directory`. `role` is a word in lower case.
#[must_use]
pub fn path(directory: &Path, role: &str) -> PathBuf {
    directory.join(format!(".{role}-{}", process::id()))
}

/// Removes the directories below `directory` whose process is gone, and returns their paths.
pub fn sweep(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let is_gone = |pid| !super::process::exists(pid);
    let left =
        entries.flatten().filter(|entry| entry.file_name().to_str().and_then(owner).is_some_and(is_gone));
    // rmdir(2) removes only empty directories, so a misleading name does no harm.
    left.map(|entry| entry.path()).filter(|path| remove_directory(path).is_ok()).collect()
}

/// Returns the process that created the directory with this name.
fn owner(name: &str) -> Option<i32> {
    let (role, pid) = name.strip_prefix('.')?.split_once('-')?;
    let plain = !role.is_empty() && role.bytes().all(|byte| byte.is_ascii_lowercase());
    pid.parse().ok().filter(|pid| plain && *pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweep_removes_only_directories_of_dead_processes() {
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
