//! The path between client and server: two tun devices, one in each namespace, and an impaired path each way.

use std::{
    fs::{self, File},
    io::Write,
    os::fd::AsFd,
    time::Instant,
};

use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sched::{CloneFlags, setns},
    sys::time::TimeSpec,
    time::{ClockId, clock_gettime},
};
use pptpctl::testing::{
    demo::impairment::{ImpairedPath, ImpairmentConfig},
    net::{
        packets::PacketIo,
        tun::{self, Tun},
    },
};

use crate::{
    far_end::{far_namespace, ip},
    lab::{PATH_DEVICE, PATH_FAR, SERVER},
};

/// Hidden argument that makes this program the relay.
pub const ROLE: &str = "__relay";
/// Exists once the path carries packets.
pub const READY: &str = "/run/relay.ready";
/// A line for each packet: time in microseconds of the monotonic clock, `>` from the client or `<` from the server, and
/// the IP protocol. As long as the file exists.
pub const PACKETS: &str = "/run/relay.packets";

/// The end of the path in one namespace.
struct End {
    tun: Tun,
    packets: PacketIo,
    /// Packets on their way from this end to the other.
    path: ImpairedPath<Vec<u8>>,
}

impl End {
    fn open(config: ImpairmentConfig) -> Self {
        let tun = tun::open(Some(90)).unwrap();
        assert_eq!(tun.name, PATH_DEVICE);
        let packets = PacketIo::new(&tun.fd);
        Self { tun, packets, path: ImpairedPath::new(config) }
    }

    /// Takes the packets that the kernel sends by this end.
    fn take(&mut self, now: Instant, log: &mut Option<(File, char)>) {
        for _ in 0..64 {
            let Some(mut read) = self.packets.receive(&self.tun.fd).unwrap() else { break };
            while let Some(packet) = read.next_packet() {
                if let Some((file, direction)) = log {
                    writeln!(file, "{} {direction} {}", micros(), packet[9]).unwrap();
                }
                self.path.send(now, packet.to_vec());
            }
        }
    }

    /// Passes the packets that have arrived on to the other end.
    fn deliver(&mut self, now: Instant, to: &mut Self) {
        while let Some(packet) = self.path.arrive(now) {
            to.packets.send(&to.tun.fd, &packet);
        }
        to.packets.flush(&to.tun.fd);
    }
}

/// Runs the relay with this impairment, as JSON, in each direction.
pub fn run(orders: &str) {
    let config: ImpairmentConfig = serde_json::from_str(orders).unwrap();
    let mut near = End::open(config);
    ip(&format!("addr add 198.51.100.2 peer {PATH_FAR} dev {PATH_DEVICE}"));
    ip(&format!("link set {PATH_DEVICE} up"));
    ip(&format!("route replace {SERVER}/32 dev {PATH_DEVICE} src 198.51.100.2"));
    setns(File::open(far_namespace()).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
    let mut far = End::open(ImpairmentConfig { seed: config.seed + 1, ..config });
    ip(&format!("addr add {PATH_FAR} peer 198.51.100.2 dev {PATH_DEVICE}"));
    ip(&format!("link set {PATH_DEVICE} up"));
    fs::write(READY, "").unwrap();
    loop {
        let due = [&near, &far].into_iter().filter_map(|end| end.path.next_timeout()).map(|(at, _)| at).min();
        let left = due.map(|at| TimeSpec::from_duration(at.saturating_duration_since(Instant::now())));
        let mut fds = [&near, &far].map(|end| PollFd::new(end.tun.fd.as_fd(), PollFlags::POLLIN));
        ppoll(&mut fds, left, None).unwrap();
        let now = Instant::now();
        let log = |direction| Some((fs::OpenOptions::new().append(true).open(PACKETS).ok()?, direction));
        near.take(now, &mut log('>'));
        far.take(now, &mut log('<'));
        let now = Instant::now();
        near.deliver(now, &mut far);
        far.deliver(now, &mut near);
    }
}

/// Returns the monotonic clock, which all processes share, in microseconds.
pub fn micros() -> i64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    time.tv_sec() * 1_000_000 + time.tv_nsec() / 1000
}
