//! Client of a capture: asks a supervisor for one, and returns the stream of records.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use super::{
    client::{self, ClientError},
    messages::{Request, Response},
};

pub use crate::engine::capture::record::{Decoder, Kind, Record};

/// Limit of the supervisor's answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest answer, in bytes.
const MAX_ANSWER: usize = 4096;

/// A capture that has begun.
#[derive(Debug)]
pub struct Captured {
    /// The records, from the engine.
    pub stream: UnixStream,
    /// It begins with the next dial: the system lets a running engine receive no descriptor.
    pub from_next_dial: bool,
}

/// Asks the supervisor of this profile for a capture.
///
/// # Errors
/// Returns why there is none.
pub fn begin(name: &str, inner: bool) -> Result<Captured, ClientError> {
    let mut stream = client::connect_control(name)?;
    let silent = ClientError::Silent;
    let request = serde_json::to_string(&Request::Capture { inner }).map_err(io::Error::other);
    let request = request.map_err(silent)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(silent)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(silent)?;
    stream.write_all(format!("{request}\n").as_bytes()).map_err(silent)?;
    // Byte by byte: records follow.
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < MAX_ANSWER {
        match stream.read(&mut byte) {
            Ok(0) if line.is_empty() => return Err(silent(io::ErrorKind::UnexpectedEof.into())),
            Ok(0) => break,
            Ok(_) if byte == *b"\n" => break,
            Ok(_) => line.extend_from_slice(&byte),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(silent(error)),
        }
    }
    match serde_json::from_slice(&line) {
        Ok(Response::Capture { from_next_dial }) => {
            stream.set_nonblocking(true).map_err(silent)?;
            Ok(Captured { stream, from_next_dial })
        }
        Ok(Response::Refused(why)) => Err(ClientError::Refused(why)),
        Ok(_) | Err(_) => Err(silent(io::ErrorKind::InvalidData.into())),
    }
}
