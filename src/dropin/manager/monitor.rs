//! The manager's root part: clients, their processes, the host route, and removal of the socket. It parses no
//! network data.
//!
//! The manager runs from its first client to its last. A client still in the socket's backlog when the
//! manager exits sees the socket close and starts the next manager, so there is only one control connection
//! at a time.

use std::{
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    process::Child,
    time::{Duration, Instant},
};

use super::{
    message::{FromWorker, Spec, ToWorker},
    route::HostRoute,
    socket::ManagerSocket,
};
use crate::{
    deadline::{Deadline, earliest, log_due},
    dropin::{log::Log, processes},
    net::{host_route_record, transport},
    os::{
        accept::AcceptPause,
        channel::Channel,
        child, peer,
        process::{self, Process},
        signals::Signals,
        wait::{self, Interest},
    },
};

/// Most clients at a time: as many as a control connection has calls.
const MAX_CLIENTS: usize = 128;
/// How long a client may take to send its pids, and how long to wait for the first client.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// Limit for the graceful shutdown: CDN and StopCCRP have two seconds each.
const STOP_LIMIT: Duration = Duration::from_secs(6);
/// How long the worker may take to exit after its last message.
const EXIT_LIMIT: Duration = Duration::from_secs(2);
/// Bytes of a client's first message: two `pid_t`.
const HELLO: usize = 8;

/// Starts a manager that takes over a listening socket. Returns a channel on which the manager reports why it
/// failed, if it does so before the first call is up.
///
/// # Errors
/// Returns the kernel's error if the process cannot be started.
pub fn start(spec: &Spec, listener: &UnixListener, inode: u64) -> io::Result<Channel> {
    let (_child, channel) = processes::start(processes::MANAGER, "pptp: call manager")?;
    channel.send(&serde_json::to_vec(&(spec, inode))?, &[listener.as_fd()])?;
    Ok(channel)
}

/// Runs the manager process.
///
/// # Errors
/// Returns an error if the first message is invalid, or a descriptor fails.
pub fn main() -> io::Result<()> {
    process::set_name(c"pptpcm");
    let _leader_already = nix::unistd::setsid();
    let starter = Channel::to_parent()?;
    let Some(start) = starter.receive(true)? else { return Ok(()) };
    let (spec, inode): (Spec, u64) = serde_json::from_slice(&start.bytes)?;
    let listener = start.descriptors.into_iter().next().ok_or_else(|| io::Error::other("no socket"))?;
    let place = ManagerSocket::new(spec.local, *spec.server.ip());
    let mut log = Log::open(&spec.log_string);
    let ended = Signals::listen().and_then(|signals| {
        let route = host_route(&spec, &mut log);
        let tcp = transport::tcp_socket(&transport::Options { local: spec.local, mark: spec.mark })?;
        let (child, worker) = processes::start(processes::CONTROL, "pptp: control connection")?;
        worker.send(&serde_json::to_vec(&ToWorker::Start(Box::new(spec)))?, &[tcp.as_fd()])?;
        drop(tcp);
        let monitor = Monitor {
            listener: listener.into(),
            signals,
            child,
            worker,
            route,
            clients: Vec::new(),
            last_client: 0,
            client_seen: false,
            stop_by: None,
            pause: AcceptPause::default(),
            first_by: Instant::now() + HELLO_LIMIT,
            call_was_up: false,
        };
        monitor.run(&mut log, &starter, &place, inode)
    });
    if let Err(error) = &ended {
        log.fatal("callmgr_main", error.to_string());
        let _gone = starter.send(error.to_string().as_bytes(), &[]);
        remove(&place, inode);
    }
    ended
}

struct Monitor {
    listener: UnixListener,
    /// After an error of accept(2).
    pause: AcceptPause,
    signals: Signals,
    child: Child,
    worker: Channel,
    route: Option<HostRoute>,
    clients: Vec<Client>,
    last_client: u32,
    /// A client has connected.
    client_seen: bool,
    /// A call has been up.
    call_was_up: bool,
    /// When a graceful shutdown is abandoned; `None` before it begins.
    stop_by: Option<Instant>,
    /// When the manager exits if no client has connected.
    first_by: Instant,
}

