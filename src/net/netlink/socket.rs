//! The message exchange: a request, its answers, its acknowledgement.

use std::{io, sync::Arc};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::{
    errno::Errno,
    sys::{
        socket::{setsockopt, sockopt::ReceiveTimeout},
        time::{TimeVal, TimeValLike as _},
    },
};

use super::{Error, message::Message};
use crate::os::crash;

/// Receive timeout. The kernel answers within send(2), so a timeout means a broken kernel.
const RECEIVE_TIMEOUT_SECONDS: i64 = 5;
/// Size of the receive buffer: the kernel's maximum for one datagram of a dump.
const BUFFER: usize = 32 * 1024;
/// Maximum number of attempts at a dump that the kernel reports as inconsistent (NLM_F_DUMP_INTR).
const DUMP_ATTEMPTS: u32 = 8;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
const HEADER: usize = 16;

/// One answer: the message, or one that could not be decoded.
pub(super) type Answer<'a> = Result<Message, Undecoded<'a>>;

/// A message that netlink-packet-route cannot decode.
pub(super) struct Undecoded<'a> {
    /// Without the netlink header.
    pub(super) payload: &'a [u8],
    pub(super) why: String,
}

/// An rtnetlink socket, in the network namespace in which it was opened.
pub struct Netlink {
    socket: Socket,
    /// For the names of interfaces: before Linux 4.6 netlink has no ioctl(2).
    pub(super) lookup: Arc<socket2::Socket>,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens the socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// Returns the kernel's error if it has no netlink or the process no descriptor left.
    pub fn open() -> Result<Self, Error> {
        Self::open_socket().map_err(|error| from_io("open a netlink socket", &error))
    }

