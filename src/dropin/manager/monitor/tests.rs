use std::process::{Command, Stdio};

use super::*;

/// Returns a monitor whose client 1 has sent nothing and client 2 waits for a call; and the clients' ends.
fn new_monitor() -> (Monitor, [UnixStream; 2]) {
    let directory = tempfile::tempdir().unwrap();
    let (worker, _) = Channel::pair().unwrap();
    let ((a, a_end), (b, b_end)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    let until = Instant::now() + HELLO_LIMIT;
    let clients = vec![
        Client { number: 1, stream: a, state: ClientState::Hello { said: Vec::new(), until } },
        Client { number: 2, stream: b, state: ClientState::Waiting(Vec::new()) },
    ];
    let monitor = Monitor {
        pause: AcceptPause::default(),
        listener: UnixListener::bind(directory.path().join("socket")).unwrap(),
        signals: Signals::none().unwrap(),
        child: Command::new("true").stdin(Stdio::null()).spawn().unwrap(),
        worker,
        route: None,
        clients,
        last_client: 2,
        client_seen: true,
        call_was_up: false,
        stop_by: None,
        first_by: until,
    };
    (monitor, [a_end, b_end])
}

/// Handles a message as `hear_worker` does.
fn handle(monitor: &mut Monitor, message: &FromWorker, starter: &Channel) -> Result<Option<String>, String> {
    FromWorker::parse(&serde_json::to_vec(message).unwrap())
        .and_then(|message| monitor.handle_message(message, starter))
}

#[test]
fn invalid_worker_messages_are_rejected() {
    let ended = || "over".to_owned();
    let (starter, _starter_end) = Channel::pair().unwrap();
    for invalid in [
        FromWorker::Up(0, 1, 2),
        FromWorker::Up(3, 1, 2),
        FromWorker::Down(3, ended()),
        FromWorker::Up(1, 1, 2),
        FromWorker::Down(1, ended()),
        FromWorker::Silent(1, ended()),
        FromWorker::Ended("\u{1b}[2J".to_owned()),
    ] {
        let (mut monitor, _clients) = new_monitor();
        assert!(handle(&mut monitor, &invalid, &starter).is_err(), "{invalid:?}");
        assert!(!monitor.call_was_up);
        monitor.child.wait().unwrap();
    }
}

#[test]
fn valid_worker_messages_are_carried_out() {
    let (starter, starter_end) = Channel::pair().unwrap();
    let (mut monitor, [_first, mut second]) = self::new_monitor();
    assert_eq!(handle(&mut monitor, &FromWorker::Up(2, 7, 9), &starter), Ok(None));
    let mut ids = [0; 4];
    second.read_exact(&mut ids).unwrap();
    assert_eq!(ids[..], [7_u16.to_ne_bytes(), 9_u16.to_ne_bytes()].concat());
    assert!(handle(&mut monitor, &FromWorker::Up(2, 7, 9), &starter).is_err(), "a second Up was accepted");
    assert_eq!(handle(&mut monitor, &FromWorker::Ended("over".into()), &starter), Ok(Some("over".into())));
    monitor.child.wait().unwrap();

    let (mut monitor, [_first, mut second]) = self::new_monitor();
    assert_eq!(handle(&mut monitor, &FromWorker::Silent(2, "no answer".into()), &starter), Ok(None));
    assert_eq!(second.read(&mut ids).unwrap(), 0, "the client does not read the end of the stream");
    assert_eq!(starter_end.receive(false).unwrap().unwrap().bytes, b"no answer");
    // The client has already disconnected, which is no error.
    assert_eq!(handle(&mut monitor, &FromWorker::Down(2, "late".into()), &starter), Ok(None));
    monitor.child.wait().unwrap();
}
