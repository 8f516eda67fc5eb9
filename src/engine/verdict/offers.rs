//! What both sides offer of authentication and encryption, and the keys of the profile that would fit. No I/O.

use super::advice::IN_CLEAR;
use crate::ppp::{
    auth::AuthProtocol,
    ccp::MppeRefusal,
    mppe::{Demand, Policy, Strength, option},
};

/// What this side accepts, and what the server has offered or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offers {
    /// Authentication protocols that the profile accepts.
    pub auth: Vec<AuthProtocol>,
    /// Encryption that the profile accepts.
    pub mppe: Policy,
    /// Authentication protocols that the server has offered and that were not accepted.
    pub offered_auth: Vec<String>,
    /// What the server has refused of MPPE.
    pub mppe_refusal: Option<MppeRefusal>,
}

impl Offers {
    /// Returns the hints for a server with which no authentication could be agreed on: the value of each key that
    /// would have to change, all at once, and what that costs.
    #[must_use]
    pub fn auth_hints(&self) -> Vec<String> {
        let known: Vec<_> = AuthProtocol::ALL.into_iter().rev().filter(|one| self.is_offered(*one)).collect();
        let Some(best) = known.iter().copied().find(|one| one.gives_keys()).or(known.first().copied()) else {
            return self.unknown_hints();
        };
        let others = self.offered_auth.len() > 1;
        let what = if others { self.offered_auth.join(", ") } else { format!("{best} only") };
        let mut keys = Vec::new();
        if !self.auth.contains(&best) {
            keys.push(format!("auth = [\"{}\"]", word(best)));
        }
        if !best.gives_keys() && self.mppe.demand == Demand::Require {
            keys.push("mppe = \"off\"".to_owned());
        }
        let needed = match keys.as_slice() {
            [] => return Vec::new(),
            [one] => format!("the profile would need {one}"),
            _ => format!("the profile would need both {}", keys.join(" and ")),
        };
        let mut hints = vec![format!("the server offers {what}; to use it, {needed}")];
        match best {
            AuthProtocol::Pap => hints.push(
                "what that costs: the password crosses the network in clear, and nothing in the tunnel is encrypted, as MPPE takes its keys from MS-CHAP".to_owned(),
            ),
            AuthProtocol::ChapMd5 => hints.push(
                "what that costs: nothing in the tunnel is encrypted, as MPPE takes its keys from MS-CHAP, and the server does not prove who it is".to_owned(),
            ),
            AuthProtocol::MsChapV1 => hints.push(
                "what that costs: MS-CHAPv1 is broken, and the server does not prove who it is".to_owned(),
            ),
            AuthProtocol::MsChapV2 => {}
        }
        if !best.gives_keys() {
            hints.push("better: ask the server's administrator to allow MS-CHAPv2".to_owned());
        }
        hints
    }

    fn is_offered(&self, protocol: AuthProtocol) -> bool {
        self.offered_auth.iter().any(|one| *one == protocol.to_string())
    }

    fn unknown_hints(&self) -> Vec<String> {
        if self.offered_auth.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "the server offers {}, which pptpctl does not have: no key of the profile helps; ask its administrator to allow MS-CHAPv2",
            self.offered_auth.join(", ")
        )]
    }

    /// Returns the hints for a server that has refused MPPE, by what exactly it refused.
    #[must_use]
    pub fn mppe_hints(&self) -> Vec<String> {
        let turn_on = format!(
            "its administrator has to turn MPPE on, for mppe = \"{}\" in the profile",
            self.required()
        );
        match self.mppe_refusal {
            None => Vec::new(),
            Some(MppeRefusal::Protocol) => vec![
                "this server has no MPPE at all: no other strength or mode helps".to_owned(),
                turn_on,
                IN_CLEAR.to_owned(),
            ],
            Some(MppeRefusal::Option) => vec![
                "this server probably has no MPPE, as a pppd without the kernel module ppp_mppe: one with another strength would name it".to_owned(),
                turn_on,
                IN_CLEAR.to_owned(),
            ],
            Some(MppeRefusal::Bits(bits)) => match self.bits_hints(bits) {
                hints if hints.is_empty() => {
                    vec!["this server names no strength of MPPE: it has none turned on".to_owned(), turn_on, IN_CLEAR.to_owned()]
                }
                hints => hints,
            },
        }
    }

    /// Returns whether the profile accepts an authentication that gives keys for MPPE.
    #[must_use]
    pub fn accepts_keys(&self) -> bool {
        self.auth.iter().any(|one| one.gives_keys())
    }

    /// Returns the value of `mppe` in the profile.
    fn required(&self) -> String {
        format!("require-{}{}", self.mppe.min.bits(), if self.mppe.stateful { "+stateful" } else { "" })
    }

    fn bits_hints(&self, bits: u32) -> Vec<String> {
        let Some(strength) = Strength::strongest(bits, Strength::Bits40, Strength::Bits128) else {
            return Vec::new();
        };
        let stateful = bits & option::STATELESS == 0;
        let suffix = if stateful || self.mppe.stateful { "+stateful" } else { "" };
        let value = format!("require-{}{suffix}", strength.bits());
        if value == self.required() {
            return vec![format!(
                "the profile accepts {strength} already, but the server insists on more than one strength or on other bits: \
                 its administrator has to turn on {strength} alone"
            )];
        }
        let mut hints = vec![format!("to accept what it offers: mppe = \"{value}\"")];
        if strength < Strength::Bits128 {
            hints.push(format!("what that costs: {} bits can be broken by trying all keys", strength.bits()));
        }
        if stateful && !self.mppe.stateful {
            hints.push(
                "what that costs: in stateful mode a lost packet takes the following ones with it".to_owned(),
            );
        }
        hints
    }
}

