//! Changes by other programs to the tunnel's device: taken down, without our addresses, renamed, gone.

use super::{ApplyError, Changes, Host};
use crate::{plan::Step, platform::Platform};

/// Why a tunnel can no longer use its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceLoss {
    /// The device has another name now.
    Renamed {
        /// The name that it had.
        from: String,
        /// The name that it has.
        to: String,
    },
    /// No device here has its index: it was deleted, or moved to another network namespace.
    Gone(String),
}

impl Changes {
    /// Returns why the tunnel's device can no longer be used, if so.
    pub fn device_loss(&mut self) -> Option<DeviceLoss> {
        let device = self.ledger.record().device.clone()?;
        match self.host.link(&device.name) {
            Ok(Some(link)) if link.index == device.index => return None,
            Ok(_) => {}
            // The next message of the kernel leads to another look.
            Err(_) => return None,
        }
        Some(match self.host.link_name(device.index) {
            Some(to) => DeviceLoss::Renamed { from: device.name, to },
            None => DeviceLoss::Gone(device.name),
        })
    }

    /// Brings the device up and adds its addresses again, as far as the steps in force say that it was up and had
    /// them. Returns what was put back, in the order of the steps, and the first error.
    pub fn renew_device(&mut self) -> (Vec<String>, Result<(), ApplyError>) {
        let (put_back, renewed) = self.renew(|entry| is_device_setting(&entry.step));
        (put_back.iter().map(|step| step.line(Platform::host())).collect(), renewed)
    }
}

const fn is_device_setting(step: &Step) -> bool {
    matches!(step, Step::Address(_) | Step::Address6(_) | Step::Up(_))
}

impl Host {
    /// Returns the name of the interface with this index, in the namespace of the tunnel.
    fn link_name(&mut self, index: u32) -> Option<String> {
        self.inside(|kernel| kernel.link_name(index)).ok().flatten()
    }
}
