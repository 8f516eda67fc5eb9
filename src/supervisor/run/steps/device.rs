//! The device for the kernel's data path: a PPP unit, opened before the step that would open a tun device.

use std::rc::Rc;

use super::{Steps, opened, step_failure};
use crate::{
    failure::{Failure, FailureKind, Phase},
    net::{kernel_ppp, tun},
    platform::Platform,
    profile::{DataPath, Demand, Profile},
    supervisor::data_path::{self, Choice},
};

impl Steps {
    /// Returns who moves the packets; `None` before the first dial.
    pub fn data_path(&self) -> Option<&Choice> {
        self.data_path.as_ref()
    }

    /// Returns whether the kernel moves the packets.
    pub fn is_kernel_path(&self) -> bool {
        self.data_path == Some(Choice::Kernel)
    }

    /// Decides who moves the packets, at the first dial, and opens a PPP unit if it is the kernel and there is no device.
    pub(super) fn prepare_device(&mut self) -> Result<(), Failure> {
        if matches!(self.data_path, Some(Choice::Userland(_))) {
            return Ok(());
        }
        let changes = opened(&mut self.changes).map_err(|error| step_failure(Phase::Connect, &error))?;
        if changes.tun().is_some() && changes.device_loss().is_none() {
            return Ok(());
        }
        let (profile, mut unit) = (&self.profile, None);
        let open = || {
            kernel_ppp::probe()?;
            let opened = match kernel_ppp::open_unit(profile.unit) {
                // The step of opening a tun device fails for the same reason, in words of its own.
                Err(tun::Error::InUse(_)) => return Ok(()),
                opened => opened.map_err(|error| format!("the kernel creates no PPP device: {error}"))?,
            };
            if profile.mppe.demand != Demand::Off {
                kernel_ppp::probe_mppe(&opened.fd)?;
            }
            unit = Some(opened);
            Ok(())
        };
        let choice = data_path::choose(profile, Platform::host(), open).map_err(|why| {
            let words = format!("data-path = \"kernel\": {why}");
            Failure::new(Phase::Connect, FailureKind::NoTun, words)
                .hint("data-path = \"auto\" takes the engine's path where the kernel has none")
        })?;
        tracing::info!("data path: {choice}");
        let data_path = if choice == Choice::Kernel { DataPath::Kernel } else { DataPath::Userland };
        self.profile = Rc::new(Profile { data_path, ..Profile::clone(profile) });
        self.data_path = Some(choice);
        unit.into_iter().for_each(|unit| changes.prepare_device(unit));
        Ok(())
    }
}
