//! Questions to the user at a terminal. The end of the input and Ctrl-C end the command.

use std::io::{self, IsTerminal};

use super::{
    exit::{self, Code},
    output::{error, line, text},
};
use crate::{
    secret::Secret,
    supervisor::{
        FailureKind, Signals,
        password::{self, PasswordError, SecretAccess},
        unless_ended,
    },
};

/// A user who answers.
pub struct Console {
    /// Ctrl-C must not end this process while the terminal is without echo, or between two files.
    signals: Signals,
}

/// Returns whether there is a user who reads and types.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

impl Console {
    /// Listens to signals from now on.
    pub fn new() -> Result<Self, Code> {
        let signals = Signals::listen().map_err(|wrong| {
            error(wrong);
            exit::INTERNAL
        })?;
        Ok(Self { signals })
    }

    /// Asks for a line. An empty answer is `default`, and is repeated if there is none. `check` returns what is wrong
    /// with an answer, which is then asked for again.
    pub fn ask<T>(
        &mut self,
        help: &str,
        name: &str,
        default: Option<&str>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Code> {
        line(help);
        loop {
            match default {
                Some(default) => text(format_args!("  {name} [{default}]: ")),
                None => text(format_args!("  {name}: ")),
            }
            let typed = self.read_line()?;
            let answer = match (typed.trim(), default) {
                ("", Some(default)) => default,
                ("", None) => continue,
                (answer, _) => answer,
            };
            match check(answer) {
                Ok(value) => return Ok(value),
                Err(wrong) => line(format_args!("  {wrong}")),
            }
        }
    }

    /// Asks for yes or no.
    pub fn confirm(&mut self, question: &str, default: bool) -> Result<bool, Code> {
        let default = if default { "yes" } else { "no" };
        self.ask(question, "yes or no", Some(default), yes_or_no)
    }

    /// Asks for a password, without echo; `None` for an empty one.
    pub fn password(&mut self, help: &str, prompt: &str) -> Result<Option<Secret>, Code> {
        line(help);
        let limit = SecretAccess::of_this_process().limit;
        loop {
            let prompt = format!("  {prompt}: ");
            let asked = unless_ended(&mut self.signals, move || password::ask(&prompt, limit));
            match asked.map_err(|wrong| failed(&wrong))? {
                None => return Err(interrupted()),
                Some(Ok(password)) => return Ok(password),
                // Too long, or not text: it is typed again.
                Some(Err(PasswordError::Secret(wrong))) => line(format_args!("  {wrong}")),
                Some(Err(PasswordError::NotTyped)) => return Err(ended()),
                Some(Err(wrong)) => {
                    error(wrong);
                    return Err(exit::PROFILE);
                }
            }
        }
    }

    /// Returns an error if a signal has asked this process to end.
    pub fn check_signals(&mut self) -> Result<(), Code> {
        if self.signals.take().is_some() { Err(interrupted()) } else { Ok(()) }
    }

    /// Forgets signals that were meant for another program at this terminal.
    pub fn forget_signals(&mut self) {
        while self.signals.take().is_some() {}
    }

    fn read_line(&mut self) -> Result<String, Code> {
        let read = || {
            let mut typed = String::new();
            io::stdin().read_line(&mut typed).map(|size| (size > 0).then_some(typed))
        };
        match unless_ended(&mut self.signals, read).map_err(|wrong| failed(&wrong))? {
            Some(Ok(Some(typed))) => Ok(typed),
            Some(Ok(None)) => Err(ended()),
            Some(Err(wrong)) => Err(failed(&wrong)),
            None => Err(interrupted()),
        }
    }
}

fn yes_or_no(answer: &str) -> Result<bool, String> {
    match answer.to_lowercase().as_str() {
        "y" | "yes" => Ok(true),
        "n" | "no" => Ok(false),
        _ => Err("answer yes or no".to_owned()),
    }
}

fn failed(wrong: &io::Error) -> Code {
    error(format_args!("standard input: {wrong}"));
    exit::INTERNAL
}

fn ended() -> Code {
    line("");
    error("the input has ended; nothing was changed");
    exit::USAGE
}

fn interrupted() -> Code {
    line("");
    error("interrupted; nothing was changed");
    Code::of_kind(FailureKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yes_and_no_have_short_forms() {
        assert_eq!((yes_or_no("Y"), yes_or_no("yes")), (Ok(true), Ok(true)));
        assert_eq!((yes_or_no("n"), yes_or_no("No")), (Ok(false), Ok(false)));
        assert!(yes_or_no("maybe").is_err());
    }
}
