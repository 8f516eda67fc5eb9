//! `pptpctl import`: profiles from the configuration of other PPTP clients.
//!
//! Each format has a file with a pure function from texts to [`Tunnel`]s: settings with their origins, a password, and
//! remarks about what was not carried over. Files are read through [`Sources`], which limits them. [`render`] writes a
//! tunnel as TOML, after [`accept`] has checked each setting with the profile reader: what it would refuse becomes a
//! remark. Content is never trusted: no parser panics, and no command that a file names is run.

mod accept;
mod draft;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzz;
mod ini;
mod kind;
mod mpd;
mod networkmanager;
mod ppp_commands;
mod ppp_conf;
mod ppp_start;
mod pppd;
mod pppd_table;
mod pptp_command;
mod rasphone;
mod render;
mod secrets;
mod security;
mod sources;
mod uci;
mod words;

use std::path::Path;

pub use draft::{Tunnel, quoted, shown, shown_whole};
pub use kind::Kind;
pub use ppp_start::is_start as starts_ppp;
pub use pppd::is_pptp as is_pptp_peer;
pub use render::{PLACEHOLDER, Place};
pub use sources::{MAX_SIZE, Source, Sources};

use crate::profile::ProfileName;

/// The tunnels of the files, and remarks about none of them.
#[derive(Default)]
pub struct Imported {
    /// The tunnels, each with the name of its profile.
    pub tunnels: Vec<(ProfileName, Tunnel)>,
    /// Remarks.
    pub remarks: Vec<String>,
}

/// Reads files of one kind. `name` is for the profile, if there is only one.
#[must_use]
pub fn import(kind: Kind, files: &[Source], sources: &Sources<'_>, name: Option<&ProfileName>) -> Imported {
    let mut tunnels = Vec::new();
    let mut remarks = Vec::new();
    if kind == Kind::Ppp {
        (tunnels, remarks) = ppp_conf::tunnels(files, sources);
    } else {
        for file in files {
            match kind {
                Kind::Pppd => tunnels.push(pppd::tunnel(file, sources)),
                Kind::NetworkManager => tunnels.push(networkmanager::tunnel(file)),
                Kind::OpenWrt => tunnels.extend(uci::tunnels(file, sources)),
                Kind::Mpd => tunnels.extend(mpd::tunnels(file, sources)),
                Kind::Windows => {
                    let (found, left) = rasphone::tunnels(file);
                    tunnels.extend(found);
                    remarks.extend(left);
                }
                Kind::Ppp => {}
            }
        }
    }
    let single = tunnels.len() == 1;
    let mut imported = Imported { tunnels: Vec::new(), remarks };
    for mut tunnel in tunnels {
        accept::keep_accepted(&mut tunnel);
        if !tunnel.has("server") {
            let label = shown(&tunnel.label);
            imported.remarks.push(format!("`{label}` names no PPTP server, so there is no profile for it"));
            let of_lines = tunnel.remarks().into_iter().filter(|remark| remark.origin.is_some());
            imported.remarks.extend(of_lines.map(ToString::to_string));
            continue;
        }
        let taken = |name: &ProfileName| imported.tunnels.iter().any(|(other, _)| other == name);
        let name = match name.filter(|_| single) {
            Some(name) => name.clone(),
            None => match render::profile_name(&tunnel.label, taken) {
                Some(name) => name,
                None => continue,
            },
        };
        imported.tunnels.push((name, tunnel));
    }
    imported.remarks.iter_mut().for_each(|remark| *remark = shown_whole(remark));
    imported
}

/// Returns the names of the PPTP tunnels in a file of a kind, for the list of what can be imported.
#[must_use]
pub fn names(kind: Kind, source: &Source) -> Vec<String> {
    match kind {
        Kind::Pppd | Kind::NetworkManager => {
            let name = Path::new(&*source.path).file_name().and_then(|name| name.to_str()).unwrap_or("vpn");
            vec![name.strip_suffix(".nmconnection").unwrap_or(name).to_owned()]
        }
        Kind::Ppp => {
            ppp_conf::labels(&source.text, &source.path).into_iter().map(|(label, _)| label).collect()
        }
        Kind::OpenWrt => uci::names(source),
        Kind::Mpd => mpd::names(source),
        Kind::Windows => rasphone::names(source),
    }
}

#[cfg(test)]
mod tests;
