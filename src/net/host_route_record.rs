//! Records of host routes that a process has added, so that another can remove the route of one that was killed.
//!
//! One file per route, `.route-NAME`, in the directory of the call managers of `pptp`. It is written before the route is
//! added. A route is removed only if it is still as recorded and its process is gone.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    kernel::Kernel,
    routes::{Error, Filter, MAIN_TABLE, Route},
};
use crate::os::{boot, namespace::Namespace};

/// Names of the files begin with this.
const PREFIX: &str = ".route-";

/// Longest record that is read, in bytes.
const MAX_LENGTH: u64 = 16 * 1024;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    boot: String,
    pid: u32,
    /// Start time of the process; 0 if unknown.
    start: u64,
    /// Inode and cookie of the network namespace.
    namespace: (u64, u64),
    route: Route,
}

impl Record {
    fn is_process_running(&self) -> bool {
        boot::is_running(&self.boot, self.pid, self.start)
    }

    fn is_here(&self) -> bool {
        let (inode, cookie) = self.namespace;
        self.boot == boot::id() && Namespace::current().same_as(Namespace { inode, cookie })
    }
}

/// Returns the path of the record of this name.
#[must_use]
pub fn path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{PREFIX}{name}"))
}

/// Records a route of this process, in the place of an earlier one.
///
/// # Errors
/// Returns an error if the file can't be written.
pub fn write(path: &Path, route: &Route) -> io::Result<()> {
    let Namespace { inode, cookie } = Namespace::current();
    let pid = std::process::id();
    let start = boot::start_time(pid).unwrap_or(0);
    let record = Record { boot: boot::id(), pid, start, namespace: (inode, cookie), route: route.clone() };
    let text = serde_json::to_vec(&record)?;
    let new = path.with_extension("new");
    let _left = fs::remove_file(&new);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(&new)?.write_all(&text)?;
    fs::rename(new, path)
}

/// Takes over what a process that is gone has recorded: returns its route, if the kernel still has it.
#[must_use]
pub fn take_over(path: &Path, kernel: &mut Kernel) -> Option<Route> {
    let record = read(path).filter(|record| record.is_here() && !record.is_process_running())?;
    is_in_force(kernel, &record.route).then_some(record.route)
}

/// Removes the routes in a directory whose processes are gone, and their records; returns the routes. `except` is the
/// record of the calling process. A route that can't be removed keeps its record.
///
/// # Errors
/// Returns the first error of the kernel.
pub fn sweep(directory: &Path, except: Option<&Path>) -> Result<Vec<Route>, Error> {
    let Ok(entries) = fs::read_dir(directory) else { return Ok(Vec::new()) };
    let is_record = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX))
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_record).collect();
    paths.retain(|path| Some(path.as_path()) != except);
    let (mut removed, mut first) = (Vec::new(), None);
    let mut kernel = None;
    for path in paths {
        let Some(record) = read(&path) else { continue };
        // Of an earlier boot: its route went with it.
        if record.boot != boot::id() {
            let _gone = fs::remove_file(&path);
        }
        if !record.is_here() || record.is_process_running() {
            continue;
        }
        let kernel = match &mut kernel {
            Some(kernel) => kernel,
            none => none.insert(Kernel::open()?),
        };
        match remove(kernel, &record.route) {
            Ok(was_there) => {
                let _gone = fs::remove_file(&path);
                removed.extend(was_there.then_some(record.route));
            }
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    first.map_or(Ok(removed), Err)
}

/// Removes a route if the kernel has it as recorded; returns whether it had.
///
/// # Errors
/// Returns the kernel's error.
pub fn remove(kernel: &mut Kernel, route: &Route) -> Result<bool, Error> {
    if !is_in_force(kernel, route) {
        return Ok(false);
    }
    match kernel.delete_route(route) {
        Err(error) if error.is_absent() => Ok(false),
        done => done.map(|()| true),
    }
}

fn is_in_force(kernel: &mut Kernel, route: &Route) -> bool {
    let found = kernel.routes(&Filter::to(route.dest, MAIN_TABLE));
    found.is_ok_and(|found| found.iter().any(|one| one.is_ours_as(route)))
}

/// Reads a record; `None` if it is not one that this user wrote, of a host route of ours.
fn read(path: &Path) -> Option<Record> {
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path).ok()?;
    let found = file.metadata().ok()?;
    let is_private = found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o022 == 0;
    if !found.is_file() || !is_private || found.len() > MAX_LENGTH {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MAX_LENGTH).read_to_end(&mut bytes).ok()?;
    let record: Record = serde_json::from_slice(&bytes).ok()?;
    let Route { dest, table, .. } = record.route;
    let is_host = dest.prefix_len() == dest.max_prefix_len() && table == MAIN_TABLE;
    (is_host && record.route.is_ours()).then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_host_routes_of_ours_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), "192.0.2.1");
        let route = Route::through("192.0.2.1/32".parse().unwrap(), "eth0");
        write(&path, &route).unwrap();
        let record = read(&path).unwrap();
        assert!(record.route == route && record.is_here() && record.is_process_running());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(sweep(dir.path(), None).unwrap(), [], "its process runs");
        for bad in [
            Route { protocol: 3, ..route.clone() },
            Route { table: 9, ..route.clone() },
            Route::through("192.0.2.0/24".parse().unwrap(), "eth0"),
        ] {
            write(&path, &bad).unwrap();
            assert_eq!(read(&path), None, "{bad}");
        }
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert_eq!(read(&path), None);
    }

    #[test]
    fn record_of_an_earlier_boot_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), "192.0.2.1");
        write(&path, &Route::through("192.0.2.1/32".parse().unwrap(), "eth0")).unwrap();
        let other = fs::read_to_string(&path).unwrap().replace(&boot::id(), "another");
        fs::write(&path, other).unwrap();
        assert_eq!(sweep(dir.path(), Some(&path)).unwrap(), []);
        assert!(path.exists());
        assert_eq!(sweep(dir.path(), None).unwrap(), []);
        assert!(!path.exists());
    }
}
