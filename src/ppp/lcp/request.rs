//! Contents of our Configure-Requests.

use super::{DEFAULT_MRU, MIN_MRU, is_unknown, option};
use crate::ppp::{
    auth::AuthProtocol,
    wire::{Options, push},
};

/// Which options our requests contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestStyle {
    /// MRU and magic number. ACCM and header compression, which a tunnel hardly needs and some servers reject, follow
    /// the peer: a peer that requests one of them will accept ours. With `follow_mru` so does the MRU, down to the
    /// peer's: a server rarely carries more in one direction than in the other, and some refuse more.
    Short {
        /// Whether our MRU follows a smaller one of the peer.
        follow_mru: bool,
    },
    /// All options, as pppd does on a serial line.
    Full,
}

/// Options of our next request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LocalOptions {
    pub mru: Option<u16>,
    pub accm: Option<u32>,
    pub auth: Option<AuthProtocol>,
    pub magic: Option<u32>,
    pub pfc: bool,
    pub acfc: bool,
}

impl LocalOptions {
    /// Returns the options of the first request.
    pub fn initial(style: RequestStyle, mru: u16, auth: Option<AuthProtocol>, magic: u32) -> Self {
        let full = style == RequestStyle::Full;
        Self {
            mru: Some(mru).filter(|mru| *mru != DEFAULT_MRU),
            accm: full.then_some(0),
            auth,
            magic: Some(magic),
            pfc: full,
            acfc: full,
        }
    }

    /// Adds the options of the peer's request that ours may have, and returns whether that changes anything.
    pub fn follow(&mut self, options: Options<'_>, follow_mru: bool) -> bool {
        let before = *self;
        let has = |kind| options.find(kind).is_some_and(|option| !is_unknown(option));
        self.accm = before.accm.or(has(option::ACCM).then_some(0));
        self.pfc |= has(option::PFC);
        self.acfc |= has(option::ACFC);
        let theirs = options.find(option::MRU).and_then(|mru| mru.array()).map(u16::from_be_bytes);
        let ours = before.mru.unwrap_or(DEFAULT_MRU);
        if let Some(mru) = theirs.filter(|mru| follow_mru && (MIN_MRU..ours).contains(mru)) {
            self.mru = Some(mru);
        }
        *self != before
    }

    /// Writes the option list.
    pub fn write(&self, out: &mut Vec<u8>) {
        if let Some(mru) = self.mru {
            push(out, option::MRU, &mru.to_be_bytes());
        }
        if let Some(map) = self.accm {
            push(out, option::ACCM, &map.to_be_bytes());
        }
        if let Some(auth) = self.auth {
            push(out, option::AUTH, auth.lcp_option());
        }
        if let Some(magic) = self.magic {
            push(out, option::MAGIC, &magic.to_be_bytes());
        }
        if self.pfc {
            push(out, option::PFC, &[]);
        }
        if self.acfc {
            push(out, option::ACFC, &[]);
        }
    }
}