struct Client {
    number: u32,
    stream: UnixStream,
    state: ClientState,
}

enum ClientState {
    Hello { said: Vec<u8>, until: Instant },
    Waiting(Vec<Process>),
    Up(Vec<Process>),
}

impl Monitor {
    fn run(mut self, log: &mut Log, starter: &Channel, place: &ManagerSocket, inode: u64) -> io::Result<()> {
        let why = loop {
            self.stop_if_idle()?;
            if self.stop_by.is_some_and(|by| by <= Instant::now()) {
                break "the control connection did not end in time".to_owned();
            }
            let [worker, end, listener, route] = self.wait()?;
            if listener {
                self.accept(log);
            }
            if end && self.signals.take().is_some() {
                self.stop()?;
            }
            self.update_host_route(route, log);
            if worker && let Some(why) = self.receive_from_worker(log, starter)? {
                break why;
            }
        };
        // Holds the lock until the socket is gone, so that no client finds an exiting manager.
        if !self.call_was_up {
            let _gone = starter.send(why.as_bytes(), &[]);
        }
        let held = place.lock();
        // Before the next manager looks for an existing route.
        drop(self.route.take());
        if let Ok(held) = &held {
            place.remove(held, inode);
        }
        for client in self.clients.drain(..) {
            client.end();
        }
        drop(self.listener);
        drop(held);
        if self.stop_by.is_some_and(|by| by <= Instant::now()) {
            self.child.kill()?;
        }
        // It exits by itself after its last message, unless it is compromised.
        let _exited =
            Process::of(&self.child).and_then(|worker| worker.wait_until(Instant::now() + EXIT_LIMIT));
        child::reap(&mut self.child);
        Ok(())
    }

    /// Waits for events and reads from clients that are ready. Returns whether the worker, the signals, the
    /// socket and the network watch are ready.
    fn wait(&mut self) -> io::Result<[bool; 4]> {
        let pausing = self.pause.is_pausing(Instant::now());
        let open = self.clients.len() < MAX_CLIENTS && self.stop_by.is_none() && !pausing;
        let fixed = [
            Some(self.worker.as_fd()),
            Some(self.signals.end()),
            open.then(|| self.listener.as_fd()),
            self.route.as_ref().and_then(HostRoute::fd),
        ];
        let clients = self.clients.iter().map(|client| client.stream.as_fd());
        let interests: Vec<_> =
            fixed.iter().flatten().copied().chain(clients).map(|fd| (fd, Interest::Readable)).collect();
        let deadline = self.deadline();
        let mut ready = wait::any(&interests, deadline.map(|(at, _)| at))?.into_iter();
        log_due(deadline, Instant::now());
        let fixed = fixed.map(|place| place.is_some() && ready.next().unwrap_or(false));
        self.receive_from_clients(&ready.collect::<Vec<_>>())?;
        Ok(fixed)
    }

