use std::{cell::RefCell, os::unix::fs::PermissionsExt, rc::Rc};

use super::{
    super::{
        Output,
        tests::fake_host::{FakeHost, HostState},
    },
    *,
};
use crate::plan::Value;

#[test]
fn program_writable_by_others_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("hook");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(&program, 0o644);
    assert!(trusted(&program).unwrap_err().contains("is not a program"));
    mode(&program, 0o755);
    trusted(&program).unwrap();
    mode(&program, 0o775);
    assert!(trusted(&program).unwrap_err().contains("can be written by others"));
    mode(&program, 0o755);
    mode(dir.path(), 0o777);
    assert!(trusted(&program).unwrap_err().contains("can be written by others"));
    mode(dir.path(), 0o1777);
    trusted(&program).unwrap();

    // A link of another user, in a directory where anyone may make one.
    let foreign = dir.path().join("foreign");
    std::os::unix::fs::symlink(&program, &foreign).unwrap();
    trusted(&foreign).unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::lchown(&foreign, Some(65534), None).unwrap();
        assert!(trusted(&foreign).unwrap_err().contains("foreign is a link that belongs to user 65534"));
    }

    // A symbolic link in a directory that becomes world-writable.
    let open = dir.path().join("open");
    fs::create_dir(&open).unwrap();
    std::os::unix::fs::symlink(&program, open.join("link")).unwrap();
    trusted(&open.join("link")).unwrap();
    mode(&open, 0o777);
    assert!(trusted(&open.join("link")).unwrap_err().contains("open can be written by others"));
    assert!(trusted(&dir.path().join("none")).unwrap_err().contains("No such file"));
    assert!(trusted(dir.path()).unwrap_err().contains("is not a program"));
}

#[test]
fn up_and_down_hooks_get_the_same_environment() {
    let runs: Rc<RefCell<Vec<Program>>> = Rc::default();
    let seen = Rc::clone(&runs);
    let mut host = FakeHost::new(HostState::default())
        .with_programs(Rc::new(move |program, _| {
            seen.borrow_mut().push(program.clone());
            Ok(Output { code: Some(0), stdout: "hello\n".into(), ..Output::default() })
        }))
        .host();
    let step = step(&["/bin/true", "a b"], &["/bin/true"]);
    assert_eq!(step.observe(&mut host).unwrap(), PriorState::Nothing);
    step.perform(&mut host, &PriorState::Nothing, &mut Vec::new()).unwrap();
    step.renew(&mut host, &PriorState::Nothing).unwrap();
    step.undo(&mut host, &PriorState::Nothing, UndoContext::default()).unwrap();
    let runs = runs.borrow();
    let [up, down] = runs.as_slice() else { panic!("{runs:?}") };
    assert_eq!((up.args.as_slice(), up.limit), (&["a b".to_owned()][..], Duration::from_millis(1500)));
    assert!(up.environment.contains(&("PPTPCTL_ACTION".into(), "up".into())));
    assert!(down.environment.contains(&("PPTPCTL_ACTION".into(), "down".into())));
    let rest = |program: &Program| {
        let mut all = program.environment.clone();
        all.retain(|(name, _)| name != "PPTPCTL_ACTION" && name != "script_type");
        all
    };
    assert_eq!(rest(up), rest(down));
}

#[test]
fn failed_hook_reports_its_stderr() {
    let mut host = FakeHost::new(HostState::default())
        .with_programs(Rc::new(|_, _| {
            Ok(Output { code: Some(3), stdout: String::new(), stderr: "no such share\n".into() })
        }))
        .host();
    let step = step(&["/bin/true"], &[]);
    let cause = step.perform(&mut host, &PriorState::Nothing, &mut Vec::new()).unwrap_err();
    assert_eq!(cause.to_string(), "true: failed (exit status 3): no such share");
    step.undo(&mut host, &PriorState::Nothing, UndoContext::default()).unwrap();
    let missing = self::step(&["/no/such/hook"], &[]);
    let cause = missing.observe(&mut host).unwrap_err();
    assert!(cause.to_string().starts_with("hooks.up is not run: /no/such/hook: No such file"), "{cause}");
}

fn step(up: &[&str], down: &[&str]) -> HookStep {
    let own = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    HookStep {
        profile: "vpn".into(),
        up: own(up),
        down: own(down),
        limit_ms: 1500,
        tun: Value::Known("tun3".into()),
        server: Value::Known("203.0.113.9".parse().unwrap()),
        local: Value::Known("10.99.0.2".parse().unwrap()),
        peer: Value::Known("10.99.0.1".parse().unwrap()),
        mtu: Value::Known(1396),
        dns: Value::Known(vec!["10.99.0.53".parse().unwrap()]),
        ipv6: None,
    }
}
