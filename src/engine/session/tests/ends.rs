//! The failures that sessions end with: kind, phase, remedy and hints.

use super::*;

#[test]
fn refused_call_reports_the_reason() {
    let world = run_with(ServerFault::RefusesCall);
    let (_, failure) = world.failure();
    assert_eq!(failure.kind, FailureKind::CallRefused);
    assert!(failure.detail.contains("busy"), "{failure}");
}

#[test]
fn wrong_password_is_an_authentication_failure() {
    let mut world = World::new(ServerFault::None, spec(), "wrong");
    world.run(Duration::from_secs(60));
    let (_, failure) = world.failure();
    assert_eq!((failure.kind, failure.phase), (FailureKind::AuthenticationFailed, Phase::Authentication));
    assert!(failure.detail.contains("691"), "{failure}");
}

#[test]
fn refusal_on_a_redial_is_final_only_if_the_server_ends_the_link() {
    let redial = || Spec { was_up: true, ..spec() };
    let mut world = World::new(ServerFault::None, redial(), "wrong");
    world.run(Duration::from_secs(60));
    let failure = world.failure().1;
    assert_eq!((failure.kind, failure.remedy()), (FailureKind::AuthenticationFailed, Remedy::Nothing));
    assert!(failure.detail.contains("691"), "{failure}");
}

#[test]
fn refused_gre_is_reported_within_a_second() {
    for accepted_again in [false, true] {
        let mut world = World::new(ServerFault::NoGre, spec(), "right");
        world.run(Duration::from_millis(100));
        let refused = io::Error::from_raw_os_error(nix::libc::EPERM);
        world.client.gre_refused(world.now, &refused);
        world.client.gre_refused(world.now, &io::Error::from_raw_os_error(nix::libc::ENETUNREACH));
        if accepted_again {
            world.client.gre_sent();
        }
        world.run(Duration::from_secs(1));
        let failure = world.down.as_ref().map(|(_, failure)| failure);
        assert_eq!(failure.is_none(), accepted_again, "{failure:?}");
        if let Some(failure) = failure {
            assert_eq!((failure.kind, failure.phase), (FailureKind::GreFiltered, Phase::Lcp));
            assert!(failure.detail.contains("this host refuses to send it (1 packets:"), "{failure}");
        }
    }
}

#[test]
fn missing_encryption_ends_the_session() {
    let mut world = World::new(ServerFault::None, spec(), "right");
    world.server_policy = Policy { demand: Demand::Off, ..Policy::default() };
    world.run(Duration::from_secs(60));
    assert_eq!(world.failure().1.kind, FailureKind::EncryptionRefused);
    assert!(world.up.is_none());
}

#[test]
fn hangup_is_classified_by_phase() {
    let cases = [
        (LinkPhase::Establish, FailureKind::LcpFailed, false),
        (LinkPhase::Authenticate, FailureKind::LoginUndecided, true),
        (LinkPhase::Network, FailureKind::PeerEnded, false),
    ];
    for (phase, kind, is_undecided_login) in cases {
        let world = run_with(ServerFault::HangsUpWhen(phase));
        let failure = world.failure().1;
        assert_eq!(
            (failure.kind, failure.undecided_login.is_some()),
            (kind, is_undecided_login),
            "{failure}"
        );
        assert_eq!(failure.remedy(), Remedy::AnotherServer, "{failure}");
        let says = |words: &str| failure.hints.iter().any(|hint| hint.contains(words));
        assert_eq!(says("user and password were not refused"), is_undecided_login, "{:?}", failure.hints);
        assert!(!says("before user and password were sent"), "{:?}", failure.hints);
    }
    let mut late = World::new(ServerFault::None, spec(), "right");
    late.run(Duration::from_secs(5));
    late.control.close_call(late.now, 9).unwrap();
    late.run(Duration::from_secs(5));
    assert_eq!(late.failure().1.kind, FailureKind::PeerEnded);
}

#[test]
fn stop_shuts_down_within_limits_at_any_time() {
    for millis in (0..400).step_by(7) {
        let mut world = World::new(ServerFault::None, spec(), "right");
        world.run(Duration::from_millis(millis));
        let stopped = world.now;
        let stop = Failure::new(world.client.phase(), FailureKind::Interrupted, "");
        world.client.fail(stopped, stop.clone());
        world
            .client
            .fail(stopped, Failure::new(Phase::Up, FailureKind::Internal, "a second reason changes nothing"));
        world.run(Duration::from_secs(30));
        let (at, failure) = world.failure();
        assert_eq!(*failure, stop, "after {millis} ms");
        assert!(*at <= (stopped - world.start) + Duration::from_secs(4), "{at:?}");
        assert!(world.client.poll_event().is_none(), "an event follows the end");
    }
}
