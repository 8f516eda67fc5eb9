//! Received packets: from bytes to the events of RFC 1661 §4.3.

use std::time::Instant;

use super::{
    Answer, Automaton, COPIES_MAX, Event, Input, OptionSet, PacketDrop, REASON_MAX, Reply, Signal, State,
    Verdict,
};
use crate::ppp::wire::{HEADER_LEN, Options, Packet, code};

impl<O: OptionSet> Automaton<O> {
    /// Handles one packet of this protocol: a frame's information field.
    pub fn handle_input<'a>(&mut self, now: Instant, bytes: &'a [u8]) -> Input<'a> {
        let Some(packet) = Packet::parse(bytes) else { return Input::Dropped(PacketDrop::Malformed) };
        if matches!(self.state, State::Initial | State::Starting) {
            return Input::Dropped(PacketDrop::NotReady);
        }
        let handled = match packet.code {
            code::CONFIGURE_REQUEST => self.configure_request(now, packet),
            code::CONFIGURE_ACK => self.configure_ack(now, packet),
            code::CONFIGURE_NAK | code::CONFIGURE_REJECT => self.configure_refusal(now, packet),
            code::TERMINATE_REQUEST => {
                let reason = packet.data.get(..REASON_MAX).unwrap_or(packet.data).to_vec();
                self.signal(Signal::TerminateRequested(reason));
                self.apply(now, Event::TerminateRequest, Some(Answer::Terminate { id: packet.id }));
                Ok(())
            }
            code::TERMINATE_ACK => {
                self.is_closed_at_peer = true;
                self.apply(now, Event::TerminateAck, None);
                Ok(())
            }
            code::CODE_REJECT => self.code_reject(now, packet),
            other if self.options.knows_code(other) => return Input::Extra(packet),
            _ => {
                let whole = bytes.get(..HEADER_LEN + packet.data.len()).unwrap_or(bytes);
                self.apply(now, Event::UnknownCode, Some(Answer::Unknown { packet: whole }));
                Ok(())
            }
        };
        match handled {
            Ok(()) => Input::Done,
            Err(why) => Input::Dropped(why),
        }
    }

    fn configure_request(&mut self, now: Instant, packet: Packet<'_>) -> Result<(), PacketDrop> {
        let options = Options::parse(packet.data).ok_or(PacketDrop::BadOptions)?;
        match self.state {
            State::Closed => self.apply(now, Event::RequestGood, Some(Answer::Terminate { id: packet.id })),
            State::Closing | State::Stopping => {}
            State::Opened if self.is_copy(packet) => {
                self.copies += 1;
                self.send(code::CONFIGURE_ACK, packet.id, packet.data);
            }
            _ => {
                if matches!(self.state, State::ReqSent | State::AckSent)
                    && !self.answered
                    && self.options.follow(options)
                {
                    self.replace_request(now);
                }
                // A request in Opened begins a new negotiation, with a fresh count of failures.
                let persuading = self.naks_sent < self.timing.max_failure || !self.state.negotiating();
                let mut reply = Reply::new(persuading).to(packet.id);
                self.options.judge(options, &mut reply);
                let verdict = reply.verdict();
                let event = if verdict == Verdict::Ack { Event::RequestGood } else { Event::RequestBad };
                self.apply(now, event, Some(Answer::Configure { id: packet.id, options, verdict }));
            }
        }
        Ok(())
    }

    fn configure_ack(&mut self, now: Instant, packet: Packet<'_>) -> Result<(), PacketDrop> {
        if self.awaits_reply() {
            if self.answers_replaced(packet) {
                return Ok(());
            }
            if !self.answers_request(packet) || packet.data != self.request {
                return Err(PacketDrop::Unmatched);
            }
            self.note_answer(now);
            self.refusals = 0;
            self.options.acked();
        }
        self.apply(now, Event::Ack, Some(Answer::Terminate { id: packet.id }));
        Ok(())
    }

    fn configure_refusal(&mut self, now: Instant, packet: Packet<'_>) -> Result<(), PacketDrop> {
        let options = Options::parse(packet.data).ok_or(PacketDrop::BadOptions)?;
        if self.awaits_reply() {
            if self.answers_replaced(packet) {
                return Ok(());
            }
            if !self.answers_request(packet) {
                return Err(PacketDrop::Unmatched);
            }
            let reject = packet.code == code::CONFIGURE_REJECT;
            if reject && !self.requested_all_of(options) {
                return Err(PacketDrop::Unmatched);
            }
            self.note_answer(now);
            self.refusals = self.refusals.saturating_add(1);
            if reject {
                self.options.rejected(options);
            } else {
                self.options.nakked(options, self.refusals >= self.timing.max_failure);
            }
            if self.refusals >= self.give_up_at() {
                self.apply(now, Event::TimeoutFinal, None);
                return Ok(());
            }
        }
        self.apply(now, Event::NakOrReject, Some(Answer::Terminate { id: packet.id }));
        Ok(())
    }

    fn code_reject(&mut self, now: Instant, packet: Packet<'_>) -> Result<(), PacketDrop> {
        let rejected = *packet.data.first().ok_or(PacketDrop::Malformed)?;
        if (code::CONFIGURE_REQUEST..=code::CODE_REJECT).contains(&rejected) {
            self.apply(now, Event::RejectFatal, None);
        } else {
            self.signal(Signal::CodeRejected(rejected));
            self.apply(now, Event::RejectHarmless, None);
        }
        Ok(())
    }

    /// Returns whether a Configure-Request of ours may be outstanding in this state. In Opened it has been
    /// answered, so that a second answer is dropped instead of tearing the layer down (RFC 1661 §4.3 calls
    /// that a crossed connection).
    fn awaits_reply(&self) -> bool {
        self.state.negotiating() || self.state == State::Opened
    }

    fn answers_request(&self, packet: Packet<'_>) -> bool {
        !self.answered && packet.id == self.request_id
    }

    fn answers_replaced(&self, packet: Packet<'_>) -> bool {
        !self.answered && self.replaced == Some(packet.id) && packet.id != self.request_id
    }

    fn note_answer(&mut self, now: Instant) {
        self.answered = true;
        if let Some(sent) = self.request_sent {
            self.expect_response_time(now.saturating_duration_since(sent));
        }
    }

    fn is_copy(&self, packet: Packet<'_>) -> bool {
        self.copies < COPIES_MAX
            && self.acknowledged.as_ref().is_some_and(|(id, data)| *id == packet.id && data == packet.data)
    }

    fn requested_all_of(&self, options: Options<'_>) -> bool {
        Options::parse(&self.request)
            .is_some_and(|ours| options.iter().all(|option| ours.iter().any(|mine| mine == option)))
    }

    /// Sends the answer to a packet.
    pub(super) fn answer(&mut self, what: &Answer<'_>) {
        match what {
            Answer::Configure { id, options, verdict: Verdict::Ack } => {
                self.naks_sent = 0;
                self.options.accept(*options);
                self.acknowledged = Some((*id, options.as_bytes().to_vec()));
                self.copies = 0;
                self.send(code::CONFIGURE_ACK, *id, options.as_bytes());
            }
            Answer::Configure { id, verdict: Verdict::Nak(list), .. } => {
                self.naks_sent = self.naks_sent.saturating_add(1);
                self.send(code::CONFIGURE_NAK, *id, list);
            }
            Answer::Configure { id, verdict: Verdict::Reject(list), .. } => {
                self.send(code::CONFIGURE_REJECT, *id, list);
            }
            Answer::Terminate { id } => self.send(code::TERMINATE_ACK, *id, &[]),
            Answer::Unknown { packet } => self.send_reject(code::CODE_REJECT, &[], packet),
        }
    }
}
