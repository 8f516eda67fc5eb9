//! Inputs and actions that are out of date, because the machine has moved on since they came about.

use super::{Action, Input, Machine, TunnelState};

impl Action {
    const fn starts_a_child(&self) -> bool {
        matches!(self, Self::Resolve(_) | Self::Dial(_))
    }
}

impl Machine {
    /// Returns whether an input comes from a child that is gone: the machine has moved on, and a new child is yet
    /// to be started, or none is.
    pub(super) fn is_stale(&self, input: &Input) -> bool {
        let of_child = matches!(
            input,
            Input::Resolved(_)
                | Input::DialFailed(_)
                | Input::Phase(_)
                | Input::LinkUp(_)
                | Input::EngineEnded(_)
        );
        let no_child = !self.child || self.actions.iter().any(Action::starts_a_child);
        // The answer to Action::StopChild comes even if there was no child.
        of_child && no_child && self.state != TunnelState::Stopping
    }

    /// Drops the queued actions of an attempt that has ended: its link is gone, and a child that was not started yet
    /// must not run beside that of the next attempt.
    pub(super) fn drop_useless_actions(&mut self) {
        let before = self.actions.len();
        self.actions.retain(|action| !action.starts_a_child());
        if self.actions.len() < before {
            self.child = false;
        }
        self.actions.retain(|action| !matches!(action, Action::Configure(_) | Action::Ready));
    }
}
