//! A VPN service of NetworkManager for the connections of its PPTP plug-in (network-manager-pptp): it runs `pptpctl`.
//!
//! NetworkManager starts one process for each connection and calls the methods of the interface
//! `org.freedesktop.NetworkManager.VPN.Plugin` (`plugin`). The connection's settings become a profile (`settings`);
//! `pptpctl up --foreground --json` brings the tunnel up (`tunnel`), and its events become the signals of the interface
//! (`report`). Routes and resolvers are NetworkManager's: the profile has `link.manage = false`.

mod plugin;
mod report;
mod settings;
mod tunnel;

use std::{process::ExitCode, sync::Arc, thread, time::Duration};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use zbus::blocking::{Connection, connection, fdo::DBusProxy};

use crate::plugin::{PATH, Plugin, Service};

/// The service of network-manager-pptp, whose editors and connections this one takes over.
const BUS_NAME: &str = "org.freedesktop.NetworkManager.pptp";
const NETWORK_MANAGER: &str = "org.freedesktop.NetworkManager";

/// How long a process without a connection stays.
const IDLE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let bus_name = match bus_name(std::env::args().skip(1)) {
        Ok(name) => name,
        Err(wrong) => {
            eprintln!("nm-pptpctl-service: {wrong}");
            return ExitCode::from(2);
        }
    };
    match serve(&bus_name) {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("nm-pptpctl-service: {wrong}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the options that NetworkManager passes.
fn bus_name(mut arguments: impl Iterator<Item = String>) -> Result<String, String> {
    let mut name = BUS_NAME.to_owned();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bus-name" => name = arguments.next().ok_or("--bus-name needs a name")?,
            // Options of the other plug-ins, for runs by hand.
            "--debug" | "--persist" => {}
            other => match other.strip_prefix("--bus-name=") {
                Some(given) => name = given.to_owned(),
                None => {
                    return Err(format!(
                        "unknown argument {other}; NetworkManager starts this program: nm-pptpctl-service [--bus-name NAME]"
                    ));
                }
            },
        }
    }
    Ok(name)
}

/// Serves until the connection has ended, NetworkManager or the bus is gone, or nobody has asked for anything.
fn serve(bus_name: &str) -> zbus::Result<()> {
    let service = Arc::new(Service::default());
    let connection: Connection =
        connection::Builder::system()?.serve_at(PATH, Plugin::new(service.clone()))?.build()?;
    service.connected(connection.clone());
    // Before the name is there: NetworkManager calls as soon as it sees it.
    let watched = service.clone();
    let changes =
        DBusProxy::new(&connection)?.receive_name_owner_changed_with_args(&[(0, NETWORK_MANAGER)])?;
    thread::spawn(move || {
        let is_gone =
            |change: zbus::fdo::NameOwnerChanged| change.args().is_ok_and(|args| args.new_owner().is_none());
        // The iterator also ends with the connection to the bus.
        let _gone = changes.into_iter().any(is_gone);
        watched.end("NetworkManager is gone from the bus");
    });
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(zbus::Error::from)?;
    let signalled = service.clone();
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            signalled.end("asked to exit");
        }
    });
    connection.request_name(bus_name)?;
    service.wait_until_done(IDLE);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bus_name_is_the_one_that_networkmanager_gives() {
        let read = |words: &[&str]| bus_name(words.iter().map(|word| (*word).to_owned()));
        assert_eq!(read(&[]).as_deref(), Ok(BUS_NAME));
        let numbered = "org.freedesktop.NetworkManager.pptp.Connection_3";
        assert_eq!(read(&["--bus-name", numbered]).as_deref(), Ok(numbered));
        assert_eq!(read(&["--debug", &format!("--bus-name={numbered}")]).as_deref(), Ok(numbered));
        assert!(read(&["--bus-name"]).is_err() && read(&["up"]).is_err());
    }
}
