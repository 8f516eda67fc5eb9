use std::{fs::File, os::fd::AsRawFd};

use super::*;

#[test]
fn arguments_have_no_meaning_to_a_shell() {
    let odd = ["; touch /nowhere", "$(id)", "`id`", "a b", "*", "", "\\n", "'\"", "|&><"];
    let mut program = Program::find("printf", &["%s\\n"]);
    program.args.extend(odd.iter().map(|&arg| arg.to_owned()));
    let output = program.run().unwrap();
    assert!(output.success());
    assert_eq!(output.stdout.lines().collect::<Vec<_>>(), odd);
}

#[test]
fn input_arrives_whole_and_output_is_bounded() {
    let input = "0123456789abcde\n".repeat(60_000);
    let counted = Program::find("wc", &["-c"]).with_input(input.as_bytes()).run().unwrap();
    assert_eq!(counted.stdout.trim(), input.len().to_string());
    let echoed = Program::find("cat", &[]).with_input(input.as_bytes()).run().unwrap();
    assert!(echoed.success());
    assert_eq!(echoed.stdout.len(), MAX_OUTPUT);
    assert!(input.starts_with(&echoed.stdout));
    // One that does not read what it is given.
    assert!(Program::find("true", &[]).with_input(input.as_bytes()).run().unwrap().success());
}

#[test]
fn what_a_program_says_cannot_steer_a_terminal() {
    let output = Program::find("printf", &["a\\033[2Jb\\tc\\nd\\200\\r"]).run().unwrap();
    assert_eq!(output.stdout, "a\u{fffd}[2Jb\tc\nd\u{fffd}\u{fffd}");
}

#[test]
fn the_environment_is_clean() {
    let mut program = Program::find("env", &[]);
    program.environment.push(("vpn_if".to_owned(), "tun0".to_owned()));
    let mut lines: Vec<String> = program.run().unwrap().stdout.lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["LANG=C".to_owned(), format!("PATH={PATH}"), "vpn_if=tun0".to_owned()]);
}

#[test]
fn a_failure_has_the_programs_own_words() {
    let program = Program::find("ls", &["/there/is/no/such/file"]);
    let error = program.run().unwrap().or_failed(&program).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("ls: failed (exit status 2): ") && text.contains("cannot access"), "{text}");
    let killed = Program::find("sh", &["-c", "kill -9 $$"]);
    let error = killed.run().unwrap().or_failed(&killed).unwrap_err();
    assert_eq!(error.to_string(), "sh: ended by a signal");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let missing = Program::find("no-such-program-of-ours", &[]);
    assert!(!missing.is_there() && Program::find("sh", &[]).is_there());
    let text = missing.run().unwrap_err().to_string();
    assert!(text.starts_with("no-such-program-of-ours: no such program in /usr/sbin:"), "{text}");
    let gone = Program::at("/no/such/dir/prog".into(), &[]).run().unwrap_err();
    assert!(matches!(gone, ProgramError::Missing { program } if program == "/no/such/dir/prog"));
    let directory = Program::at("/etc".into(), &[]).run().unwrap_err();
    assert!(matches!(directory, ProgramError::Spawn { .. }), "{directory}");
}

#[test]
fn descriptors_of_ours_are_not_inherited() {
    let secret = File::open("/etc/passwd").unwrap();
    nix::fcntl::fcntl(&secret, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let output = Program::find("ls", &["/proc/self/fd"]).run().unwrap();
    // 3 is the directory that ls reads.
    assert_eq!(output.stdout.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    assert!(secret.as_raw_fd() > 2);
}

/// It ignores SIGTERM, and what it started sleeps on: both are gone when `run` returns.
#[test]
fn a_late_program_is_ended_with_what_it_started() {
    let script = "trap '' TERM; sleep 1000 & echo $! $$ >&2; wait; sleep 1000";
    // Long enough for a shell on a busy machine to get so far that it waits.
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

/// A program may leave a daemon behind that keeps its outputs open: that is not waited for.
#[test]
fn what_a_program_leaves_running_is_not_waited_for() {
    let began = Instant::now();
    let output = Program::find("sh", &["-c", "sleep 1000 & echo $!"]).run().unwrap();
    assert!(output.success() && began.elapsed() < LIMIT);
    let pid: i32 = output.stdout.trim().parse().unwrap();
    nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

#[test]
fn one_that_talks_without_end_is_ended_in_time() {
    let endless = Program { limit: Duration::from_millis(200), ..Program::find("yes", &[]) };
    assert!(matches!(endless.run().unwrap_err(), ProgramError::Late { .. }));
}

#[test]
fn the_model_of_a_host_answers_by_its_table() {
    use crate::apply::{
        Host,
        tests::fake_host::{FakeHost, HostState},
    };
    let model = FakeHost::new(HostState::default()).with_programs(std::rc::Rc::new(|program, state| {
        state.device("seen");
        Ok(Output { code: Some(0), stdout: program.to_string(), stderr: String::new() })
    }));
    assert_eq!(model.clone().run(&Program::find("nft", &["-j", "list"])).unwrap().stdout, "nft -j list");
    assert_eq!(model.state.borrow().links.len(), 1);
    assert!(model.restart(0).run(&Program::find("nft", &[])).is_err(), "killed before it");
}

/// A zombie whose parent has not waited for it yet does not run.
fn is_running(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
