//! Log-ins of earlier supervisors of the profile, and time during which the host was suspended.

use std::time::{Duration, Instant};

use super::Machine;
use crate::{failure::UndecidedLogin, supervisor::login_limit::LoginState};

impl Machine {
    /// Returns the undecided log-ins, to be stored for a later supervisor.
    #[must_use]
    pub fn logins(&self) -> Option<LoginState> {
        self.logins.state()
    }

    /// Continues the count of an earlier supervisor, whose last log-in was this long ago.
    pub fn restore_logins(&mut self, now: Instant, undecided: u32, how: UndecidedLogin, age: Duration) {
        self.logins.restore(now, undecided, how, age);
    }

    /// Returns how long the next log-in has to wait; `None` if it is allowed now.
    #[must_use]
    pub fn login_wait(&self, now: Instant) -> Option<Duration> {
        self.logins.wait(now)
    }

    /// Counts time for which the host was suspended and [`Instant`] stood still. [`super::Input::Woke`] follows.
    pub fn add_suspended(&mut self, slept: Duration) {
        self.logins.add_suspended(slept);
    }
}
