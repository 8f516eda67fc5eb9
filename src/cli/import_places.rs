//! The places where other PPTP clients have their configuration.

use std::{
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{
    exit::{self, Code},
    import_files::read_file,
    output::{complain, data, error, line},
};
use crate::import::{self, Kind, Source, shown};

/// Directories of which each file is one connection.
const DIRECTORIES: [(&str, Kind); 4] = [
    ("etc/ppp/peers", Kind::Pppd),
    ("etc/NetworkManager/system-connections", Kind::NetworkManager),
    ("run/NetworkManager/system-connections", Kind::NetworkManager),
    ("usr/lib/NetworkManager/system-connections", Kind::NetworkManager),
];
/// Files that have all connections.
const FILES: [(&str, Kind); 4] = [
    ("etc/ppp/ppp.conf", Kind::Ppp),
    ("etc/config/network", Kind::OpenWrt),
    ("usr/local/etc/mpd5/mpd.conf", Kind::Mpd),
    ("etc/mpd5/mpd.conf", Kind::Mpd),
];
/// Files that may start ppp(8).
const STARTS: [&str; 3] = ["etc/rc.conf", "etc/rc.conf.local", "etc/rc.local"];
/// The most files that are read in a directory.
const MAX_FILES: usize = 1000;

/// Lists what can be imported below a root directory, each with the command that does it.
pub fn list(root: &Path, json: bool) -> Code {
    let (found, unread) = find(root);
    if json {
        let places: Vec<_> = found
            .iter()
            .map(|place| {
                let files: Vec<&str> = place.files.iter().map(|file| &**file).collect();
                serde_json::json!({ "kind": place.kind.word(), "files": files, "tunnels": place.tunnels })
            })
            .collect();
        data(serde_json::json!({ "found": places, "unread": unread }));
    } else {
        for place in &found {
            line(format_args!("{}   # {}", place.command(), place.what()));
        }
        unread.iter().for_each(error);
    }
    if found.is_empty() {
        let places = DIRECTORIES.iter().chain(&FILES).map(|(path, _)| root.join(path).display().to_string());
        complain("no PPTP tunnel of another client was found in:");
        places.for_each(|place| complain(format_args!("  {place}")));
        complain("name a file: pptpctl import FILE");
        return exit::PROFILE;
    }
    exit::OK
}

/// What can be imported by one command.
struct Found {
    kind: Kind,
    files: Vec<Rc<str>>,
    /// The names of the tunnels in them.
    tunnels: Vec<String>,
}

impl Found {
    fn command(&self) -> String {
        let files: Vec<String> = self.files.iter().map(|file| word(file)).collect();
        format!("pptpctl import {}", files.join(" "))
    }

    fn what(&self) -> String {
        format!("{}: {}", self.kind.word(), shown(&self.tunnels.join(", ")))
    }
}

/// Returns what can be imported, and what could not be read.
fn find(root: &Path) -> (Vec<Found>, Vec<String>) {
    let mut found = Vec::new();
    let mut unread = Vec::new();
    let mut told = |path: &Path, why: &io::Error| {
        if why.kind() != io::ErrorKind::NotFound {
            let sudo = if why.kind() == io::ErrorKind::PermissionDenied { ": try sudo" } else { "" };
            unread.push(format!("{}: {why}{sudo}", path.display()));
        }
    };
    let mut files: Vec<(PathBuf, Kind)> = Vec::new();
    for (directory, kind) in DIRECTORIES {
        let directory = root.join(directory);
        match fs::read_dir(&directory) {
            Ok(entries) => {
                let mut paths: Vec<PathBuf> = entries
                    .flatten()
                    .take(MAX_FILES)
                    .map(|entry| entry.path())
                    .filter(|path| path.is_file())
                    .collect();
                paths.sort();
                files.extend(paths.into_iter().map(|path| (path, kind)));
            }
            Err(why) => told(&directory, &why),
        }
    }
    files.extend(FILES.iter().map(|(path, kind)| (root.join(path), *kind)));
    for (path, kind) in files {
        let source = match read_file(&path) {
            Ok(bytes) => Source::new(&path.to_string_lossy(), &bytes),
            Err(why) => {
                told(&path, &why);
                continue;
            }
        };
        // Other kinds of connections are skipped.
        let Some(source) = source.ok().filter(|source| is_pptp(source, kind)) else { continue };
        let tunnels = import::names(kind, &source);
        if tunnels.is_empty() {
            continue;
        }
        let mut files = vec![source.path.clone()];
        if kind == Kind::Ppp {
            for start in STARTS.iter().map(|start| root.join(start)) {
                let source = read_file(&start)
                    .ok()
                    .and_then(|bytes| Source::new(&start.to_string_lossy(), &bytes).ok());
                if let Some(source) = source.filter(import::starts_ppp) {
                    files.push(source.path.clone());
                }
            }
        }
        found.push(Found { kind, files, tunnels });
    }
    (found, unread)
}

fn is_pptp(source: &Source, kind: Kind) -> bool {
    match kind {
        Kind::Pppd => import::is_pptp_peer(source),
        _ => Kind::detect(source).is_some_and(|(detected, _)| detected == kind),
    }
}

/// Returns a word as a shell needs it.
pub fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", import::shown_whole(text).replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_places_are_listed_with_their_commands() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let (found, unread) = find(root.path());
        assert_eq!((found.len(), unread), (0, Vec::new()));
        put("etc/ppp/peers/office", "pty \"pptp vpn.example.net --nolaunchpppd\"\nname alice\n");
        put("etc/ppp/peers/dsl", "plugin rp-pppoe.so\nnic-eth0\n");
        put(
            "etc/NetworkManager/system-connections/My VPN.nmconnection",
            "[vpn]\nservice-type=org.freedesktop.NetworkManager.pptp\n",
        );
        put("etc/NetworkManager/system-connections/wifi.nmconnection", "[connection]\ntype=wifi\n");
        put(
            "etc/ppp/ppp.conf",
            "a:\n set device \"!pptp x\"\nb:\n set device \"!/usr/sbin/pptp y\"\nc:\n set device PPPoE:em0\n",
        );
        put("etc/rc.local", "/usr/sbin/ppp -unit0 -ddial a\n");
        put("etc/config/network", "config interface 'vpn'\n\toption proto 'pptp'\n");
        put("usr/local/etc/mpd5/mpd.conf", "v:\n\tcreate link static L1 pptp\n\tset pptp peer x\n");
        let (found, unread) = find(root.path());
        let found: Vec<String> =
            found.iter().map(|place| format!("{} # {}", place.command(), place.what())).collect();
        let text = found.join("\n").replace(&root.path().display().to_string(), "");
        assert_eq!(
            text,
            "pptpctl import /etc/ppp/peers/office # pppd: office\n\
             pptpctl import '/etc/NetworkManager/system-connections/My VPN.nmconnection' # networkmanager: My VPN\n\
             pptpctl import /etc/ppp/ppp.conf /etc/rc.local # ppp: a, b\n\
             pptpctl import /etc/config/network # openwrt: vpn\n\
             pptpctl import /usr/local/etc/mpd5/mpd.conf # mpd: v"
        );
        assert_eq!(unread, [""; 0]);
    }
}
