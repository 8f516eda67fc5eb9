//! The messages between a supervisor and its launcher: one request, one reply, in turn.
//!
//! A request is JSON, in fragments if it is long; its descriptors come with the first. The first message of all is the list
//! of what the launcher may do, with a text from which the launcher makes it again.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Start, file_request::FileRequest};
use crate::os::channel::{Channel, MAX_MESSAGE};

/// The longest message, in bytes: more than the kernel accepts as arguments by default.
const LONGEST: usize = 4 << 20;

/// What a launcher is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Request {
    /// Start a program. The descriptors are those of its streams that are set, then the network namespace, if there is
    /// one.
    Start { start: Start, streams: [bool; 3], namespace: bool },
    /// Return the status of a program that was started.
    Status(u32),
    /// Send a signal to a program that was started, or to its process group.
    Signal { pid: u32, signal: i32, group: bool },
    /// Make the list of what is permitted again, and add it to the present one.
    Renew,
    /// Perform an operation on a file. The answer has the descriptor, if there is one.
    File(FileRequest),
}

/// The answer of a launcher.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Reply {
    /// The program runs, with this pid.
    Started(u32),
    /// The program still runs.
    Runs,
    /// The program has ended, with this status of waitpid(2).
    Ended(i32),
    /// Done.
    Done,
    /// The kernel has refused it, with this errno.
    Failed(i32),
    /// It is refused or has failed, for this reason.
    Refused(String),
}

impl Reply {
    pub(super) fn of_error(error: &io::Error) -> Self {
        error.raw_os_error().map_or_else(|| Self::Refused(error.to_string()), Self::Failed)
    }
}

/// Sends a message.
pub(super) fn send(
    channel: &Channel,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let parts: Vec<&[u8]> = bytes.chunks(MAX_MESSAGE - 1).collect();
    let mut descriptors = descriptors;
    for (number, part) in parts.iter().enumerate() {
        // The first byte says whether more follows.
        let mut fragment = vec![u8::from(number + 1 < parts.len())];
        fragment.extend_from_slice(part);
        channel.send(&fragment, descriptors)?;
        descriptors = &[];
    }
    Ok(())
}

/// Receives a message and its descriptors; `None` if the other end is closed.
pub(super) fn receive<T: DeserializeOwned>(channel: &Channel) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let (mut bytes, mut descriptors) = (Vec::new(), Vec::new());
    loop {
        let Some(part) = channel.receive(true)? else { return Ok(None) };
        let Some((more, content)) = part.bytes.split_first() else { return Ok(None) };
        bytes.extend_from_slice(content);
        descriptors.extend(part.descriptors);
        if *more == 0 {
            return Ok(Some((serde_json::from_slice(&bytes)?, descriptors)));
        }
        if bytes.len() > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "message too long"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_message_is_received_whole() {
        let (ours, theirs) = Channel::pair().unwrap();
        let text = "0123456789".repeat(10_000);
        let sent = text.clone();
        let sender = std::thread::spawn(move || send(&ours, &sent, &[]).map(|()| ours));
        let (received, descriptors): (String, _) = receive(&theirs).unwrap().unwrap();
        assert!(received == text && descriptors.is_empty());
        drop(sender.join().unwrap().unwrap());
        assert!(receive::<String>(&theirs).unwrap().is_none(), "the end is not reported");
    }
}
