//! `watch`: the tunnels on a full screen, from readings of their status each second.
//!
//! `state` has what is known, `view` turns it into lines, `text` those into escape sequences. The supervisors are asked
//! by a thread of its own, so that one that does not answer delays no key.

mod facts;
mod history;
mod keys;
mod single;
mod state;
mod text;
mod view;

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender, SyncSender},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use self::{
    keys::keys,
    state::{Answer, Notice, Reading, Request, State, Wish},
    text::Canvas,
    view::render,
};
use super::{
    exit::{self, Code},
    output::{self, error},
    status, terminal,
};
use crate::{
    profile::ProfileName,
    supervisor::{
        ClientError,
        ipc::{client, messages::LogLine},
        screen::{FullScreen, Input},
    },
};

/// Time between two readings.
const READING_INTERVAL: Duration = Duration::from_secs(1);

/// Lines of a log that are read: more than a screen has.
const LOG_LINES: u32 = 100;

/// The name of the tunnel whose log is read.
type Chosen = Arc<Mutex<Option<String>>>;

/// How often the results of readings are looked for.
const LOOK: Duration = Duration::from_millis(100);

pub fn main(config: Option<&Path>, name: Option<&str>) -> Code {
    if let Some(name) = name {
        if let Err(wrong) = ProfileName::new(name) {
            error(wrong);
            return exit::PROFILE;
        }
        // A supervisor that does not answer is waited for on the screen.
        if !client::running().iter().any(|running| running == name)
            && let Err(code) = output::is_known(config, name)
        {
            return code;
        }
    }
    let names = match name {
        Some(name) => Ok(BTreeSet::from([name.to_owned()])),
        None => status::names(config),
    };
    let names = match names {
        Ok(names) => names,
        Err(code) => return code,
    };
    let opened = match io::stdout().is_terminal() {
        true => FullScreen::open(),
        false => Err(io::ErrorKind::NotFound.into()),
    };
    let screen = match opened {
        Ok(screen) => screen,
        Err(wrong) if wrong.kind() == io::ErrorKind::NotFound => {
            error("watch needs a terminal; `pptpctl status` and `pptpctl events` do not");
            return exit::USAGE;
        }
        Err(wrong) => {
            error(format_args!("the terminal: {wrong}"));
            return exit::INTERNAL;
        }
    };
    // Dropped, and the user's own screen shown, before anything is said.
    match watch(screen, names, name.is_some()) {
        Ok(()) => exit::OK,
        Err(wrong) => {
            error(format_args!("the terminal: {wrong}"));
            exit::INTERNAL
        }
    }
}

fn watch(mut screen: FullScreen, names: BTreeSet<String>, is_fixed: bool) -> io::Result<()> {
    let style = terminal::style();
    let asked = names.iter().cloned().collect();
    let mut state = State { asked, is_single: is_fixed, is_fixed, ..State::default() };
    let chosen = Chosen::new(Mutex::new(names.first().cloned()));
    let readings = read(names, is_fixed, chosen.clone());
    let (said, says) = mpsc::channel();
    let mut shown = String::new();
    // Most answer at once: nothing else is shown before.
    if let Ok(reading) = readings.recv_timeout(LOOK) {
        state.read(reading);
    }
    loop {
        let mut is_new = shown.is_empty();
        while let Ok(reading) = readings.try_recv() {
            state.read(reading);
            is_new = true;
        }
        while let Ok(words) = says.try_recv() {
            state.notice = Notice::Says(words);
            is_new = true;
        }
        if is_new {
            let (width, height) = screen.size();
            let lines = render(&state, Canvas { width, height, unicode: style.unicode });
            let picture = text::picture(&lines, style.colour);
            if picture != shown {
                screen.write(picture.as_bytes())?;
                shown = picture;
            }
        }
        match screen.wait(Instant::now() + LOOK)? {
            Input::End => return Ok(()),
            Input::Redraw => shown.clear(),
            Input::Nothing => {}
            Input::Typed(bytes) => {
                for key in keys(&bytes) {
                    match state.press(key) {
                        Some(Wish::Quit) => return Ok(()),
                        Some(Wish::Do(Request::TakeDown, name)) => take_down(name, said.clone()),
                        Some(Wish::Do(Request::Redial, name)) => redial(name, said.clone()),
                        None => {}
                    }
                }
                let name = state.current().map(|tunnel| tunnel.name.clone());
                *chosen.lock().unwrap_or_else(PoisonError::into_inner) = name;
                shown.clear();
            }
        }
    }
}

/// Starts to read the status of these tunnels, of those that come up later unless `is_fixed`, and the log of the chosen one.
fn read(names: BTreeSet<String>, is_fixed: bool, chosen: Chosen) -> Receiver<Reading> {
    // A reading that is not taken holds the next one up.
    let (sender, readings): (SyncSender<Reading>, _) = mpsc::sync_channel(1);
    thread::spawn(move || {
        loop {
            let mut all = names.clone();
            if !is_fixed {
                all.extend(client::running());
            }
            let answers = all.into_iter().map(|name| {
                let answer = answer(&name);
                (name, answer)
            });
            let answers: Vec<(String, Answer)> = answers.collect();
            let chosen = chosen.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let runs = |name: &String| answers.iter().any(|(other, answer)| other == name && answer.is_ok());
            let log = chosen.filter(runs).map(|name| (name.clone(), log(&name)));
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let reading = Reading { at: Instant::now(), clock: since.as_secs(), answers, log };
            if sender.send(reading).is_err() {
                return;
            }
            thread::sleep(READING_INTERVAL);
        }
    });
    readings
}

fn answer(name: &str) -> Answer {
    match client::status(name) {
        Ok(status) => Ok(Box::new(status)),
        Err(why) => Err((why.state(), status::without_status(name, &why))),
    }
}

/// Returns the last lines of a tunnel's log, or why they cannot be read.
fn log(name: &str) -> Result<Vec<LogLine>, String> {
    client::log(name, LOG_LINES).map_err(|wrong| match wrong {
        ClientError::Denied(_) => "only root can read it".to_owned(),
        // It does not know the request.
        ClientError::Refused(_) => format!("its supervisor is of an older version: `pptpctl logs {name}`"),
        wrong => wrong.to_string(),
    })
}

/// Has a tunnel dialled again, and says whether that has begun.
fn redial(name: String, said: Sender<String>) {
    thread::spawn(move || {
        let words = match client::redial(&name) {
            Ok(()) => format!("{name} dials again"),
            Err(ClientError::Refused(why)) => format!("{name} does not dial again: {why}"),
            Err(ClientError::Denied(_)) => format!("{name} does not dial again: only root may ask for that"),
            Err(wrong) => format!("{name}: {wrong}"),
        };
        let _ended = said.send(words);
    });
}

/// Takes a tunnel down, which goes on if this command ends, and says how that ended.
fn take_down(name: String, said: Sender<String>) {
    thread::spawn(move || {
        let words = match client::down(&name) {
            Ok(problems) if problems.is_empty() => format!("{name} is down"),
            Ok(problems) => format!("{name} is down; not undone: {}", problems.join("; ")),
            Err(ClientError::Denied(_)) => format!("{name} is not taken down: only root may ask for that"),
            Err(wrong) => format!("{name}: {wrong}"),
        };
        let _ended = said.send(words);
    });
}
