//! Client of a subscription: the events of one tunnel, as they occur.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use super::{
    client::{self, ClientError},
    events::EventLine,
    messages::{Request, Response},
    subscribers::DEFAULT_INTERVAL,
};

/// Limit of the supervisor's answer, and of a line that comes later than the interval.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest line in bytes.
const MAX_LINE: u64 = 1024 * 1024;

/// The events of one tunnel.
#[derive(Debug)]
pub struct Subscription {
    reader: BufReader<UnixStream>,
    /// The first line.
    first: Option<String>,
}

impl Subscription {
    /// Subscribes to the events of this profile's tunnel, with statistics every so many seconds.
    ///
    /// # Errors
    /// Returns why the supervisor could not be asked.
    pub fn begin(name: &str, interval: Option<u32>) -> Result<Self, ClientError> {
        let stream = client::connect_control(name)?;
        let silent = ClientError::Silent;
        let request = serde_json::to_string(&Request::Subscribe { interval }).map_err(io::Error::other);
        let request = request.map_err(silent)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(silent)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(silent)?;
        (&stream).write_all(format!("{request}\n").as_bytes()).map_err(silent)?;
        let mut reader = BufReader::new(stream);
        let first = read_line(&mut reader).map_err(silent)?;
        let first = first.ok_or_else(|| silent(io::ErrorKind::UnexpectedEof.into()))?;
        if let Ok(Response::Refused(why)) = serde_json::from_slice(first.as_bytes()) {
            return Err(ClientError::Refused(why));
        }
        let interval = Duration::from_secs(interval.unwrap_or(DEFAULT_INTERVAL).into());
        reader.get_ref().set_read_timeout(Some(interval.saturating_add(PATIENCE))).map_err(silent)?;
        Ok(Self { reader, first: Some(first) })
    }
}

impl Iterator for Subscription {
    type Item = io::Result<(String, EventLine)>;

    /// Waits for the next line, and returns it as text and parsed; `None` after the end.
    fn next(&mut self) -> Option<Self::Item> {
        let line = match self.first.take() {
            Some(line) => Ok(Some(line)),
            None => read_line(&mut self.reader),
        };
        let parsed = |line: String| {
            let event = serde_json::from_slice(line.as_bytes())?;
            Ok((line, event))
        };
        match line {
            Ok(line) => line.map(parsed),
            Err(error) => Some(Err(error)),
        }
    }
}

/// Reads a line; `None` at the end.
fn read_line(reader: &mut BufReader<UnixStream>) -> io::Result<Option<String>> {
    let mut line = String::new();
    loop {
        match reader.by_ref().take(MAX_LINE).read_line(&mut line) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Err(io::Error::other("no event for longer than the interval of the statistics"));
            }
            Err(error) => return Err(error),
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(line.trim_end().to_owned())),
        }
    }
}
