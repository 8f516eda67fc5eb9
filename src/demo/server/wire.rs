//! The server's network namespace and its link to the client's (Linux).

use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr},
    os::{fd::AsFd, unix::net::UnixStream},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::{
    demo::config::{CLIENT_DEVICE, ServerConfig},
    net::{
        kernel::Kernel,
        routes::{Address, Error},
    },
};

/// The server's end of the veth pair.
const DEVICE: &str = "wire";

/// Leaves the client's network namespace for a new one, with a veth pair between the two.
///
/// # Errors
/// Returns the kernel's error.
pub fn make_wire(orders: &ServerConfig) -> Result<Kernel, Error> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| Error::other(what, error.to_string())
    };
    let outside = File::open("/proc/thread-self/ns/net").map_err(failed("open the client's namespace"))?;
    let mut client = Kernel::open()?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| Error::errno("make a network namespace", errno))?;
    let mut server = Kernel::open()?;
    server.create_veth(DEVICE, CLIENT_DEVICE, Some(outside.as_fd()))?;
    for (kernel, device, address) in
        [(&mut server, DEVICE, orders.address), (&mut client, CLIENT_DEVICE, orders.client)]
    {
        kernel.no_automatic_ipv6(device)?;
        kernel.add_address(device, &host_address(address, 24))?;
    }
    // The server's end first, so that the link works as soon as the client's end is up.
    server.set_up(DEVICE, true)?;
    client.set_up(CLIENT_DEVICE, true)?;
    for kernel in [&mut server, &mut client] {
        kernel.set_up("lo", true)?;
    }
    server.add_address("lo", &host_address(orders.office, 32))?;
    Ok(server)
}

/// Does what the first process of a pid namespace must: mounts /proc, and returns a socket that is readable
/// on SIGCHLD.
///
/// # Errors
/// Returns the kernel's error.
pub fn first_process() -> io::Result<UnixStream> {
    let none: Option<&str> = None;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), safe, none)?;
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, theirs)?;
    Ok(ours)
}

const fn host_address(local: Ipv4Addr, prefix: u8) -> Address {
    Address { local: IpAddr::V4(local), peer: None, prefix }
}
