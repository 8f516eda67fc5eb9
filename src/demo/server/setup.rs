//! Sets up a server: a network namespace, a veth pair to the client's namespace, and sockets.
//!
//! It writes `ready` to standard output when it accepts calls, or `failed: ` or `denied: ` and the reason.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, Write},
    net::{IpAddr, Ipv4Addr, TcpListener},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use super::{Server, gre_socket::GreSocket, http::HttpServer};
use crate::{
    demo::{
        call_table::CallTable,
        config::{CLIENT_DEVICE, Fault, ServerConfig},
        pool::Pool,
    },
    net::{
        netlink::Netlink,
        routes::{Address, Error},
    },
    os::privileges,
    pptp::wire,
};

/// The hidden subcommand that runs this program as a server.
pub const ROLE: &str = "__serve";

/// The server's end of the veth pair.
const DEVICE: &str = "wire";

/// Runs a server process.
///
/// # Errors
/// Returns the error if the setup failed, which has been reported by then, or if polling fails.
pub fn main() -> io::Result<()> {
    privileges::kill_on_parent_exit();
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let ready = serde_json::from_str::<ServerConfig>(&line).map_err(io::Error::from).and_then(Server::set_up);
    let said = match &ready {
        Ok(_) => "ready\n".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => format!("denied: {error}\n"),
        Err(error) => format!("failed: {error}\n"),
    };
    io::stdout().lock().write_all(said.as_bytes())?;
    io::stdout().lock().flush()?;
    ready?.run()
}

impl Server {
    fn set_up(orders: ServerConfig) -> io::Result<Self> {
        if orders.talk {
            start_log();
        }
        let orphans = if std::process::id() == 1 { Some(first_process()?) } else { None };
        let netlink = make_wire(&orders).map_err(of_kernel)?;
        let listener = TcpListener::bind((orders.address, wire::PORT))?;
        listener.set_nonblocking(true)?;
        let blocked = orders.trouble == Some(Fault::DropGre);
        let road = GreSocket::open(orders.address, orders.inbound, orders.outbound, blocked)?;
        let page = HttpServer::listen(orders.office)?;
        let mut last_id = [0; 2];
        getrandom::fill(&mut last_id).map_err(io::Error::other)?;
        Ok(Self {
            listener,
            gre_socket: road,
            page,
            netlink,
            master: master()?,
            orphans,
            connections: BTreeMap::new(),
            last_connection: 0,
            ignored: Vec::new(),
            calls: CallTable::new(u16::from_ne_bytes(last_id)),
            pool: Pool::new(orders.first, orders.addresses),
            no_call: 0,
            config: orders,
        })
    }
}

fn master() -> io::Result<OwnedFd> {
    io::stdin().as_fd().try_clone_to_owned()
}

/// Does what the first process of a pid namespace must: mounts /proc, and returns a socket that is readable
/// on SIGCHLD.
fn first_process() -> io::Result<UnixStream> {
    let none: Option<&str> = None;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), safe, none)?;
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, theirs)?;
    Ok(ours)
}

/// Leaves the client's network namespace for a new one, with a veth pair between the two.
fn make_wire(orders: &ServerConfig) -> Result<Netlink, Error> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| Error::other(what, error.to_string())
    };
    let outside = File::open("/proc/thread-self/ns/net").map_err(failed("open the client's namespace"))?;
    let mut client = Netlink::open()?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| Error::errno("make a network namespace", errno))?;
    let mut server = Netlink::open()?;
    server.create_veth(DEVICE, CLIENT_DEVICE, Some(outside.as_fd()))?;
    for (netlink, device, address) in
        [(&mut server, DEVICE, orders.address), (&mut client, CLIENT_DEVICE, orders.client)]
    {
        netlink.no_automatic_ipv6(device)?;
        netlink.add_address(device, &host_address(address, 24))?;
    }
    // The server's end first, so that the link works as soon as the client's end is up.
    server.set_up(DEVICE, true)?;
    client.set_up(CLIENT_DEVICE, true)?;
    for netlink in [&mut server, &mut client] {
        netlink.set_up("lo", true)?;
    }
    server.add_address("lo", &host_address(orders.office, 32))?;
    Ok(server)
}

fn of_kernel(error: Error) -> io::Error {
    let kind = error.errno.map_or(io::ErrorKind::Other, |errno| io::Error::from(errno).kind());
    io::Error::new(kind, error)
}

const fn host_address(local: Ipv4Addr, prefix: u8) -> Address {
    Address { local: IpAddr::V4(local), peer: None, prefix }
}

fn start_log() {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_target(false)
        .with_ansi(false)
        .with_writer(io::stderr)
        .finish();
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        tracing::debug!("a subscriber is set already");
    }
}