    fn open_socket() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(RECEIVE_TIMEOUT_SECONDS))?;
        // Older kernels lack these options. Without them, answers are filtered here and errors have no text.
        for option in
            [socket.set_netlink_get_strict_chk(true), socket.set_ext_ack(true), socket.set_cap_ack(true)]
        {
            drop(option);
        }
        let lookup = Arc::new(socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?);
        Ok(Self { socket, lookup, sequence: 0, buffer: Vec::with_capacity(BUFFER) })
    }

    /// Sends a request for a change; returns after the kernel has made it.
    pub(super) fn change(&mut self, what: &str, message: Message, flags: u16) -> Result<(), Error> {
        crash::point(format_args!("{what}"));
        self.exchange(what, message, flags | NLM_F_ACK, &mut |_| Ok(())).map(drop)
    }

    /// Sends a request with one answer.
    pub(super) fn query(
        &mut self,
        what: &str,
        message: Message,
        take: &mut dyn FnMut(Answer<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.exchange(what, message, NLM_F_ACK, take).map(drop)
    }

    /// Sends a request with many answers; repeats it if the kernel reports them as inconsistent.
    pub(super) fn dump<T>(
        &mut self,
        what: &str,
        message: &Message,
        mut take: impl FnMut(&mut Vec<T>, Answer<'_>) -> Result<(), Error>,
    ) -> Result<Vec<T>, Error> {
        match self.last_dump(what, message, &mut take)? {
            (found, true) => Ok(found),
            (_, false) => Err(Error::other(what, "the table changed faster than it could be read")),
        }
    }

    /// Does the same; `false` if the last answers were inconsistent too.
    pub(super) fn last_dump<T>(
        &mut self,
        what: &str,
        message: &Message,
        mut take: impl FnMut(&mut Vec<T>, Answer<'_>) -> Result<(), Error>,
    ) -> Result<(Vec<T>, bool), Error> {
        let mut last = (Vec::new(), false);
        for _ in 0..DUMP_ATTEMPTS {
            let mut found = Vec::new();
            let consistent =
                self.exchange(what, message.clone(), NLM_F_DUMP, &mut |answer| take(&mut found, answer))?;
            last = (found, consistent);
            if consistent {
                break;
            }
        }
        Ok(last)
    }

    /// Sends, then reads until the acknowledgement or the end of the dump. `false`: the dump is inconsistent.
    fn exchange(
        &mut self,
        what: &str,
        message: Message,
        flags: u16,
        take: &mut dyn FnMut(Answer<'_>) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = encode(&message, NLM_F_REQUEST | flags, self.sequence);
        self.socket.send(&bytes, 0).map_err(|error| from_io(what, &error))?;

        let mut consistent = true;
        loop {
            let mut buffer = std::mem::take(&mut self.buffer);
            let outcome = self
                .receive(what, &mut buffer)
                .and_then(|()| read_datagram(what, &buffer, self.sequence, &mut consistent, take));
            self.buffer = buffer;
            match outcome? {
                Progress::More => {}
                Progress::Done => return Ok(consistent),
            }
        }
    }

    fn receive(&self, what: &str, buffer: &mut Vec<u8>) -> Result<(), Error> {
        loop {
            buffer.clear();
            match self.socket.recv_from(buffer, 0) {
                // Only the kernel's messages have port 0.
                Ok((_, from)) if from.port_number() != 0 => {}
                Ok((length, _)) if length > buffer.len() => {
                    return Err(Error::other(what, "an answer of the kernel was cut short"));
                }
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(Error::other(what, "the kernel did not answer"));
                }
                Err(error) => return Err(from_io(what, &error)),
            }
        }
    }
}

impl std::fmt::Debug for Netlink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Netlink").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

pub(super) enum Progress {
    More,
    Done,
}

/// Returns a message with its netlink header.
pub(super) fn encode(message: &Message, flags: u16, sequence: u32) -> Vec<u8> {
    let payload = message.payload();
    let length = u32::try_from(HEADER + payload.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(message.number().to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    // The port: the kernel's.
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

pub(super) fn read_datagram(
    what: &str,
    mut rest: &[u8],
    sequence: u32,
    consistent: &mut bool,
    take: &mut dyn FnMut(Answer<'_>) -> Result<(), Error>,
) -> Result<Progress, Error> {
    while !rest.is_empty() {
        let garbled = || Error::other(what, "the kernel's answer is garbled");
        let frame = NetlinkBuffer::new_checked(&rest).map_err(|_| garbled())?;
        let length = usize::try_from(frame.length()).map_err(|_| garbled())?;
        let (kind, flags, number) = (frame.message_type(), frame.flags(), frame.sequence_number());
        let whole = rest.get(..length).ok_or_else(garbled)?;
        let payload = whole.get(HEADER..).ok_or_else(garbled)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        if number != sequence {
            continue;
        }
        if flags & NLM_F_DUMP_INTR != 0 {
            *consistent = false;
        }
        match kind {
            NLMSG_ERROR => return refusal(what, flags, payload).map_or(Ok(Progress::Done), Err),
            NLMSG_DONE => {
                return leading_errno(payload).map_or(Ok(Progress::Done), |n| Err(Error::errno(what, n)));
            }
            _ => match Message::decode(kind, payload) {
                Some(Ok(message)) => take(Ok(message))?,
                Some(Err(error)) => take(Err(Undecoded { payload, why: error.to_string() }))?,
                None => {}
            },
        }
    }
    Ok(Progress::More)
}

/// Returns the error in an NLMSG_ERROR, or `None` for an acknowledgement.
fn refusal(what: &str, flags: u16, payload: &[u8]) -> Option<Error> {
    let errno = leading_errno(payload)?;
    let mut error = Error::errno(what, errno);
    if flags & NLM_F_ACK_TLVS != 0 && flags & NLM_F_CAPPED != 0 {
        error.detail = payload.get(4 + HEADER..).and_then(ack_message);
    }
    Some(error)
}

/// Returns the leading error number; `None` if it is 0 or missing.
fn leading_errno(payload: &[u8]) -> Option<Errno> {
    let number = i32::from_ne_bytes(*payload.first_chunk()?);
    (number != 0).then(|| Errno::from_raw(number.wrapping_neg()))
}

/// Returns the text (NLMSGERR_ATTR_MSG) of an extended acknowledgement.
fn ack_message(mut attributes: &[u8]) -> Option<String> {
    while let Some([a, b, c, d]) = attributes.first_chunk() {
        let length = usize::from(u16::from_ne_bytes([*a, *b]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([*c, *d]) & 0x3fff == NLMSGERR_ATTR_MSG {
            let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
            return Some(String::from_utf8_lossy(text).trim_end_matches('.').to_owned());
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn from_io(what: &str, error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(number) => Error::errno(what, Errno::from_raw(number)),
        None => Error::other(what, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_message(sequence: u32, code: i32, flags: u16, text: Option<&str>) -> Vec<u8> {
        let mut body = code.to_ne_bytes().to_vec();
        body.extend([0; HEADER]);
        if let Some(text) = text {
            let length = u16::try_from(4 + text.len() + 1).unwrap();
            body.extend(length.to_ne_bytes());
            body.extend(NLMSGERR_ATTR_MSG.to_ne_bytes());
            body.extend(text.as_bytes());
            body.push(0);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut whole = u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes().to_vec();
        whole.extend(NLMSG_ERROR.to_ne_bytes());
        whole.extend(flags.to_ne_bytes());
        whole.extend(sequence.to_ne_bytes());
        whole.extend([0; 4]);
        whole.extend(body);
        whole
    }

    fn read(bytes: &[u8]) -> Result<Progress, Error> {
        read_datagram("add route", bytes, 7, &mut true, &mut |_| Ok(()))
    }

    #[test]
    fn acknowledgement_ends_exchange() {
        assert!(matches!(read(&error_message(7, 0, 0, None)), Ok(Progress::Done)));
    }

    #[test]
    fn ignores_answers_to_older_requests() {
        assert!(matches!(read(&error_message(6, -17, 0, None)), Ok(Progress::More)));
        let mut both = error_message(6, -17, 0, None);
        both.extend(error_message(7, 0, 0, None));
        assert!(matches!(read(&both), Ok(Progress::Done)));
    }

    #[test]
    fn refusal_has_errno_and_text_of_kernel() {
        let flags = NLM_F_CAPPED | NLM_F_ACK_TLVS;
        let Err(error) = read(&error_message(7, -101, flags, Some("Nexthop has invalid gateway"))) else {
            panic!("not refused")
        };
        assert_eq!(error.errno, Some(Errno::ENETUNREACH));
        assert_eq!(
            error.to_string(),
            "add route: Network is unreachable (Nexthop has invalid gateway, ENETUNREACH)"
        );
    }

    proptest::proptest! {
        #[test]
        fn reader_accepts_arbitrary_bytes(bytes: Vec<u8>) {
            drop(read(&bytes));
            drop(ack_message(&bytes));
        }
    }
}