/// Returns the word for `auth` in a profile.
const fn word(protocol: AuthProtocol) -> &'static str {
    match protocol {
        AuthProtocol::Pap => "pap",
        AuthProtocol::ChapMd5 => "chap",
        AuthProtocol::MsChapV1 => "mschap",
        AuthProtocol::MsChapV2 => "mschapv2",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(auth: &[AuthProtocol], demand: Demand, offered: &[&str]) -> Offers {
        Offers {
            auth: auth.to_vec(),
            mppe: Policy { demand, min: Strength::Bits128, max: Strength::Bits128, stateful: false },
            offered_auth: offered.iter().map(|one| (*one).to_owned()).collect(),
            mppe_refusal: None,
        }
    }

    #[test]
    fn all_keys_that_have_to_change_are_named_at_once() {
        use AuthProtocol::{MsChapV1, MsChapV2, Pap};
        for (auth, demand, offered, wanted, unwanted) in [
            (
                &[MsChapV2][..],
                Demand::Require,
                &["PAP"][..],
                "need both auth = [\"pap\"] and mppe = \"off\"",
                "mschapv2",
            ),
            (
                &[MsChapV2],
                Demand::Require,
                &["CHAP-MD5"],
                "need both auth = [\"chap\"] and mppe = \"off\"",
                "clear",
            ),
            (&[MsChapV2], Demand::Off, &["PAP"], "need auth = [\"pap\"]", "mppe ="),
            (&[MsChapV2], Demand::Allow, &["CHAP-MD5"], "need auth = [\"chap\"]", "mppe ="),
            (&[Pap, MsChapV2], Demand::Require, &["PAP"], "need mppe = \"off\"", "auth ="),
            // A protocol that gives keys needs no change of mppe.
            (&[MsChapV2], Demand::Require, &["PAP", "MS-CHAPv1"], "need auth = [\"mschap\"]", "mppe ="),
            (&[MsChapV1], Demand::Require, &["MS-CHAPv2"], "need auth = [\"mschapv2\"]", "costs"),
            (&[Pap], Demand::Off, &["PAP", "CHAP-MD5"], "need auth = [\"chap\"]", "mppe ="),
        ] {
            let hints = offers(auth, demand, offered).auth_hints();
            assert!(hints[0].contains(wanted), "{hints:?}");
            assert!(!hints.iter().any(|hint| hint.contains(unwanted)), "{unwanted}: {hints:?}");
        }
        let pap = offers(&[MsChapV2], Demand::Require, &["PAP"]).auth_hints();
        assert!(
            pap[0].contains("offers PAP only") && pap[1].contains("password crosses the network in clear"),
            "{pap:?}"
        );
    }

    #[test]
    fn unknown_protocols_have_no_key() {
        let hints = offers(&[AuthProtocol::MsChapV2], Demand::Require, &["EAP"]).auth_hints();
        assert!(
            hints.len() == 1 && hints[0].contains("EAP") && hints[0].contains("no key of the profile helps"),
            "{hints:?}"
        );
        assert!(offers(&[AuthProtocol::MsChapV2], Demand::Require, &[]).auth_hints().is_empty());
    }

    #[test]
    fn each_refusal_of_mppe_has_its_own_hints() {
        let of = |refusal| {
            let refused = Offers {
                mppe_refusal: Some(refusal),
                ..offers(&[AuthProtocol::MsChapV2], Demand::Require, &[])
            };
            refused.mppe_hints()
        };
        let protocol = of(MppeRefusal::Protocol);
        assert!(protocol[0].contains("no MPPE at all"), "{protocol:?}");
        let option = of(MppeRefusal::Option);
        assert!(option[0].contains("probably has no MPPE"), "{option:?}");
        for hints in [protocol, option] {
            assert!(!hints.iter().any(|hint| hint.contains("40")), "{hints:?}");
            assert!(hints.iter().any(|hint| hint.contains("mppe = \"off\"")), "{hints:?}");
        }
        for (bits, key) in [
            (option::STATELESS | option::BITS_40, "\"require-40\""),
            (option::BITS_40, "\"require-40+stateful\""),
            (option::STATELESS | option::BITS_40 | option::BITS_56, "\"require-56\""),
            (option::BITS_128, "\"require-128+stateful\""),
        ] {
            let hints = of(MppeRefusal::Bits(bits));
            assert!(hints[0].contains(key), "{bits:x}: {hints:?}");
            assert!(!hints.iter().any(|hint| hint.contains("\"off\"")), "{hints:?}");
        }
        let none = of(MppeRefusal::Bits(0));
        assert!(none[0].contains("names no strength") && none[2].contains("mppe = \"off\""), "{none:?}");
        // A value that the profile has already is no way out.
        let all = of(MppeRefusal::Bits(option::STATELESS | option::BITS_40 | option::BITS_128));
        assert!(all[0].contains("accepts") && !all[0].contains("to accept what it offers"), "{all:?}");
    }
}