    fn update_host_route(&mut self, changed: bool, log: &mut Log) {
        let Some(route) = &mut self.route else { return };
        let now = Instant::now();
        if changed {
            route.changed(now);
        }
        match route.handle_timeout(now) {
            Ok(None) => {}
            Ok(Some(route)) => log.log("route_add", format!("the network has changed: {route}")),
            Err(error) => log.warn("route_add", error.to_string()),
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        let hellos = self.clients.iter().map(|client| match client.state {
            ClientState::Hello { until, .. } => Some((until, "client's pids")),
            ClientState::Waiting(_) | ClientState::Up(_) => None,
        });
        let stop = self.stop_by.map(|at| (at, "stop"));
        let first = Some((self.first_by, "first client")).filter(|_| !self.client_seen);
        let route = self.route.as_ref().and_then(HostRoute::next_timeout);
        let pause = self.pause.next_timeout(Instant::now()).map(|at| (at, "clients are accepted again"));
        earliest(hellos.chain([stop, first, route, pause]))
    }

    fn stop_if_idle(&mut self) -> io::Result<()> {
        let now = Instant::now();
        self.clients
            .retain(|client| !matches!(client.state, ClientState::Hello { until, .. } if until <= now));
        if self.clients.is_empty() && (self.client_seen || self.first_by <= now) {
            self.stop()?;
        }
        Ok(())
    }

    fn stop(&mut self) -> io::Result<()> {
        if self.stop_by.is_none() {
            self.stop_by = Some(Instant::now() + STOP_LIMIT);
            self.send_to_worker(&ToWorker::Stop)?;
        }
        Ok(())
    }

    fn accept(&mut self, log: &mut Log) {
        while self.clients.len() < MAX_CLIENTS {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) => return self.pause.failed(Instant::now(), &error),
            };
            let uid = peer::uid(&stream).unwrap_or(u32::MAX);
            if uid != 0 && uid != nix::unistd::geteuid().as_raw() {
                log.warn("callmgr_main", format!("user {uid} requested a call and was refused"));
                continue;
            }
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            self.client_seen = true;
            self.last_client = self.last_client.wrapping_add(1);
            let state = ClientState::Hello { said: Vec::new(), until: Instant::now() + HELLO_LIMIT };
            self.clients.push(Client { number: self.last_client, stream, state });
        }
    }

    /// Reads from clients; `ready` is in the order of `clients`.
    fn receive_from_clients(&mut self, ready: &[bool]) -> io::Result<()> {
        let mut ready = ready.iter();
        let mut said = Vec::new();
        self.clients.retain_mut(|client| {
            if ready.next() != Some(&true) {
                return true;
            }
            let heard = client.read_input();
            said.extend(match (&heard, &client.state) {
                (ClientInput::Hello, _) => Some(ToWorker::Open(client.number)),
                (ClientInput::Gone, ClientState::Waiting(_) | ClientState::Up(_)) => {
                    Some(ToWorker::Close(client.number))
                }
                _ => None,
            });
            !matches!(heard, ClientInput::Gone)
        });
        said.iter().try_for_each(|message| self.send_to_worker(message))
    }

    /// Handles the worker's messages. Returns why it ended, if it did.
    fn receive_from_worker(&mut self, log: &mut Log, starter: &Channel) -> io::Result<Option<String>> {
        loop {
            let message = match self.worker.receive(false) {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(Some("the control connection's process ended".to_owned())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            };
            let obeyed =
                FromWorker::parse(&message.bytes).and_then(|message| self.handle_message(message, starter));
            match obeyed {
                Ok(None) => {}
                Ok(Some(why)) => return Ok(Some(why)),
                Err(rule) => {
                    // Compromised or defective: read nothing more from it.
                    self.child.kill()?;
                    let why = format!("the control connection's process sent an invalid message: {rule}");
                    log.warn("callmgr_main", &why);
                    return Ok(Some(why));
                }
            }
        }
    }

    /// Carries out a message of the worker. Ignores a client that has disconnected; a client that never
    /// existed, or that has no call pending, is an error.
    fn handle_message(&mut self, message: FromWorker, starter: &Channel) -> Result<Option<String>, String> {
        let number = match message {
            FromWorker::Up(number, ..) | FromWorker::Down(number, _) | FromWorker::Silent(number, _) => {
                number
            }
            FromWorker::Ended(why) => return Ok(Some(why)),
        };
        if number == 0 || number > self.last_client {
            return Err(format!("there is no client {number}"));
        }
        let Some(at) = self.clients.iter().position(|client| client.number == number) else {
            return Ok(None);
        };
        match message {
            FromWorker::Up(_, call_id, peer_call_id) => {
                let client = self.clients.get_mut(at).ok_or("no such client")?;
                client.up(call_id, peer_call_id)?;
                self.call_was_up = true;
            }
            FromWorker::Down(..) | FromWorker::Silent(..) | FromWorker::Ended(_) => {
                let client = self.clients.swap_remove(at);
                if matches!(client.state, ClientState::Hello { .. }) {
                    return Err(format!("client {number} has not asked for a call"));
                }
                if let FromWorker::Silent(_, why) = message {
                    // No signal: the client reads end of file, and the reason from this channel.
                    let _gone = starter.try_send(why.as_bytes());
                } else {
                    client.terminate_processes();
                }
            }
        }
        Ok(None)
    }

    fn send_to_worker(&self, message: &ToWorker) -> io::Result<()> {
        match self.worker.send(&serde_json::to_vec(message)?, &[]) {
            // The worker has exited; the next read reports that.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}

enum ClientInput {
    Nothing,
    Hello,
    Gone,
}

impl Client {
    fn read_input(&mut self) -> ClientInput {
        let mut bytes = [0; 64];
        let bytes = match self.stream.read(&mut bytes) {
            Ok(0) => return ClientInput::Gone,
            Ok(size) => bytes.get(..size).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return ClientInput::Nothing,
            Err(_) => return ClientInput::Gone,
        };
        let ClientState::Hello { said, .. } = &mut self.state else { return ClientInput::Nothing };
        said.extend_from_slice(bytes);
        let Some([a, b, c, d, e, f, g, h]) = said.first_chunk::<HELLO>().copied() else {
            return ClientInput::Nothing;
        };
        let pids = [i32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h])];
        // Opened now, so that a later signal cannot hit another process that reuses the pid.
        let processes = pids.into_iter().filter(|pid| *pid > 1).filter_map(|pid| Process::open(pid).ok());
        self.state = ClientState::Waiting(processes.collect());
        ClientInput::Hello
    }

    fn up(&mut self, call_id: u16, peer_call_id: u16) -> Result<(), String> {
        let ClientState::Waiting(processes) = &mut self.state else {
            return Err(format!("client {} waits for no call", self.number));
        };
        let processes = std::mem::take(processes);
        let [a, b] = call_id.to_ne_bytes();
        let [c, d] = peer_call_id.to_ne_bytes();
        // Four bytes fit any socket buffer. A closed client is detected by reading its socket.
        let _gone = self.stream.write(&[a, b, c, d]);
        self.state = ClientState::Up(processes);
        Ok(())
    }

    /// Terminates the client's processes after the end of its call: the classic client watches nothing else.
    fn terminate_processes(self) {
        if let ClientState::Waiting(processes) | ClientState::Up(processes) = &self.state {
            for process in processes {
                let _gone = process.terminate();
            }
        }
    }

    /// Ends a client when the manager exits. A client without a call may try another manager.
    fn end(self) {
        if matches!(self.state, ClientState::Up(_)) {
            self.terminate_processes();
        }
    }
}

fn remove(place: &ManagerSocket, inode: u64) {
    if let Ok(held) = place.lock() {
        place.remove(&held, inode);
    }
}

fn host_route(spec: &Spec, log: &mut Log) -> Option<HostRoute> {
    let place = ManagerSocket::new(spec.local, *spec.server.ip());
    // Routes of managers that were killed: that of this server's is taken over, if this one has a route.
    let own = spec.host_route.then(|| place.route_record());
    match host_route_record::sweep(ManagerSocket::directory(), own.as_deref()) {
        Ok(removed) => {
            for route in removed {
                log.log("route_del", format!("left by a call manager that was killed: {route}"));
            }
        }
        Err(error) => log.warn("route_del", error.to_string()),
    }
    HostRoute::make(*spec.server.ip(), spec.local, spec.mark, &own?).unwrap_or_else(|error| {
        log.warn("route_add", error.to_string());
        None
    })
}

#[cfg(test)]
mod tests;
