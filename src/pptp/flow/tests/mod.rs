//! Tests of one flow with hand-made packets; `network` connects two flows through a simulated network.

mod acks;
mod network;
mod order;
mod work;

use super::*;

const MS: Duration = Duration::from_millis(1);
const LOCAL: u16 = 0x1111;
const PEER: u16 = 0x2222;

/// A flow and the sequence numbers that it has delivered, which the payloads contain.
struct Receiver {
    flow: Flow,
    now: Instant,
    delivered: Vec<u32>,
}

impl Receiver {
    fn new(config: FlowConfig) -> Self {
        let now = Instant::now();
        Self { flow: Flow::new(config, now), now, delivered: Vec::new() }
    }

    /// Returns a receiver that has delivered packet 1.
    fn running() -> Self {
        let mut receiver = Self::new(config());
        receiver.arrive(1).unwrap();
        receiver
    }

    fn arrive(&mut self, seq: u32) -> Result<(), DropReason> {
        self.receive(&mut packet(seq, 4))
    }

    fn arrive_all(&mut self, seqs: impl IntoIterator<Item = u32>) {
        for seq in seqs {
            self.arrive(seq).unwrap();
        }
    }

    fn receive(&mut self, packet: &mut [u8]) -> Result<(), DropReason> {
        let delivered = &mut self.delivered;
        self.flow.receive(self.now, packet, &mut |payload| delivered.push(number(payload)))
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let delivered = &mut self.delivered;
        self.flow.handle_timeout(self.now, &mut |payload| delivered.push(number(payload)));
    }

    fn gap_timeout(&self) -> Option<Duration> {
        self.flow.gap_deadline().map(|at| at - self.now)
    }

    fn counters(&self) -> FlowCounters {
        *self.flow.counters()
    }
}

fn config() -> FlowConfig {
    FlowConfig::new(LOCAL, PEER)
}

/// Returns a data packet for call `LOCAL` whose payload begins with its sequence number.
fn packet(seq: u32, length: u16) -> Vec<u8> {
    let mut header = [0; MAX_HEADER];
    let start = gre::emit(Header { call_id: LOCAL, seq: Some(seq), ack: None }, length, &mut header);
    let mut packet = header[..start].to_vec();
    packet.extend(seq.to_be_bytes());
    packet.resize(start + usize::from(length), 0x5A);
    packet
}

fn number(payload: &[u8]) -> u32 {
    u32::from_be_bytes(*payload.first_chunk().unwrap())
}
