//! Sets up a server: a network stack of its own, a link to the client's ([`make_wire`]), and sockets.
//!
//! It writes `ready` to standard output when it accepts calls, or `failed: ` or `denied: ` and the reason.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Write},
    net::TcpListener,
    os::fd::{AsFd, OwnedFd},
};

use super::{Server, gre_socket::GreSocket, http::HttpServer, wire::make_wire};
use crate::{
    demo::{
        call_table::CallTable,
        config::{Fault, ServerConfig},
        pool::Pool,
    },
    net::routes::Error,
    os::privileges,
    pptp::wire,
};

/// The hidden subcommand that runs this program as a server.
pub const ROLE: &str = "__serve";

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
        #[cfg(target_os = "linux")]
        let orphans = if std::process::id() == 1 { Some(super::wire::first_process()?) } else { None };
        #[cfg(not(target_os = "linux"))]
        let orphans = None;
        let kernel = make_wire(&orders).map_err(of_kernel)?;
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
            kernel,
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

fn of_kernel(error: Error) -> io::Error {
    let kind = error.errno.map_or(io::ErrorKind::Other, |errno| io::Error::from(errno).kind());
    io::Error::new(kind, error)
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
