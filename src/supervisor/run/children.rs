//! The child of the current attempt, a resolver or an engine: its messages, how it is ended, how it exits by
//! itself.

use std::time::{Duration, Instant};

use super::Supervisor;
use crate::{
    engine::{
        handle::{Engine, EngineOutput, Resolver},
        message::{FromEngine, ToEngine},
        resolver,
    },
    failure::{Failure, FailureKind, Phase},
    supervisor::machine::Input,
};

/// Messages of an engine that are handled before signals and the control socket are polled again.
const MOST_MESSAGES: usize = 64;

/// The child process of this tunnel.
pub(super) enum Child {
    None,
    Resolver(Resolver),
    Engine(Engine),
}

impl Supervisor {
    pub(super) fn stop_child(&mut self) {
        match &self.child {
            Child::Engine(_) => {
                self.end_ppp();
                let patience = self.stop_patience();
                let Child::Engine(engine) = &self.child else { return };
                // LCP Terminate, Call-Clear, Stop: each has its own limit. An engine that does not accept the
                // message is killed at once.
                let patience = if engine.send(&ToEngine::Stop) { patience } else { Duration::ZERO };
                self.child_due = Some(Instant::now() + patience);
            }
            Child::Resolver(_) => {
                self.kill_child();
                let stopped = Failure::new(Phase::Resolve, FailureKind::Interrupted, "");
                self.handle(Input::Resolved(Err(stopped)));
            }
            Child::None => {
                let stopped = Failure::new(self.machine.phase(), FailureKind::Interrupted, "");
                self.handle(Input::EngineEnded(stopped));
            }
        }
    }

    /// Returns how long a graceful shutdown of the engine may take.
    pub(super) fn stop_patience(&self) -> Duration {
        self.profile.timeouts.stop * 3 + Duration::from_secs(1)
    }

    pub(super) fn kill_child(&mut self) {
        self.child = Child::None;
        self.child_due = None;
    }

    pub(super) fn read_log(&mut self) {
        let Self { child, engine_log, .. } = self;
        let helper = match child {
            Child::Engine(engine) => engine.helper(),
            Child::Resolver(resolver) => resolver.helper(),
            Child::None => return,
        };
        helper.read_log(|bytes| engine_log.take(bytes));
    }

    pub(super) fn read_child(&mut self) {
        match &self.child {
            Child::Resolver(resolver) => {
                let Some(answer) = resolver.answer() else { return };
                let name = resolver.name().to_owned();
                self.kill_child();
                match answer {
                    resolver::Answer::Found(addresses) => self.name_resolved(&name, Ok(addresses)),
                    resolver::Answer::Failed(why) => {
                        let failure = Failure::new(
                            Phase::Resolve,
                            FailureKind::NameNotResolved,
                            format!("{name}: {why}"),
                        );
                        self.name_resolved(&name, Err(failure));
                    }
                }
            }
            Child::Engine(_) => {
                // Bounded, so that an engine that sends without end does not block the other sources.
                for _ in 0..MOST_MESSAGES {
                    let Child::Engine(engine) = &self.child else { break };
                    match engine.receive() {
                        EngineOutput::Message(message) => self.engine_said(message),
                        EngineOutput::Nothing => break,
                        EngineOutput::Ended(why) => self.engine_gone(&why),
                    }
                }
            }
            Child::None => {}
        }
    }

    fn engine_said(&mut self, message: FromEngine) {
        match message {
            FromEngine::Phase { phase, detail } => {
                self.say_phase(phase, &detail);
                self.handle(Input::Phase(phase));
                if phase == Phase::Lcp {
                    self.start_ppp();
                }
            }
            FromEngine::Up(link) => self.link_up(link),
            FromEngine::Statistics(statistics) => {
                if std::mem::take(&mut self.log_statistics) {
                    for (name, value) in statistics.counters.iter().filter(|(_, value)| *value > 0) {
                        tracing::info!("{name} {value}");
                    }
                }
                self.answer_status(Some(&statistics));
            }
            FromEngine::Down(failure) => {
                self.read_log();
                self.engine_ended(failure);
            }
        }
    }

    pub(super) fn engine_gone(&mut self, why: &str) {
        self.read_log();
        let how = match &mut self.child {
            Child::Engine(engine) => engine.helper().end(),
            _ => String::new(),
        };
        let failure = Failure::new(self.machine.phase(), FailureKind::Internal, format!("{why} ({how})"));
        self.engine_ended(failure);
    }

    fn engine_ended(&mut self, failure: Failure) {
        // If the daemon ended first, its reason counts; otherwise the engine's, which observed both
        // directions.
        let failure = match self.drop_ppp() {
            Some(verdict) if failure.kind == FailureKind::Interrupted => verdict,
            _ => failure,
        };
        self.kill_child();
        self.lost |= self.active.take().is_some();
        if self.query_due.is_some() {
            self.answer_status(None);
        }
        self.failed(failure, Input::EngineEnded);
    }
}
