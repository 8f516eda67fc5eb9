//! `events`: what happens to tunnels, as JSON lines, until they end.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::Path,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use super::{
    exit::{self, Code},
    output::{self, error},
};
use crate::{
    profile::ProfileName,
    supervisor::{
        ClientError,
        ipc::{
            client,
            events::{Event, EventLine},
            subscription::Subscription,
        },
    },
};

/// Time between two searches for tunnels that have come up, without a name.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);

/// Prints an event that has just occurred.
pub fn print(name: &str, event: Event) {
    match serde_json::to_string(&EventLine::now(name, event)) {
        Ok(text) => output::data(text),
        Err(wrong) => error(wrong),
    }
}

pub fn main(config: Option<&Path>, name: Option<&str>, interval: Option<u32>) -> Code {
    match name {
        Some(name) => one(config, name, interval),
        None => all(interval),
    }
}

fn one(config: Option<&Path>, name: &str, interval: Option<u32>) -> Code {
    if let Err(wrong) = ProfileName::new(name) {
        error(wrong);
        return exit::PROFILE;
    }
    let subscription = match Subscription::begin(name, interval) {
        Ok(subscription) => subscription,
        Err(why) => {
            if matches!(why, ClientError::NotUp)
                && let Err(code) = output::is_known(config, name)
            {
                return code;
            }
            error(unavailable(name, &why));
            return Code::of_client(&why);
        }
    };
    let mut down = false;
    for line in subscription {
        match line {
            Ok(event) => {
                down = event.is_last;
                match show(&event.text) {
                    Ok(()) => {}
                    Err(wrong) => return lost(&wrong),
                }
            }
            Err(wrong) => {
                error(format_args!("{name}: {wrong}"));
                return exit::INTERNAL;
            }
        }
    }
    if down {
        return exit::OK;
    }
    error(unfinished(name));
    exit::INTERNAL
}

/// A message of a thread that reads the events of one tunnel.
enum Message {
    Line(String),
    /// The events of this tunnel have ended, with a complaint if something was wrong.
    End(String, Option<String>),
}

/// Shows the events of all tunnels, also of those that come up later, until it is interrupted.
fn all(interval: Option<u32>) -> Code {
    let (sender, receiver) = mpsc::channel();
    let mut followed = BTreeSet::new();
    let mut complained = BTreeSet::new();
    loop {
        for name in client::running() {
            if followed.contains(&name) {
                continue;
            }
            match Subscription::begin(&name, interval) {
                Ok(subscription) => {
                    complained.remove(&name);
                    followed.insert(name.clone());
                    follow(name, subscription, sender.clone());
                }
                // It may be about to come up.
                Err(ClientError::NotUp | ClientError::NotYet(_)) => {}
                Err(why) if complained.insert(name.clone()) => error(unavailable(&name, &why)),
                Err(_) => {}
            }
        }
        if let Err(wrong) = pass_on(&receiver, &mut followed) {
            return lost(&wrong);
        }
    }
}

fn follow(name: String, subscription: Subscription, sender: Sender<Message>) {
    thread::spawn(move || {
        let mut complaint = Some(unfinished(&name));
        for line in subscription {
            let text = match line {
                Ok(event) => {
                    if event.is_last {
                        complaint = None;
                    }
                    event.text
                }
                Err(wrong) => {
                    complaint = Some(format!("{name}: {wrong}"));
                    break;
                }
            };
            if sender.send(Message::Line(text)).is_err() {
                return;
            }
        }
        let _ended = sender.send(Message::End(name, complaint));
    });
}

/// Prints events until the next search is due.
fn pass_on(receiver: &Receiver<Message>, followed: &mut BTreeSet<String>) -> io::Result<()> {
    loop {
        match receiver.recv_timeout(SEARCH_INTERVAL) {
            Ok(Message::Line(text)) => show(&text)?,
            Ok(Message::End(name, complaint)) => {
                complaint.iter().for_each(error);
                followed.remove(&name);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

fn show(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Returns the exit status after a write to standard output has failed.
fn lost(wrong: &io::Error) -> Code {
    if wrong.kind() == io::ErrorKind::BrokenPipe {
        return exit::OK;
    }
    error(format_args!("standard output: {wrong}"));
    exit::INTERNAL
}

fn unfinished(name: &str) -> String {
    format!(
        "{name}: the events ended without `down`: the supervisor has died, or has dropped this command because it read \
         too slowly; `pptpctl status {name}` shows which"
    )
}

fn unavailable(name: &str, why: &ClientError) -> String {
    match why {
        ClientError::Denied(wrong) => {
            format!("{name}: it runs, and only root may follow its events: {wrong}")
        }
        ClientError::Refused(refused) if refused.contains("unknown variant `subscribe`") => format!(
            "{name}: its supervisor is of an older version, which has no events: `pptpctl restart {name}` starts a new one"
        ),
        why => format!("{name}: {why}"),
    }
}
