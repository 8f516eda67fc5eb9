//! The pause of the kill switch: for the login page of a captive portal, for a bounded time.
//!
//! The kernel ends it, by an element of a set whose time is over; the timer here only removes what is left of it.

use std::time::{Duration, Instant};

use super::Supervisor;
use crate::{
    failure::Failure,
    plan,
    platform::Platform,
    profile::Profile,
    supervisor::{ipc::messages::Response, machine::TunnelState},
};

/// The length of a pause if none is given.
const USUAL: Duration = Duration::from_secs(5 * 60);

/// Adds the next step to a failure that a captive portal may have caused, if the kill switch keeps its login page out.
/// `goes_on` is whether the supervisor dials again, so that the kill switch stays.
pub(super) fn advised(failure: Failure, profile: &Profile, goes_on: bool) -> Failure {
    let names_portal =
        failure.hints.iter().any(|hint| hint.contains("captive portal") || hint.contains("web login"));
    if !names_portal || !goes_on || plan::pause_refusal(profile, Platform::host()).is_some() {
        return failure;
    }
    let name = &profile.name;
    failure.hint(format!(
        "leak = \"block\" keeps a login page out, too: `pptpctl pause {name}` lets web pages through for 5 minutes"
    ))
}

impl Supervisor {
    /// Answers a request for a pause, or for its end.
    pub(super) fn pause(&mut self, seconds: Option<u32>, end: bool) -> Response {
        if end {
            let was_paused = self.pause.is_some();
            self.end_pause("the user asks for it");
            return match self.pause {
                Some(_) => {
                    Response::Refused("the pause could not be undone; `pptpctl logs` says why".to_owned())
                }
                None if was_paused => Response::Pause { left: None },
                None => Response::Refused("the kill switch is not paused".to_owned()),
            };
        }
        let length = seconds.map_or(USUAL, |seconds| Duration::from_secs(seconds.into()));
        match self.begin_pause(length) {
            Ok(()) => Response::Pause { left: self.pause_left() },
            Err(why) => Response::Refused(why),
        }
    }

    fn begin_pause(&mut self, length: Duration) -> Result<(), String> {
        if let Some(why) = plan::pause_refusal(&self.profile, Platform::host()) {
            return Err(why);
        }
        if length.is_zero() || length > plan::LONGEST_PAUSE {
            return Err(format!("a pause lasts 1 s to {} min", plan::LONGEST_PAUSE.as_secs() / 60));
        }
        match self.machine.state() {
            TunnelState::Up | TunnelState::Configuring => {
                return Err("the tunnel is up, so no login page is in its way: nothing was opened".to_owned());
            }
            TunnelState::Stopping | TunnelState::Ended => {
                return Err("the tunnel is being taken down".to_owned());
            }
            _ => {}
        }
        // From before the steps, as the kernel's time begins in them.
        let due = Instant::now() + length;
        self.steps.pause(length)?;
        self.pause = Some(due);
        self.check_resolvers();
        tracing::warn!(
            "the kill switch is paused for {} s: this host's names and web pages pass outside the tunnel",
            length.as_secs()
        );
        Ok(())
    }

    /// Ends the pause, if there is one. What stays is tried again by the end of the tunnel; the kernel lets nothing pass
    /// by it once its time is over.
    pub(super) fn end_pause(&mut self, why: &str) {
        if self.pause.is_none() {
            return;
        }
        match self.steps.end_pause() {
            Ok(()) => tracing::info!("the pause of the kill switch has ended: {why}"),
            Err(problem) => {
                tracing::error!("the pause of the kill switch: {problem}");
                // Until its time is over, the rules that remain let packets pass: it is still a pause.
                if self.pause.is_some_and(|due| due > Instant::now()) {
                    return;
                }
            }
        }
        self.pause = None;
    }

    /// Returns the seconds until the pause ends, rounded up.
    pub(super) fn pause_left(&self) -> Option<u64> {
        let left = self.pause?.saturating_duration_since(Instant::now());
        Some(left.as_secs() + u64::from(left.subsec_nanos() > 0))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        failure::{FailureKind, Phase},
        profile::Profiles,
    };

    #[test]
    #[cfg(target_os = "linux")]
    fn pause_is_named_where_a_portal_may_be_the_cause_and_the_kill_switch_stays() {
        let of = |keys: &str| {
            let text = format!("[profile.x]\nserver = '192.0.2.1'\nuser = 'u'\npassword.fd = 3\n{keys}");
            Profiles::from_text(Path::new("x"), &text, true).get("x").unwrap().clone()
        };
        let blocked = of("default = true\nleak = 'block'");
        let portal = || {
            Failure::new(Phase::Control, FailureKind::ControlRefused, "")
                .hint("a web server answers: a captive portal (open a web page and log in)")
        };
        let named = |failure: Failure| failure.hints.iter().any(|hint| hint.contains("`pptpctl pause x`"));
        assert!(named(advised(portal(), &blocked, true)));
        assert!(!named(advised(portal(), &blocked, false)), "everything is undone");
        assert!(!named(advised(portal(), &of("default = true"), true)));
        let other = Failure::new(Phase::Connect, FailureKind::NoRoute, "").hint("no network");
        assert!(!named(advised(other, &blocked, true)));
    }
}
