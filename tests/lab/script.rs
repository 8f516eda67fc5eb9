//! Scripts that a test writes and other programs run.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// Writes an executable script.
pub fn script(path: &str, text: &str) {
    fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
    // Not written by this process: a child that another test forks inherits our descriptors until it calls
    // execve(2), and a file open for writing cannot be executed (ETXTBSY).
    let mut child = Command::new("sh")
        .args(["-c", "cat >\"$1\" && chmod 755 \"$1\"", "sh", path])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}
