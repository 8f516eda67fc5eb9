//! Any bytes as files of the old configurations.

use std::{io, path::Path};

use super::{Kind, Place, Source, Sources, import};
use crate::{
    platform::CONFIG_DIR,
    profile::{ProfileName, Profiles},
};

/// Takes the first byte for the kind and the rest for the file, which is also every file that it names. The TOML that
/// comes out must be accepted by the TOML parser and must not contain what only a password has.
///
/// # Errors
/// Returns what was wrong with it.
pub fn files(data: &[u8]) -> Result<(), String> {
    let Some((first, rest)) = data.split_first() else { return Ok(()) };
    let Some(kind) = Kind::ALL.get(usize::from(*first) % Kind::ALL.len()) else { return Ok(()) };
    let path = match kind {
        Kind::Pppd => "/etc/ppp/peers/x",
        Kind::Ppp => "/etc/ppp/ppp.conf",
        Kind::NetworkManager => "/x.nmconnection",
        Kind::OpenWrt => "/etc/config/network",
        Kind::Mpd => "/mpd.conf",
        Kind::Windows => "/rasphone.pbk",
    };
    let Ok(source) = Source::new(path, rest) else { return Ok(()) };
    let _verdict = Kind::detect(&source);
    let _names = super::names(*kind, &source);
    let read = |path: &Path| -> io::Result<Vec<u8>> {
        if path.to_string_lossy().ends_with('z') {
            Err(io::ErrorKind::NotFound.into())
        } else {
            Ok(rest.to_vec())
        }
    };
    let imported = import(*kind, &[source], &Sources::new(&read), None);
    let mut names: Vec<&ProfileName> = Vec::new();
    for (name, tunnel) in &imported.tunnels {
        if names.contains(&name) {
            return Err(format!("two profiles are called {name}"));
        }
        names.push(name);
        let place = Place::of(Path::new(CONFIG_DIR), name);
        let toml = tunnel.toml(name, kind.title(), &place, false);
        let profiles = Profiles::from_text(&place.profile, &toml, false);
        if profiles.names().collect::<Vec<_>>() != [name] {
            return Err(format!("no TOML with one profile:\n{toml}"));
        }
        let told =
            tunnel.remarks().into_iter().map(ToString::to_string).chain(imported.remarks.iter().cloned());
        if let Some(remark) = told.into_iter().find(|remark| remark.contains('\n')) {
            return Err(format!("a remark of several lines: {remark:?}"));
        }
    }
    Ok(())
}
