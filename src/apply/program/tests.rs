use std::{fs::File, os::fd::AsRawFd, time::Instant};

use nix::{sys::signal::Signal, unistd::Pid};

use super::*;

#[test]
fn arguments_are_not_interpreted_by_a_shell() {
    let odd = ["; touch /nowhere", "$(id)", "`id`", "a b", "*", "", "\\n", "'\"", "|&><"];
    let mut program = Program::find("printf", &["%s\\n"]);
    program.args.extend(odd.iter().map(|&arg| arg.to_owned()));
    let output = program.run().unwrap();
    assert!(output.success());
    assert_eq!(output.stdout.lines().collect::<Vec<_>>(), odd);
}

#[test]
fn input_is_passed_completely_and_output_is_bounded() {
    let input = "0123456789abcde\n".repeat(60_000);
    let counted = Program::find("wc", &["-c"]).with_input(input.as_bytes()).run().unwrap();
    assert_eq!(counted.stdout.trim(), input.len().to_string());
    let echoed = Program::find("cat", &[]).with_input(input.as_bytes()).run().unwrap();
    assert!(echoed.success());
    assert_eq!(echoed.stdout.len(), MAX_OUTPUT);
    assert!(input.starts_with(&echoed.stdout));
    // A program that does not read its input.
    assert!(Program::find("true", &[]).with_input(input.as_bytes()).run().unwrap().success());
}

#[test]
fn control_characters_in_output_are_replaced() {
    let output = Program::find("printf", &["a\\033[2Jb\\tc\\nd\\200\\r"]).run().unwrap();
    assert_eq!(output.stdout, "a\u{fffd}[2Jb\tc\nd\u{fffd}\u{fffd}");
}

#[test]
fn environment_is_clean() {
    let mut program = Program::find("env", &[]);
    program.environment.push(("vpn_if".to_owned(), "tun0".to_owned()));
    let mut lines: Vec<String> = program.run().unwrap().stdout.lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["LANG=C".to_owned(), format!("PATH={PROGRAM_PATH}"), "vpn_if=tun0".to_owned()]);
}

#[test]
fn failure_includes_error_output() {
    let program = Program::find("ls", &["/there/is/no/such/file"]);
    let error = program.run().unwrap().or_failed(&program).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("ls: failed (exit status 2): ") && text.contains("cannot access"), "{text}");
    let killed = Program::find("sh", &["-c", "kill -9 $$"]);
    let error = killed.run().unwrap().or_failed(&killed).unwrap_err();
    assert_eq!(error.to_string(), "sh: ended by a signal");
}

#[test]
fn missing_program_is_named_in_error() {
    let missing = Program::find("no-such-program-of-ours", &[]);
    assert!(!missing.is_there() && Program::find("sh", &[]).is_there());
    let text = missing.run().unwrap_err().to_string();
    assert!(text.starts_with("no-such-program-of-ours: no such program in /usr/sbin, "), "{text}");
    let gone = Program::at("/no/such/dir/prog".into(), &[]).run().unwrap_err();
    assert!(matches!(gone, ProgramError::Missing { program } if program == "/no/such/dir/prog"));
    let directory = Program::at("/etc".into(), &[]).run().unwrap_err();
    assert!(matches!(directory, ProgramError::Spawn { .. }), "{directory}");
}

#[test]
fn descriptors_are_not_inherited() {
    let secret = File::open("/etc/passwd").unwrap();
    nix::fcntl::fcntl(&secret, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let output = Program::find("ls", &["/proc/self/fd"]).run().unwrap();
    // 3 is the descriptor of the directory that ls reads.
    assert_eq!(output.stdout.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    assert!(secret.as_raw_fd() > 2);
}

/// The program ignores SIGTERM and its child keeps running; both are gone when `run` returns.
#[test]
fn timeout_ends_program_and_its_children() {
    let script = "trap '' TERM; sleep 1000 & echo $! $$ >&2; wait; sleep 1000";
    // Long enough for the shell to reach `wait` on a busy machine.
    let late = Program { limit: Duration::from_secs(3), ..Program::find("sh", &["-c", script]) };
    let began = Instant::now();
    let error = late.run().unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let ProgramError::Late { words, .. } = &error else { panic!("{error}") };
    assert!(error.to_string().starts_with("sh: not done after 3s, so it was ended: "), "{error}");
    for pid in words.split_whitespace() {
        let deadline = Instant::now() + Duration::from_secs(10);
        while is_running(pid) {
            assert!(Instant::now() < deadline, "{pid} still runs");
            std::thread::yield_now();
        }
    }
}

/// A program may leave a daemon that keeps its outputs open.
#[test]
fn background_child_is_not_waited_for() {
    let began = Instant::now();
    let output = Program::find("sh", &["-c", "sleep 1000 & echo $!"]).run().unwrap();
    assert!(output.success() && began.elapsed() < LIMIT);
    let pid: i32 = output.stdout.trim().parse().unwrap();
    nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

#[test]
fn endless_output_does_not_outlive_limit() {
    let endless = Program { limit: Duration::from_millis(200), ..Program::find("yes", &[]) };
    assert!(matches!(endless.run().unwrap_err(), ProgramError::Late { .. }));
}

#[test]
fn fake_host_runs_the_programs_it_is_given() {
    use crate::apply::tests::fake_host::{FakeHost, HostState};
    let model = FakeHost::new(HostState::default()).with_programs(std::rc::Rc::new(|program, state| {
        state.device("seen");
        Ok(Output { code: Some(0), stdout: program.to_string(), stderr: String::new() })
    }));
    assert_eq!(model.host().run(&Program::find("nft", &["-j", "list"])).unwrap().stdout, "nft -j list");
    assert_eq!(model.state.borrow().links.len(), 1);
    assert!(model.restart(0).host().run(&Program::find("nft", &[])).is_err(), "killed before it");
}

/// A zombie that its parent has not reaped yet does not count as running.
fn is_running(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
