//! The server's jail and its link to the client's (FreeBSD).

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use crate::{
    demo::config::ServerConfig,
    net::{
        kernel::Kernel,
        routes::{Address, Error},
    },
    os::bsd::jails,
};

/// Name of the server's jail, below that of the client.
const JAIL: &str = "server";

/// The loopback interface.
const LOOPBACK: &str = "lo0";

/// Leaves the client's jail for another one inside it, with an epair(4) between the two.
///
/// # Errors
/// Returns the kernel's error.
pub fn make_wire(orders: &ServerConfig) -> Result<Kernel, Error> {
    let failed = |error: std::io::Error| Error::other("make the server's jail", error.to_string());
    let mut client = Kernel::open()?;
    let jail = jails::create(JAIL, Path::new("/"), 0).map_err(failed)?;
    let (near, far) = client.create_epair()?;
    client.move_to_jail(&far, jail)?;
    jails::enter(jail).map_err(failed)?;
    // Sockets stay in the network stack in which they were opened.
    let mut server = Kernel::open()?;
    // The server's end first, so that the link works as soon as the client's end is up.
    for (kernel, device, address) in
        [(&mut server, &far, orders.address), (&mut client, &near, orders.client)]
    {
        let [a, b, c, _] = address.octets();
        let address = Address {
            local: IpAddr::V4(address),
            // The broadcast address, on an interface that has one.
            peer: Some(IpAddr::V4(Ipv4Addr::new(a, b, c, 255))),
            prefix: 24,
        };
        kernel.add_address(device, &address)?;
        kernel.set_up(device, true)?;
        kernel.set_up(LOOPBACK, true)?;
    }
    server.add_address(LOOPBACK, &Address { local: IpAddr::V4(orders.office), peer: None, prefix: 32 })?;
    Ok(server)
}
