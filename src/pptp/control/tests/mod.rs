//! Tests of one control connection: two state machines in memory with a virtual clock, or one state machine
//! with a peer simulated by the test.

mod bytes;
mod calls;
mod keepalive;
mod limits;
mod start;
mod stop;

use super::*;
use crate::pptp::{quirks::Quirks, wire::StartControlConnectionReply};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A client and a server. `step` advances the virtual clock to the next timeout.
struct Pair {
    client: Control,
    server: Control,
    now: Instant,
    client_events: Vec<ControlEvent>,
    server_events: Vec<ControlEvent>,
    /// Maximum size of the segments in which bytes are passed on.
    cut: usize,
    /// Whether the network drops everything in both directions.
    network_down: bool,
}

impl Pair {
    fn new(client: ControlConfig, server: ControlConfig) -> Self {
        let now = Instant::now();
        let mut pair = Self {
            client: Control::new(client, now),
            server: Control::new(server, now),
            now,
            client_events: Vec::new(),
            server_events: Vec::new(),
            cut: usize::MAX,
            network_down: false,
        };
        pair.client.connected(now);
        pair.server.connected(now);
        pair
    }

    fn established() -> Self {
        let mut pair = Self::new(ControlConfig::client(Quirks::None), ControlConfig::server("pac"));
        pair.drive();
        assert!(pair.client.is_established() && pair.server.is_established());
        pair.client_events.clear();
        pair.server_events.clear();
        pair
    }

    /// Exchanges bytes until none are left; the server accepts each call with call ID 1000 + the client's.
    fn drive(&mut self) {
        loop {
            let from_client = take_output(&mut self.client);
            let from_server = take_output(&mut self.server);
            if from_client.is_empty() && from_server.is_empty() {
                break;
            }
            if self.network_down {
                continue;
            }
            for part in from_client.chunks(self.cut) {
                self.server.handle_input(self.now, part);
            }
            for part in from_server.chunks(self.cut) {
                self.client.handle_input(self.now, part);
            }
            while let Some(event) = self.server.poll_event() {
                if let ControlEvent::IncomingCall { peer_call_id, .. } = event {
                    let accept = CallAccept::new(1000 + peer_call_id);
                    self.server.accept_call(self.now, peer_call_id, accept).unwrap();
                }
                self.server_events.push(event);
            }
        }
        self.client_events.extend(events(&mut self.client));
        self.server_events.extend(events(&mut self.server));
    }

    fn step(&mut self) {
        let next = [self.client.next_timeout(), self.server.next_timeout()];
        if let Some((at, _)) = next.into_iter().flatten().min_by_key(|(at, _)| *at) {
            self.now = at;
            self.client.handle_timeout(at);
            self.server.handle_timeout(at);
        }
        self.drive();
    }

    /// Opens a call, which must come up.
    fn call(&mut self, call_id: u16) {
        self.client.open_call(self.now, CallRequest::new(call_id)).unwrap();
        self.drive();
        let up = |event: &ControlEvent| matches!(event, ControlEvent::CallUp { call_id: id, .. } if *id == call_id);
        assert!(self.client_events.iter().any(up), "{:?}", self.client_events);
        self.client_events.clear();
        self.server_events.clear();
    }
}

/// Returns an established client whose server is simulated by the test.
fn client(config: ControlConfig) -> (Control, Instant) {
    let (mut client, now) = starting(config);
    client.handle_input(now, &encoded(start_reply()));
    assert!(matches!(events(&mut client)[..], [ControlEvent::Established { .. }]));
    (client, now)
}

/// Returns a client that has sent its first request; its server is simulated by the test.
fn starting(config: ControlConfig) -> (Control, Instant) {
    let now = Instant::now();
    let mut client = Control::new(config, now);
    client.connected(now);
    take_output(&mut client);
    (client, now)
}

/// Returns a client with call 7 up, which has call ID 99 on the server.
fn client_with_call() -> (Control, Instant) {
    let (mut client, now) = client(ControlConfig::client(Quirks::None));
    client.open_call(now, CallRequest::new(7)).unwrap();
    client.handle_input(now, &encoded(call_reply(7, 99)));
    assert!(matches!(events(&mut client)[..], [ControlEvent::CallUp { call_id: 7, peer_call_id: 99, .. }]));
    take_output(&mut client);
    (client, now)
}

fn start_reply() -> StartControlConnectionReply {
    StartControlConnectionReply {
        version: wire::VERSION,
        result: 1,
        error: 0,
        framing: 3,
        bearer: 3,
        max_channels: 1,
        firmware: 1,
        host_name: Text::new("pac"),
        vendor: Text::new("test"),
    }
}

fn call_reply(client: u16, server: u16) -> wire::OutgoingCallReply {
    wire::OutgoingCallReply {
        call_id: server,
        peer_call_id: client,
        result: 1,
        error: 0,
        cause: 0,
        connect_speed: 10_000_000,
        window: 16,
        delay: 0,
        channel: 0,
    }
}

fn disconnect(call_id: u16) -> wire::CallDisconnectNotify {
    wire::CallDisconnectNotify { call_id, result: 3, error: 0, cause: 16, statistics: Text::EMPTY }
}

fn encoded(message: impl Into<Message>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.into().encode(&mut bytes);
    bytes
}

fn take_output(control: &mut Control) -> Vec<u8> {
    let bytes = control.poll_output().to_vec();
    control.consume_output(bytes.len());
    bytes
}

/// Takes the output, decoded into messages.
fn sent(control: &mut Control) -> Vec<Message> {
    let bytes = take_output(control);
    let mut bytes = &bytes[..];
    let mut decoder = StreamDecoder::default();
    let messages = std::iter::from_fn(|| decoder.next_message(&mut bytes)).collect();
    assert_eq!(decoder.counters().skipped_bytes, 0);
    messages
}

fn names(messages: &[Message]) -> Vec<String> {
    let name = |message| format!("{message:?}").split('(').next().unwrap().to_owned();
    messages.iter().map(name).collect()
}

fn events(control: &mut Control) -> Vec<ControlEvent> {
    std::iter::from_fn(|| control.poll_event()).collect()
}
