//! Notices that the tunnel's device was renamed, deleted or moved away: its routes lead nowhere then, and the tunnel is
//! dialled again with another device.

use super::Supervisor;
use crate::{
    apply::DeviceLoss,
    failure::{Failure, FailureKind, Phase},
    supervisor::machine::TunnelState,
};

/// Returns the failure for the loss of a device; `None` if its owner, an external PPP, reports the loss itself.
fn failure(loss: DeviceLoss, is_external: bool) -> Option<Failure> {
    let words = match loss {
        DeviceLoss::Renamed { from, to } => {
            format!("another program renamed the tunnel's device {from} to {to}")
        }
        DeviceLoss::Gone(_) if is_external => return None,
        DeviceLoss::Gone(name) => {
            format!("the tunnel's device {name} is gone: deleted, or moved to another network namespace")
        }
    };
    Some(Failure::new(Phase::Up, FailureKind::LinkStep, words))
}

impl Supervisor {
    /// Ends a link whose device can no longer be used.
    pub(super) fn check_device(&mut self) {
        if self.machine.state() != TunnelState::Up || !self.report.has_link() {
            return;
        }
        let loss = self.steps.device_loss();
        if let Some(failure) = loss.and_then(|loss| failure(loss, self.children.has_ppp())) {
            self.end_link(failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_of_an_external_device_is_left_to_its_owner() {
        let gone = || DeviceLoss::Gone("ppp0".to_owned());
        let renamed = || DeviceLoss::Renamed { from: "ppp0".to_owned(), to: "wan".to_owned() };
        assert_eq!(failure(gone(), true), None);
        for failure in [failure(gone(), false), failure(renamed(), false), failure(renamed(), true)] {
            let failure = failure.unwrap();
            assert_eq!((failure.phase, failure.kind), (Phase::Up, FailureKind::LinkStep));
            assert!(failure.detail.contains("ppp0"), "{failure}");
        }
    }
}
