//! Runs ip(8) in the calling thread's namespace, with few processes, as some tests use hundreds of
//! namespaces.

use std::{
    io::Write,
    process::{Command, Stdio},
};

/// Runs ip(8) and returns its standard output; it must succeed.
#[track_caller]
pub fn ip(arguments: &[&str]) -> String {
    run_ip(arguments, "")
}

/// Runs one ip(8) command per line and returns their output; all must succeed.
#[track_caller]
pub fn ip_batch(options: &[&str], lines: &str) -> String {
    run_ip(&[options, &["-batch", "-"]].concat(), lines)
}

/// Returns routes and rules of both families, addresses and links, one JSON object per line for readable
/// differences.
#[track_caller]
pub fn network_state() -> String {
    let both = "route show table all\nrule\n";
    let mut shown = ip_batch(&["-d", "-j"], &format!("{both}addr\nlink\n"));
    shown += &ip_batch(&["-6", "-d", "-j"], both);
    shown.replace("},{", "},\n{")
}

/// Panics with the changed lines if two states differ.
#[track_caller]
pub fn assert_same(before: &str, after: &str, when: &str) {
    // The comparison by lines is quadratic.
    if before == after {
        return;
    }
    let only = |a: &str, b: &str| -> Vec<String> {
        a.lines().filter(|line| !b.lines().any(|other| other == *line)).map(str::to_owned).collect()
    };
    let (lost, left) = (only(before, after), only(after, before));
    panic!("{when}: the state has changed\nlost: {lost:#?}\nleft: {left:#?}");
}

fn run_ip(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ip(8) of iproute2 is needed");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {input}{errors}", arguments.join(" "));
    String::from_utf8(output.stdout).unwrap().replace(" \n", "\n")
}
