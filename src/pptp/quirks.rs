//! Values that some servers need in the client's messages instead of the defaults, one row per kind of
//! server.
//!
//! `control` reads the row and has no code for any particular server.

/// A kind of server that needs particular values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Quirks {
    /// A server that accepts the defaults.
    #[default]
    None,
    /// Orckit Atur3 ADSL modems of Bezeq, Israel, which expect Windows NT's RELAY_PPP1.
    BezeqIsrael,
}

/// Values that the client sends about itself and its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Differences {
    /// The name by which the user selects the row.
    pub name: &'static str,
    /// Start-Control-Connection-Request: framing capabilities.
    pub framing: u32,
    /// Start-Control-Connection-Request: bearer capabilities.
    pub bearer: u32,
    /// Start-Control-Connection-Request: maximum channels.
    pub max_channels: u16,
    /// Start-Control-Connection-Request: firmware revision.
    pub firmware: u16,
    /// Start-Control-Connection-Request: host name.
    pub host_name: &'static str,
    /// Start-Control-Connection-Request: vendor.
    pub vendor: &'static str,
    /// Outgoing-Call-Request: call ID that overrides the owner's. It is used everywhere: in the table of
    /// calls, in Call-Clear-Request and as the key of GRE packets.
    pub call_id: Option<u16>,
    /// Outgoing-Call-Request: fixed serial number; `None`: a counter.
    pub serial: Option<u16>,
    /// Outgoing-Call-Request: bearer type.
    pub call_bearer: u32,
    /// Outgoing-Call-Request: number to dial if the request has none.
    pub phone: Option<&'static str>,
    /// Set-Link-Info to send as soon as the call is up: send and receive ACCM.
    pub set_link_info: Option<(u32, u32)>,
}

/// The values that pptp(8) sends to any server.
const NONE: Differences = Differences {
    name: "NONE",
    framing: 3,
    bearer: 3,
    max_channels: 0xFFFF,
    firmware: 1,
    host_name: "local",
    vendor: "cananian",
    call_id: None,
    serial: None,
    call_bearer: 3,
    phone: None,
    set_link_info: None,
};

const BEZEQ_ISRAEL: Differences = Differences {
    name: "BEZEQ_ISRAEL",
    framing: 1,
    bearer: 1,
    max_channels: 0,
    firmware: 0x6021,
    host_name: "RELAY_PPP1",
    vendor: "MS Win NT",
    call_id: Some(0),
    serial: Some(0),
    call_bearer: 2,
    phone: Some("RELAY_PPP1"),
    set_link_info: Some((0xFFFF_FFFF, 0xFFFF_FFFF)),
};

impl Quirks {
    /// Every row that the user can select.
    pub const ALL: [Self; 1] = [Self::BezeqIsrael];

    /// Returns the row with this name; case matters, as in pptp(8).
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|quirks| quirks.name() == name)
    }

    /// Returns the name that selects the row.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.differences().name
    }

    /// Returns the row.
    #[must_use]
    pub const fn differences(self) -> &'static Differences {
        match self {
            Self::None => &NONE,
            Self::BezeqIsrael => &BEZEQ_ISRAEL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_exactly() {
        assert_eq!(Quirks::by_name("BEZEQ_ISRAEL"), Some(Quirks::BezeqIsrael));
        assert_eq!(Quirks::by_name("bezeq_israel"), None);
        assert_eq!(Quirks::by_name("NONE"), None);
        assert_eq!(Quirks::default().differences().call_id, None);
    }
}
