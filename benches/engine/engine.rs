//! The three programs, each with a pty as standard input; and the third itself, the copy loop.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsFd, OwnedFd},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill},
    unistd::{Pid, read, write},
};
use pptpctl::testing::os::pty::Pty;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{load::Cell, world::World};

/// Hidden argument that makes this program the copy loop.
pub const FLOOR: &str = "__floor";
pub const CLASSIC: &str = "/usr/sbin/pptp";
const FLOOR_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
/// Limit for the exit of a program.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Ours,
    Classic,
    Floor,
}

pub struct Engine {
    pub program: Program,
    pub sync: bool,
    /// The PPP daemon's end of the pty.
    pub ppp: OwnedFd,
    /// The server's GRE socket.
    pub gre: OwnedFd,
    /// Call id of packets to the program.
    pub call: u16,
    /// Sequence number last sent to the program.
    pub seq: u32,
    child: Child,
}

impl Engine {
    /// Starts a program and waits until its call is up.
    pub fn start(program: Program, path: &str, sync: bool, world: &World) -> Self {
        let host = 1 + 2 * u8::from(sync) + u8::from(program == Program::Classic);
        let address = Ipv4Addr::new(192, 0, 2, host);
        let address_word = address.to_string();
        let mut arguments = vec![address_word.as_str(), "--nolaunchpppd", "--loglevel", "0"];
        arguments.extend(sync.then_some("--sync"));
        let gre = world.gre(address);
        let (child, ppp) = spawn(Command::new(path).args(arguments));
        let call = world.call(address);
        Self { program, sync, ppp, gre, call, seq: 0, child }
    }

    /// Starts the copy loop for the frames of one cell.
    pub fn start_floor(cell: &Cell, world: &World) -> Self {
        let gre = world.gre(FLOOR_ADDRESS);
        let length = cell.on_the_pty().to_string();
        let own = std::env::current_exe().unwrap();
        let (child, ppp) = spawn(Command::new(own).args([FLOOR, &length]));
        Self { program: Program::Floor, sync: cell.sync, ppp, gre, call: 0, seq: 0, child }
    }

    /// Returns the CPU time used so far: total in nanoseconds, and ticks of user and of system time.
    pub fn cpu(&self) -> (u64, u64, u64) {
        let pid = self.child.id();
        let number = |arguments: &str, at: usize| {
            arguments.split_whitespace().nth(at).unwrap().parse::<u64>().unwrap()
        };
        let all = number(&fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap(), 0);
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, after) = stat.rsplit_once(") ").unwrap();
        (all, number(after, 11), number(after, 12))
    }
}

fn spawn(command: &mut Command) -> (Child, OwnedFd) {
    let pty = Pty::open().unwrap();
    let child = command.stdin(Stdio::from(pty.master)).stdout(Stdio::null()).spawn();
    (child.unwrap_or_else(|error| panic!("{command:?}: {error} (Debian: pptp-linux)")), pty.slave)
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _gone = kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM);
        let end = Instant::now() + LIMIT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > end {
                let _gone = self.child.kill();
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Copies standard input to a raw socket in pieces of a fixed length, and back, until the end of input.
pub fn floor(arguments: &[String]) {
    let length: usize = arguments[0].parse().unwrap();
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(47))).unwrap();
    socket.set_send_buffer_size(1 << 20).unwrap();
    socket.connect(&SocketAddrV4::new(FLOOR_ADDRESS, 0).into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let gre = OwnedFd::from(socket);
    let stdin = std::io::stdin();
    let ppp = stdin.as_fd();
    let flags = OFlag::from_bits_retain(fcntl(ppp, FcntlArg::F_GETFL).unwrap());
    fcntl(ppp, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
    let (mut from_ppp, mut filled, mut from_gre) = (vec![0; 1 << 16], 0, vec![0; 1 << 16]);
    loop {
        let mut fds = [PollFd::new(ppp, PollFlags::POLLIN), PollFd::new(gre.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE).unwrap();
        let [from, to] = fds.map(|fd| fd.any().unwrap());
        loop {
            if !from {
                break;
            }
            match read(ppp, &mut from_ppp[filled..]) {
                Ok(size @ 1..) => filled += size,
                Err(Errno::EAGAIN) => break,
                _ => return,
            }
            let mut sent = 0;
            while filled - sent >= length {
                let _refused = write(&gre, &from_ppp[sent..sent + length]);
                sent += length;
            }
            from_ppp.copy_within(sent..filled, 0);
            filled -= sent;
        }
        while to && let Ok(size) = read(&gre, &mut from_gre) {
            // Skip the IP header.
            let mut rest = &from_gre[20..size];
            while !rest.is_empty() {
                match write(ppp, rest) {
                    Ok(size) => rest = &rest[size..],
                    Err(Errno::EAGAIN) => {
                        let mut full = [PollFd::new(ppp, PollFlags::POLLOUT)];
                        poll(&mut full, PollTimeout::NONE).unwrap();
                    }
                    Err(_) => return,
                }
            }
        }
    }
}
