//! Client of a subscription: the events of one tunnel, as they occur.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use serde::Deserialize;

use super::{
    client::{self, ClientError},
    messages::{Request, Response},
    subscribers::DEFAULT_INTERVAL,
};

/// Limit of the supervisor's answer, and of a line that comes later than the interval.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest line in bytes.
const MAX_LINE: u64 = 1024 * 1024;

/// An event as it was received.
#[derive(Debug)]
pub struct Received {
    /// The line, without its end.
    pub text: String,
    /// Whether it is the tunnel's last one, `down`.
    pub is_last: bool,
}

impl Received {
    /// Reads the name of the event only: a newer supervisor may have members and events that this version does not know.
    fn parse(text: String) -> io::Result<Self> {
        #[derive(Deserialize)]
        struct Named {
            event: String,
        }
        let is_last = serde_json::from_slice::<Named>(text.as_bytes())?.event == "down";
        Ok(Self { text, is_last })
    }
}

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
    type Item = io::Result<Received>;

    /// Waits for the next line; `None` after the end.
    fn next(&mut self) -> Option<Self::Item> {
        let line = match self.first.take() {
            Some(line) => Ok(Some(line)),
            None => read_line(&mut self.reader),
        };
        line.transpose().map(|line| line.and_then(Received::parse))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::ipc::events::{Event, EventLine};

    #[test]
    fn last_event_is_known_and_unknown_events_are_passed_on() {
        let down = EventLine::now("vpn", Event::Down { failure: None, problems: Vec::new() });
        let note = EventLine::now("vpn", Event::Note { text: "down".to_owned() });
        for (line, is_last) in [(down, true), (note, false)] {
            let text = serde_json::to_string(&line).unwrap();
            let received = Received::parse(text.clone()).unwrap();
            assert_eq!((received.text, received.is_last), (text, is_last));
        }
        let newer = r#"{"time_ms":1,"name":"vpn","event":"renamed","to":{"name":"x"}}"#;
        assert!(!Received::parse(newer.to_owned()).unwrap().is_last);
        for cut in [&newer[..newer.len() - 1], "", "{}", "[]"] {
            assert!(Received::parse(cut.to_owned()).is_err(), "{cut}");
        }
    }
}
