//! The interface between the automaton and a protocol's options.

use crate::ppp::wire::{Options, RawOption, push};

/// The options of one protocol: the contents of our requests, and the judgement of the peer's.
///
/// The automaton calls the methods in the order of the exchange; an implementation holds values, never
/// packets or timers.
pub trait OptionSet {
    /// The protocol's name.
    const NAME: &'static str;

    /// Starts a new negotiation: discards everything learnt in an earlier one.
    fn restart(&mut self);

    /// Reads the peer's Configure-Request while ours has no answer yet. Returns whether our own request changes:
    /// it is then sent again with a new identifier, before the answer to the peer's.
    fn follow(&mut self, options: Options<'_>) -> bool {
        let _ = options;
        false
    }

    /// Writes the option list of our next Configure-Request.
    fn request(&self, out: &mut Vec<u8>);

    /// Handles a Configure-Ack of the list that [`Self::request`] wrote last.
    fn acked(&mut self);

    /// Handles a Configure-Nak. `insists` is set once the peer has refused Max-Failure times in a row, so
    /// that repeating the same request is pointless.
    fn nakked(&mut self, options: Options<'_>, insists: bool);

    /// Handles a Configure-Reject: the peer does not know, or does not want, these options of our request.
    fn rejected(&mut self, options: Options<'_>);

    /// Judges the peer's Configure-Request. Options that are neither rejected nor nakked are acknowledged; no
    /// value is taken over before [`Self::accept`].
    fn judge(&mut self, options: Options<'_>, reply: &mut Reply);

    /// Takes over the values of the peer's Configure-Request, which has been acknowledged unchanged.
    fn accept(&mut self, options: Options<'_>);

    /// Returns whether the protocol has this code beyond the seven that the automaton handles itself.
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
    naks_allowed: bool,
    identifier: u8,
}

impl Reply {
    /// Creates an empty reply. `persuading` is false once Max-Failure Naks did not help: every Nak then
    /// becomes a Reject, and nothing is suggested that the peer did not request (RFC 1661 §4.6).
    #[must_use]
    pub fn new(persuading: bool) -> Self {
        Self { rejects: Vec::new(), naks: Vec::new(), naks_allowed: persuading, identifier: 0 }
    }

    /// Sets the identifier of the request.
    #[must_use]
    pub fn to(self, identifier: u8) -> Self {
        Self { identifier, ..self }
    }

    /// Returns the identifier of the request. A retransmission has that of the first copy.
    #[must_use]
    pub fn identifier(&self) -> u8 {
        self.identifier
    }

    /// Rejects an option that is not known or not wanted.
    pub fn reject(&mut self, option: RawOption<'_>) {
        push(&mut self.rejects, option.kind, option.data);
    }

    /// Naks an option whose value is not acceptable, and offers the value `better`.
    pub fn nak(&mut self, option: RawOption<'_>, better: &[u8]) {
        if self.naks_allowed {
            push(&mut self.naks, option.kind, better);
        } else {
            self.reject(option);
        }
    }

    /// Suggests an option that the peer left out.
    pub fn suggest(&mut self, kind: u8, data: &[u8]) {
        if self.naks_allowed {
            push(&mut self.naks, kind, data);
        }
    }

    /// Returns the verdict: rejects go first and alone (RFC 1661 §5.4).
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

/// Answer to a Configure-Request; the lists are the options of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Configure-Ack, with the request's own options.
    Ack,
    /// Configure-Nak.
    Nak(Vec<u8>),
    /// Configure-Reject.
    Reject(Vec<u8>),
}
