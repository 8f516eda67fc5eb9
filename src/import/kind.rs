//! The kinds of configuration, and how a file's kind is found out.

use super::{mpd, networkmanager, ppp_conf, ppp_start, pppd, sources::Source};

/// The program whose configuration is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// pppd(8) with pptp(8) or the plug-in of accel-pptp: `/etc/ppp/peers`.
    Pppd,
    /// ppp(8): ppp.conf, ppp.linkup, ppp.linkdown.
    Ppp,
    /// NetworkManager: a keyfile.
    NetworkManager,
    /// OpenWrt: `/etc/config/network`.
    OpenWrt,
    /// mpd5: mpd.conf.
    Mpd,
    /// Windows: rasphone.pbk.
    Windows,
}

/// A kind, with what it was recognized by.
pub type Verdict = (Kind, &'static str);

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Pppd, Self::Ppp, Self::NetworkManager, Self::OpenWrt, Self::Mpd, Self::Windows];

    /// Returns the word for `--from`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pppd => "pppd",
            Self::Ppp => "ppp",
            Self::NetworkManager => "networkmanager",
            Self::OpenWrt => "openwrt",
            Self::Mpd => "mpd",
            Self::Windows => "windows",
        }
    }

    /// Returns what such a file is, for a message.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Pppd => "options of pppd(8)",
            Self::Ppp => "the configuration of ppp(8)",
            Self::NetworkManager => "a connection of NetworkManager",
            Self::OpenWrt => "the network configuration of OpenWrt",
            Self::Mpd => "the configuration of mpd5",
            Self::Windows => "a phone book of Windows",
        }
    }

    /// Finds out the kind of a file from its content, and where that fits several kinds, from its name.
    #[must_use]
    pub fn detect(source: &Source) -> Option<Verdict> {
        let path = source.as_path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let has_line = |wanted: &dyn Fn(&str) -> bool| source.text.lines().any(|line| wanted(line.trim()));
        let starts = |line: &str, words: &[&str]| {
            let mut all = line.split_whitespace();
            words.iter().all(|word| all.next().is_some_and(|next| next.trim_matches(['\'', '"']) == *word))
        };
        if networkmanager::is_pptp(source) {
            return Some((Self::NetworkManager, "it has service-type=org.freedesktop.NetworkManager.pptp"));
        }
        if has_line(&|line| line.eq_ignore_ascii_case("DEVICE=vpn")) {
            return Some((Self::Windows, "it has DEVICE=vpn"));
        }
        if has_line(&|line| starts(line, &["option", "proto", "pptp"])) {
            return Some((Self::OpenWrt, "it has `option proto pptp`"));
        }
        if has_line(&|line| starts(line, &["create", "link"])) && !mpd::names(source).is_empty() {
            return Some((Self::Mpd, "it has `create link … pptp` and `set pptp peer`"));
        }
        if matches!(name, "ppp.linkup" | "ppp.linkdown") {
            return Some((Self::Ppp, "its name"));
        }
        if ppp_conf::is_conf(&source.text) {
            return Some((Self::Ppp, "it has a label with `set device \"!…\"`"));
        }
        if pppd::is_pptp(source) {
            return Some((Self::Pppd, "it has `pty \"pptp …\"` or `plugin pptp.so`"));
        }
        if pppd::is_peer(path) {
            return Some((Self::Pppd, "its directory is ppp/peers"));
        }
        if ppp_start::is_start(source) {
            return Some((Self::Ppp, "a line starts ppp"));
        }
        None
    }
}
