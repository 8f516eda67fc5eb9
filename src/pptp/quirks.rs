//! What some servers need to hear instead of what the standard lets us say: one table, one row each.
//!
//! The rows say what differs in the client's own messages; `control` asks here and knows no server by name.

/// A kind of server with needs of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Quirks {
    /// A server like any other.
    #[default]
    None,
    /// Orckit Atur3 ADSL modems of Bezeq, Israel, which expect Windows NT's RELAY_PPP1.
    BezeqIsrael,
}

/// What the client says of itself and of its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Differences {
    /// The name under which a person selects the row.
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
    /// Outgoing-Call-Request: call id, in place of any other. It is the call's id everywhere: in the table of
    /// calls, in Call-Clear-Request and as the key of GRE packets.
    pub call_id: Option<u16>,
    /// Outgoing-Call-Request: serial number, in place of counting.
    pub serial: Option<u16>,
    /// Outgoing-Call-Request: bearer type.
    pub call_bearer: u32,
    /// Outgoing-Call-Request: number to dial if the caller names none.
    pub phone: Option<&'static str>,
    /// Set-Link-Info to send as soon as the call is up: send and receive ACCM.
    pub set_link_info: Option<(u32, u32)>,
}

/// What the classic client says to any server.
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
    /// Every row that a person can select.
    pub const ALL: [Self; 1] = [Self::BezeqIsrael];

    /// The row with this name; case matters, as it does in pptp(8).
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|quirks| quirks.name() == name)
    }

    /// The name that selects the row.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.differences().name
    }

    /// The row.
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
    fn names_select_rows_exactly() {
        assert_eq!(Quirks::by_name("BEZEQ_ISRAEL"), Some(Quirks::BezeqIsrael));
        assert_eq!(Quirks::by_name("bezeq_israel"), None);
        assert_eq!(Quirks::by_name("NONE"), None);
        assert_eq!(Quirks::default().differences().call_id, None);
    }
}
