//! What a protocol brings to the automaton: its options, and how they are answered.

use crate::ppp::wire::{Options, RawOption, push};

/// The options of one protocol: what we ask for, and how we judge what the peer asks for.
///
/// The automaton calls these in the order of the exchange; an implementation holds values, never packets or timers.
pub trait OptionSet {
    /// The PPP protocol number whose packets these are.
    const PROTOCOL: u16;

    /// A fresh negotiation begins: forget what an earlier one taught us.
    fn restart(&mut self);

    /// Writes the option list of our next Configure-Request.
    fn request(&self, out: &mut Vec<u8>);

    /// The peer acknowledged the list that [`Self::request`] wrote last.
    fn acked(&mut self);

    /// The peer wants other values. `insists` is set once it has done so often enough that there is no point in asking
    /// for the same again.
    fn nakked(&mut self, options: Options<'_>, insists: bool);

    /// The peer does not know, or does not want, these options of our request.
    fn rejected(&mut self, options: Options<'_>);

    /// Judges the peer's Configure-Request. What is neither rejected nor nakked is acknowledged; nothing is taken over
    /// before [`Self::accept`].
    fn judge(&mut self, options: Options<'_>, reply: &mut Reply);

    /// The peer's Configure-Request has been acknowledged as it stands: take its values over.
    fn accept(&mut self, options: Options<'_>);

    /// Whether the protocol has this code beyond the seven that the automaton handles itself.
    fn knows_code(&self, code: u8) -> bool {
        let _ = code;
        false
    }
}

/// The answer to a Configure-Request, collected option by option (RFC 1661 §5.2 to §5.4).
#[derive(Debug)]
pub struct Reply {
    rejects: Vec<u8>,
    naks: Vec<u8>,
    persuading: bool,
}

impl Reply {
    /// `persuading` is cleared once Max-Failure Naks did not help: from then on every Nak becomes a Reject, and nothing
    /// is suggested that the peer did not ask for (RFC 1661 §4.6).
    #[must_use]
    pub fn new(persuading: bool) -> Self {
        Self { rejects: Vec::new(), naks: Vec::new(), persuading }
    }

    /// The option is not known or not wanted.
    pub fn reject(&mut self, option: RawOption<'_>) {
        push(&mut self.rejects, option.kind, option.data);
    }

    /// The option is fine, its value is not: this one would do.
    pub fn nak(&mut self, option: RawOption<'_>, better: &[u8]) {
        if self.persuading {
            push(&mut self.naks, option.kind, better);
        } else {
            self.reject(option);
        }
    }

    /// An option that the peer left out and that we would like it to ask for.
    pub fn suggest(&mut self, kind: u8, data: &[u8]) {
        if self.persuading {
            push(&mut self.naks, kind, data);
        }
    }

    /// The verdict: rejects go first and alone (RFC 1661 §5.4).
    #[must_use]
    pub fn verdict(self) -> Verdict {
        if !self.rejects.is_empty() {
            Verdict::Reject(self.rejects)
        } else if !self.naks.is_empty() {
            Verdict::Nak(self.naks)
        } else {
            Verdict::Ack
        }
    }
}

/// What a Configure-Request is answered with; the lists are the answer's options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Configure-Ack, with the request's own options.
    Ack,
    /// Configure-Nak.
    Nak(Vec<u8>),
    /// Configure-Reject.
    Reject(Vec<u8>),
}
