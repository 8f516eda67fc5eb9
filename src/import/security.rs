//! The choice of authentication and encryption.
//!
//! What the old configuration demands or excludes is carried over. Where it leaves a choice to the server, the
//! profile has the strongest, and a remark names the others: an import must not make a tunnel weaker unseen.

use super::draft::{Origin, Tunnel, Value};

/// The protocols that the old configuration accepts, strongest first, as `auth` names them.
pub const PROTOCOLS: [&str; 4] = ["mschapv2", "mschap", "chap", "pap"];

/// Which protocols may be used to log in, and which encryption.
#[derive(Clone, Default)]
pub struct Security {
    /// A line that refuses a protocol, in the order of [`PROTOCOLS`].
    pub refused: [Option<Origin>; 4],
    /// The encryption.
    pub encryption: Encryption,
    /// Whether stateful encryption is accepted beside stateless.
    pub stateful: bool,
    /// Whether stateless encryption is refused.
    pub only_stateful: bool,
    /// Whether the format has its own remark about the protocols.
    pub is_told: bool,
}

/// The encryption that the old configuration asks for.
#[derive(Clone, Default)]
pub enum Encryption {
    /// The old program uses none unless a line says so.
    #[default]
    Never,
    /// A line refuses it.
    Refused(Origin),
    /// It is used if the server wants it, or none; the line, if there is one.
    Optional(Option<Origin>),
    /// A line demands it.
    Demanded {
        /// The line.
        origin: Origin,
        /// The shortest key that is accepted, in bits.
        least: u32,
        /// The longest, in bits.
        most: u32,
    },
}

impl Security {
    /// Refuses a protocol.
    pub fn refuse(&mut self, protocol: &str, origin: &Origin) {
        for (name, refused) in PROTOCOLS.iter().zip(&mut self.refused) {
            if *name == protocol {
                *refused = Some(origin.clone());
            }
        }
    }

    /// Takes a refusal back.
    pub fn accept(&mut self, protocol: &str) {
        for (name, refused) in PROTOCOLS.iter().zip(&mut self.refused) {
            if *name == protocol {
                *refused = None;
            }
        }
    }

    /// Demands encryption.
    pub fn demand(&mut self, origin: &Origin, least: u32, most: u32) {
        self.encryption = Encryption::Demanded { origin: origin.clone(), least, most };
    }

    /// Writes `auth` and `mppe`.
    pub fn apply(&self, tunnel: &mut Tunnel, program: &str) {
        let encrypts = self.encryption(tunnel, program);
        let usable = |protocol: &&str| !encrypts || matches!(*protocol, "mschapv2" | "mschap");
        let free = PROTOCOLS.into_iter().zip(&self.refused).filter(|(_, refused)| refused.is_none());
        let free: Vec<&str> = free.map(|(name, _)| name).collect();
        let Some((best, others)) = free.split_first() else {
            tunnel.note(format!(
                "{program} would accept no authentication that pptpctl has: `auth` is its default"
            ));
            return;
        };
        let others: Vec<&str> = others.iter().copied().filter(usable).collect();
        if *best != "mschapv2" {
            if encrypts && *best != "mschap" {
                tunnel.note(format!(
                    "encryption needs MS-CHAP, which {program} would not use here: `auth` is its default"
                ));
                return;
            }
            let origin = self.refused.iter().flatten().next();
            let list = Value::Toml(format!("[\"{best}\"]"));
            match origin {
                Some(origin) => tunnel.set("auth", list, origin),
                None => tunnel.imply("auth", list, ""),
            }
        }
        if !others.is_empty() && !self.is_told {
            tunnel.note(format!(
                "{program} would also log in by {}; this profile by {best} only: if `up` says that the server asks for \
                 another, extend `auth`",
                others.join(", ")
            ));
        }
    }

    /// Writes `mppe`; returns whether encryption is required.
    fn encryption(&self, tunnel: &mut Tunnel, program: &str) -> bool {
        match &self.encryption {
            Encryption::Never => {
                tunnel.imply("mppe", "off", "no line asks for encryption");
                tunnel.note(format!(
                    "no line asks for encryption, so {program} has used none, and neither does this profile: anyone on \
                     the path can read the packets; remove `mppe = \"off\"` to require 128 bits"
                ));
                false
            }
            Encryption::Refused(origin) => {
                tunnel.set("mppe", "off", origin);
                false
            }
            Encryption::Optional(origin) => {
                let text = format!(
                    "{program} would go on without encryption if the server has none; this profile requires 128 bits \
                     (`mppe = \"allow\"` does not)"
                );
                match origin {
                    Some(origin) => {
                        tunnel.set("mppe", "require-128", origin);
                        tunnel.changed(origin, "encryption", &text);
                    }
                    None => {
                        tunnel.imply("mppe", "require-128", "the strongest that it would use");
                        tunnel.note(text);
                    }
                }
                true
            }
            Encryption::Demanded { origin, least, most } => {
                let bits = match *most {
                    128.. => 128,
                    56..128 => 56,
                    _ => 40,
                };
                let suffix = if self.only_stateful { "+stateful" } else { "" };
                tunnel.set("mppe", format!("require-{bits}{suffix}").as_str(), origin);
                if *least < bits {
                    let text = format!(
                        "{program} would also accept {least} bits; this profile requires {bits} \
                         (`mppe = \"require-{least}\"` does not)"
                    );
                    tunnel.changed(origin, "encryption", &text);
                }
                if bits < 128 {
                    let text = format!("{program} accepts {bits} bits only; this profile also accepts more");
                    tunnel.changed(origin, "encryption", &text);
                }
                if self.stateful && !self.only_stateful {
                    let text = "stateless is tried first; this profile accepts only that (the suffix \"+stateful\" \
                                accepts both)";
                    tunnel.changed(origin, "stateful encryption", text);
                }
                true
            }
        }
    }
}
