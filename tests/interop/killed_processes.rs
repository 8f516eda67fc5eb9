//! SIGKILL for supervisor, engine and both, idle and under load: `recover` or the next `up` restores the
//! host.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sys::signal::Signal;
use socket2::SockRef;

use crate::{
    client::{Client, Profile, is_alive, kill_all, pid, processes, signal},
    host_state::Snapshot,
    lab::{EVENT_TIMEOUT, Lab, wait_for},
    runner::{Case, note},
    sessions::MPPE128,
    traffic,
};

pub const CASES: &[Case] = &[
    ("killed_processes::supervisor_idle", |lab| supervisor(lab, false)),
    ("killed_processes::supervisor_under_load", |lab| supervisor(lab, true)),
    ("killed_processes::engine_idle", |lab| engine(lab, false)),
    ("killed_processes::engine_under_load", |lab| engine(lab, true)),
    ("killed_processes::both_idle", |lab| both(lab, false)),
    ("killed_processes::both_under_load", |lab| both(lab, true)),
    ("killed_processes::both_with_the_default_route", both_with_the_default_route),
    ("killed_processes::engine_comes_back", engine_comes_back),
    ("killed_processes::next_up_recovers_first", next_up_recovers),
    ("killed_processes::recover_ignores_running_tunnels", recover_ignores_running_tunnels),
    ("killed_processes::during_up", during_up),
];

fn vpn() -> Profile {
    Profile::new("vpn", MPPE128)
}

fn supervisor(lab: &Lab, loaded: bool) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[vpn()]);
    client.up("vpn");
    let load = Load::start(loaded);
    let status = client.status("vpn");
    let killed = pid(&status, "supervisor_pid");
    signal(killed, Signal::SIGKILL);
    let engine = pid(&status, "engine_pid");
    assert!(
        wait_for(EVENT_TIMEOUT, || (!is_alive(engine)).then_some(())).is_some(),
        "the engine outlives its supervisor"
    );
    // The kernel may end the killed process, and so release its locks, after the engine has ended.
    assert!(wait_for(EVENT_TIMEOUT, || (!is_alive(killed)).then_some(())).is_some(), "it survives SIGKILL");
    drop(load);
    recover(&client);
    before.assert_restored(lab);
}

fn engine(lab: &Lab, loaded: bool) {
    let before = Snapshot::take();
    // With no retries allowed, the supervisor undoes its changes and exits.
    let client = Client::new(lab, &[vpn().set("retry.attempts", "0")]);
    client.up("vpn");
    let load = Load::start(loaded);
    let status = client.status("vpn");
    signal(pid(&status, "engine_pid"), Signal::SIGKILL);
    let supervisor = pid(&status, "supervisor_pid");
    assert!(
        wait_for(EVENT_TIMEOUT, || (!is_alive(supervisor)).then_some(())).is_some(),
        "the supervisor does not exit"
    );
    drop(load);
    before.assert_restored(lab);
    recover(&client);
    before.assert_restored(lab);
}

fn both(lab: &Lab, loaded: bool) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[vpn()]);
    client.up("vpn");
    let load = Load::start(loaded);
    kill_both(&client, lab);
    drop(load);
    recover(&client);
    before.assert_restored(lab);
}

fn both_with_the_default_route(lab: &Lab) {
    for mode in ["replace", "halves"] {
        let before = Snapshot::take();
        let client =
            Client::new(lab, &[vpn().set("routes", "[]").set("default", &format!("{{ mode = {mode:?} }}"))]);
        client.up("vpn");
        kill_both(&client, lab);
        recover(&client);
        before.assert_restored(lab);
    }
}

fn engine_comes_back(lab: &Lab) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[vpn().set("retry.first", "\"100ms\"")]);
    client.up("vpn");
    let old = pid(&client.status("vpn"), "engine_pid");
    signal(old, Signal::SIGKILL);
    let reconnected = wait_for(EVENT_TIMEOUT, || {
        let status = client.try_status("vpn")?;
        (status["state"] == "up" && status["engine_pid"].as_u64() != u64::try_from(old).ok()).then_some(())
    });
    assert!(reconnected.is_some(), "the tunnel does not come back: {:?}", client.try_status("vpn"));
    assert!(traffic::ping(traffic::INSIDE, EVENT_TIMEOUT).is_some());
    client.down("vpn");
    before.assert_restored(lab);
}

