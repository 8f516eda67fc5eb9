//! Programs that a test writes and others run.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// A program of the administrator's.
pub fn script(path: &str, text: &str) {
    fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
    // Not by this process: a child of another test's has all that is open here until it is the program that it becomes,
    // and what is open for writing may not be run (ETXTBSY).
    let mut child = Command::new("sh")
        .args(["-c", "cat >\"$1\" && chmod 755 \"$1\"", "sh", path])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}
