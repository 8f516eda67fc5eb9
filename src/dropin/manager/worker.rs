//! The manager's unprivileged part: the control connection and its calls.
//!
//! It receives an unconnected TCP socket, drops root, and only then reads network data. It identifies clients
//! by numbers that the monitor assigns, and exits when the monitor does.

use std::{
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use super::{
    message::{FromWorker, Spec, ToWorker},
    socket::ManagerSocket,
};
use crate::{
    deadline::{earliest, log_due},
    dropin::log::Log,
    net::{
        tcp::{TcpEvent, TcpPump},
        transport,
    },
    os::{
        channel::Channel,
        jail,
        privileges::{self, Files},
        process,
        wait::{self, Interest},
    },
    pptp::{
        cause,
        control::{CallEnd, CallRequest, Control, ControlConfig, ControlEnd, ControlEvent},
    },
};

/// Limit for the TCP connection; independent of `--idle-wait`.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// Random call ids to try; a connection has far fewer calls than there are ids.
const ID_ATTEMPTS: u32 = 16;

/// Runs the worker process.
///
/// # Errors
/// Returns an error if root cannot be dropped, or the monitor's messages are invalid.
pub fn main() -> io::Result<()> {
    process::set_name(c"pptpcm");
    let channel = Channel::to_parent()?;
    let Some(start) = channel.receive(true)? else { return Ok(()) };
    let ToWorker::Start(spec) = serde_json::from_slice(&start.bytes)? else {
        return Err(io::Error::other("the first message is no start"));
    };
    let tcp = start.descriptors.into_iter().next().ok_or_else(|| io::Error::other("no socket"))?;
    let log = Log::open(&spec.log_string);
    let jail = jail::path(ManagerSocket::directory(), "control");
    privileges::drop_all(Files::Nothing(&jail))?;
    let config = ControlConfig {
        idle_wait: spec.idle_wait,
        max_echo_wait: spec.max_echo_wait,
        ..ControlConfig::client(spec.quirks)
    };
    let now = Instant::now();
    let worker = Worker {
        control: Control::new(config, now),
        tcp: TcpPump::new(tcp.into(), Some(now + CONNECT_LIMIT)),
        waiting: Vec::new(),
        calls: Vec::new(),
        ended: None,
        spec: *spec,
        channel,
        log,
    };
    worker.run()
}

struct Worker {
    spec: Spec,
    log: Log,
    channel: Channel,
    tcp: TcpPump,
    control: Control,
    /// Clients that wait for the control connection to be established.
    waiting: Vec<u32>,
    /// Local call id and client number of each call.
    calls: Vec<(u16, u32)>,
    ended: Option<String>,
}

impl Worker {
    fn run(mut self) -> io::Result<()> {
        if let Err(error) = transport::start_connect(&self.tcp, self.spec.server) {
            self.connect_failed(&error);
        }
        loop {
            let now = Instant::now();
            self.events(now)?;
            self.write(now);
            // Writing may have ended the connection, which adds events.
            self.events(now)?;
            if let Some(why) = self.ended.take() {
                return self.send_to_monitor(FromWorker::Ended(why));
            }
            let deadline = earliest([self.tcp.next_timeout(), self.control.next_timeout()]);
            let [monitor, tcp] = wait::until(
                [
                    Some((self.channel.as_fd(), Interest::Readable)),
                    self.tcp.interest(self.control.poll_output()),
                ],
                deadline.map(|(at, _)| at),
            )?;
            let now = Instant::now();
            log_due(deadline, now);
            if monitor && !self.receive_messages(now)? {
                self.control.stop(now);
                self.write(now);
                return Ok(());
            }
            if tcp {
                self.tcp_ready(now)?;
            }
            if self.tcp.handle_timeout(now) {
                self.connect_failed(&io::ErrorKind::TimedOut.into());
            }
            self.control.handle_timeout(now);
        }
    }

    /// Handles messages. Returns `false` when the monitor has exited.
    fn receive_messages(&mut self, now: Instant) -> io::Result<bool> {
        loop {
            match self.channel.receive(false) {
                Ok(Some(message)) => match serde_json::from_slice(&message.bytes)? {
                    ToWorker::Open(client) if self.control.is_established() => self.open(now, client)?,
                    ToWorker::Open(client) => self.waiting.push(client),
                    ToWorker::Close(client) => self.close(now, client),
                    ToWorker::Stop => self.control.stop(now),
                    ToWorker::Start(_) => return Err(io::Error::other("started twice")),
                },
                Ok(None) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    fn open(&mut self, now: Instant, client: u32) -> io::Result<()> {
        let mut refused = String::new();
        for _ in 0..ID_ATTEMPTS {
            let mut id = [0; 2];
            getrandom::fill(&mut id).map_err(io::Error::other)?;
            let phone = self.spec.phone.clone();
            let request = CallRequest { phone, ..CallRequest::new(u16::from_ne_bytes(id).max(1)) };
            match self.control.open_call(now, request) {
                Ok(call_id) => {
                    self.calls.push((call_id, client));
                    return Ok(());
                }
                Err(error) => refused = error.to_string(),
            }
        }
        self.send_to_monitor(FromWorker::Down(client, refused))
    }

    fn close(&mut self, now: Instant, client: u32) {
        self.waiting.retain(|waiting| *waiting != client);
        let Some((call_id, _)) = self.calls.iter().find(|(_, of)| *of == client).copied() else { return };
        if let Err(error) = self.control.close_call(now, call_id) {
            self.log.log("close", error.to_string());
        }
    }

    fn tcp_ready(&mut self, now: Instant) -> io::Result<()> {
        match self.tcp.ready() {
            None => {}
            Some(TcpEvent::Connected(Ok(()))) => {
                if let Some(why) = privileges::confine_drop_in()? {
                    self.note("main", &format!("no filter of system calls: {why}"));
                }
                self.control.connected(now);
            }
            Some(TcpEvent::Connected(Err(error))) => self.connect_failed(&error),
            Some(TcpEvent::Input(bytes)) => self.control.handle_input(now, bytes),
            Some(TcpEvent::Closed(_)) => self.control.handle_closed(now),
        }
        Ok(())
    }

    fn write(&mut self, now: Instant) {
        match self.tcp.write(self.control.poll_output()) {
            Ok(size) => self.control.consume_output(size),
            Err(_) => self.control.handle_closed(now),
        }
    }

    fn connect_failed(&mut self, error: &io::Error) {
        let why = format!("no connection to {}: {error}", self.spec.server);
        self.log.warn("open_inetsock", &why);
        self.ended = Some(why);
    }

    fn events(&mut self, now: Instant) -> io::Result<()> {
        while let Some(event) = self.control.poll_event() {
            self.event(now, event)?;
        }
        Ok(())
    }

    fn event(&mut self, now: Instant, event: ControlEvent) -> io::Result<()> {
        match event {
            ControlEvent::Established { .. } => {
                self.note("ctrlp_disp", "Received Start Control Connection Reply");
                self.note("ctrlp_disp", "Client connection established.");
                for client in std::mem::take(&mut self.waiting) {
                    self.open(now, client)?;
                }
            }
            ControlEvent::CallUp { call_id, peer_call_id, .. } => {
                let text =
                    format!("Outgoing call established (call ID {call_id}, peer's call ID {peer_call_id}).");
                self.note("ctrlp_disp", &text);
                if let Some((_, client)) = self.calls.iter().find(|(id, _)| *id == call_id).copied() {
                    self.send_to_monitor(FromWorker::Up(client, call_id, peer_call_id))?;
                }
            }
            ControlEvent::CallRefused { call_id, result, error, cause } => {
                let words = cause::call_refusal_words(result, error, cause);
                self.log.warn(
                    "ctrlp_disp",
                    format!("Our outgoing call request [callid {call_id}] has not been accepted: {words}"),
                );
                self.call_over(call_id, &words, FromWorker::Down)?;
            }
            ControlEvent::CallDown { call_id, reason } => {
                let line = match &reason {
                    CallEnd::PeerCleared => "Received Call Clear Request.".to_owned(),
                    CallEnd::Disconnected { .. } => {
                        format!("Call disconnect notification received (call id {call_id}): {reason}")
                    }
                    other => format!("call {call_id}: {other}"),
                };
                self.note("ctrlp_disp", &line);
                let told = match reason {
                    CallEnd::ReplyTimeout => FromWorker::Silent,
                    _ => FromWorker::Down,
                };
                self.call_over(call_id, &reason.to_string(), told)?;
            }
            ControlEvent::SetLinkInfo { send_accm, receive_accm, .. } => self.note(
                "ctrlp_disp",
                &format!(
                    "PPP_SET_LINKINFO received (send ACCM {send_accm:08x}, receive ACCM {receive_accm:08x})"
                ),
            ),
            ControlEvent::Closed(end) => {
                match end {
                    ControlEnd::Stopped => {}
                    ControlEnd::EchoTimeout => {
                        self.log
                            .log("pptp_conn_close", "closing control connection due to missing echo reply");
                    }
                    ref other => self.log.warn("pptp_conn_close", other.to_string()),
                }
                self.ended = Some(end.to_string());
            }
            ControlEvent::IncomingCall { .. } => {}
        }
        Ok(())
    }

    fn call_over(&mut self, call_id: u16, why: &str, told: fn(u32, String) -> FromWorker) -> io::Result<()> {
        let Some(at) = self.calls.iter().position(|(id, _)| *id == call_id) else { return Ok(()) };
        let (_, client) = self.calls.swap_remove(at);
        self.send_to_monitor(told(client, why.to_owned()))
    }

    #[track_caller]
    fn note(&mut self, function: &str, text: &str) {
        if self.spec.log_level > 0 {
            self.log.log(function, text);
        }
    }

    fn send_to_monitor(&self, message: FromWorker) -> io::Result<()> {
        self.channel.send(&message.encode()?, &[])
    }
}