fn next_up_recovers(lab: &Lab) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[vpn()]);
    client.up("vpn");
    kill_both(&client, lab);
    client.up("vpn");
    assert!(traffic::ping(traffic::INSIDE, EVENT_TIMEOUT).is_some());
    client.down("vpn");
    before.assert_restored(lab);
}

fn recover_ignores_running_tunnels(lab: &Lab) {
    let before = Snapshot::take();
    let client =
        Client::new(lab, &[vpn(), Profile::new("second", MPPE128).set("routes", "[\"10.99.0.53/32\"]")]);
    client.up("second");
    let alone = Snapshot::take();
    client.up("vpn");
    let status = client.status("vpn");
    signal(pid(&status, "supervisor_pid"), Signal::SIGKILL);
    let engine = pid(&status, "engine_pid");
    assert!(
        wait_for(EVENT_TIMEOUT, || (!is_alive(engine)).then_some(())).is_some(),
        "the engine outlives its supervisor"
    );
    recover(&client);
    alone.assert_same();
    traffic::assert_dns();
    client.down("second");
    before.assert_restored(lab);
}

/// Kills `up` after different delays; `recover` undoes its partial changes.
fn during_up(lab: &Lab) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[vpn()]);
    for delay in [5, 20, 50, 100, 150, 200, 300, 500] {
        note(format_args!("kill after {delay} ms"));
        let up = client.start(&["up", "vpn"]);
        thread::sleep(Duration::from_millis(delay));
        kill_all(lab);
        drop(up);
        recover(&client);
        before.assert_restored(lab);
    }
}

fn kill_both(client: &Client, lab: &Lab) {
    let status = client.status("vpn");
    let both = [pid(&status, "supervisor_pid"), pid(&status, "engine_pid")];
    assert!(both.iter().all(|pid| processes(lab).contains(pid)), "not all of {both:?} are running");
    kill_all(lab);
}

fn recover(client: &Client) {
    let done = client.run(&["recover"]);
    assert_eq!(done.code, 0, "recover: {}", done.text);
}

/// Repeated downloads that keep the tunnel busy until this is dropped.
#[derive(Default)]
struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    rounds: AtomicUsize,
    /// The connection of the current download.
    connection: Mutex<Option<TcpStream>>,
}

impl Load {
    /// Starts the load and waits for the first complete download; does nothing if `wanted` is false.
    fn start(wanted: bool) -> Self {
        if !wanted {
            return Self::default();
        }
        let shared = Arc::new(Shared::default());
        let thread_shared = Arc::clone(&shared);
        let thread = Some(thread::spawn(move || thread_shared.download()));
        let is_loaded = wait_for(EVENT_TIMEOUT, || (shared.rounds.load(Ordering::Relaxed) > 0).then_some(()));
        assert!(is_loaded.is_some(), "the first download does not complete");
        // Continue in the middle of the next download.
        thread::sleep(Duration::from_millis(100));
        Self { shared, thread }
    }
}

impl Shared {
    fn download(&self) {
        let server = SocketAddr::new(traffic::INSIDE.parse().unwrap(), 80);
        while !self.stop.load(Ordering::SeqCst) {
            let Ok(mut stream) = TcpStream::connect_timeout(&server, Duration::from_secs(2)) else {
                continue;
            };
            // Close without a FIN: it would be retransmitted for minutes, and leave in clear as soon as
            // another tunnel has the same address and no routes yet.
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            *self.connection.lock().unwrap() = stream.try_clone().ok();
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            let sent = stream.write_all(b"GET /4M.bin HTTP/1.0\r\n\r\n");
            let mut answer = Vec::new();
            if sent.is_ok() && stream.read_to_end(&mut answer).is_ok_and(|size| size > traffic::BULK) {
                self.rounds.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.connection.lock().unwrap().take();
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(connection) = &*self.shared.connection.lock().unwrap() {
            // Unblocks a read that hangs because the tunnel is gone.
            let _perhaps_closed = connection.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}
