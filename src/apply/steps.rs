//! What each step does to the host, what has to be remembered first, and how it is undone.

use std::net::IpAddr;

use super::{
    Cause, Host, dns,
    error::{gone, known},
    firewall, gre_sysctl, hook,
    ledger::{Device, PriorState},
    pidfile, policy_routing, ppp_daemon,
    routes::{self, lives},
};
use crate::{
    net::routes::Address,
    plan::{Key, Step},
};

/// What is at the place of a step now.
///
/// # Errors
/// [`Cause::Taken`] and [`Cause::CannotRestore`] say why the step must not be performed.
pub(super) fn observe(host: &mut dyn Host, step: &Step) -> Result<PriorState, Cause> {
    match step {
        Step::RemoveDefault { .. } | Step::HostRoute { .. } | Step::Route { .. } => {
            routes::observe(host, step)
        }
        Step::OpenTun { .. }
        | Step::Mtu { .. }
        | Step::Domain { .. }
        | Step::Address { .. }
        | Step::Address6 { .. }
        | Step::Up { .. }
        | Step::PidFile { .. } => Ok(PriorState::Nothing),
        Step::Ppp(step) => ppp_daemon::observe(host, step),
        Step::AllowGre => gre_sysctl::observe(host),
        Step::Policy(step) => policy_routing::observe(host, step),
        Step::Firewall(step) => firewall::observe(host, step),
        Step::Dns(step) => dns::observe(host, step),
        Step::Hook(step) => hook::observe(host, step),
    }
}

/// Performs a step whose place holds `before`. Opening the tun device is the session's, which keeps it.
///
/// What a person should know about how it went is added to `notes`.
pub(super) fn perform(
    host: &mut dyn Host,
    step: &Step,
    before: &PriorState,
    notes: &mut Vec<String>,
) -> Result<(), Cause> {
    match step {
        Step::OpenTun { .. } => {}
        Step::RemoveDefault { .. } | Step::HostRoute { .. } | Step::Route { .. } => {
            routes::perform(host, step, before)?;
        }
        Step::Mtu { tun, mtu } => host.set_mtu(known(tun)?, u32::from(*known(mtu)?))?,
        Step::Domain { tun, number } => host.set_domain(known(tun)?, *number)?,
        Step::Address { tun, .. } | Step::Address6 { tun, .. } => {
            match host.add_address(known(tun)?, &address_of(step)?) {
                Err(error) if error.is_present() => {}
                outcome => outcome?,
            }
        }
        Step::Up { tun } => host.set_up(known(tun)?, true)?,
        Step::PidFile { pid, .. } => {
            if let Key::File(path) = step.key() {
                pidfile::write(&path, *known(pid)?)?;
            }
        }
        // The daemon is started by the supervisor, which holds its line, when there is a call.
        Step::Ppp(_) => {}
        Step::AllowGre => gre_sysctl::perform(host, before)?,
        Step::Policy(step) => policy_routing::perform(host, step, before)?,
        Step::Firewall(step) => firewall::perform(host, step, notes)?,
        Step::Dns(step) => dns::perform(host, step, before)?,
        Step::Hook(step) => hook::perform(host, step, before)?,
    }
    Ok(())
}

/// Performs a step again that is in force, if something took its effect away meanwhile: a device that went
/// down takes its routes along. Whether a route or a rule was missing.
pub(super) fn renew(host: &mut dyn Host, step: &Step, before: &PriorState) -> Result<bool, Cause> {
    match step {
        Step::HostRoute { .. } | Step::Route { .. } => routes::renew(host, step, before),
        Step::AllowGre => gre_sysctl::renew(host, before).map(|()| false),
        Step::Policy(step) => policy_routing::renew(host, step, before),
        Step::Firewall(step) => firewall::renew(host, step).map(|()| false),
        Step::Dns(step) => dns::renew(host, step, before).map(|()| false),
        Step::Hook(step) => hook::renew(host, step, before).map(|()| false),
        _ => Ok(false),
    }
}

/// Undoes a step. `device` is the tun device it was performed on; `needed` says that another tunnel needs
/// what the step made.
pub(super) fn undo(
    host: &mut dyn Host,
    step: &Step,
    before: &PriorState,
    device: Option<&Device>,
    needed: bool,
) -> Result<(), Cause> {
    match step {
        Step::OpenTun { .. } => match device {
            Some(device) => gone(host.delete_link(&device.name, device.index)),
            None => Ok(()),
        },
        Step::RemoveDefault { .. } | Step::HostRoute { .. } | Step::Route { .. } => {
            routes::undo(host, step, before, device, needed)
        }
        // Goes with the device.
        Step::Mtu { .. } | Step::Domain { .. } => Ok(()),
        Step::Address { tun, .. } | Step::Address6 { tun, .. } => {
            let tun = known(tun)?;
            if lives(host, device, tun)? {
                gone(host.delete_address(tun, &address_of(step)?))
            } else {
                Ok(())
            }
        }
        Step::Up { tun } => {
            let tun = known(tun)?;
            if lives(host, device, tun)? { gone(host.set_up(tun, false)) } else { Ok(()) }
        }
        Step::PidFile { pid, .. } => match step.key() {
            Key::File(path) => pidfile::remove(&path, *known(pid)?),
            _ => Ok(()),
        },
        Step::Ppp(step) => ppp_daemon::undo(step),
        Step::AllowGre => gre_sysctl::undo(host, before, needed),
        Step::Policy(_) if needed => Ok(()),
        Step::Policy(step) => policy_routing::undo(host, step, before),
        Step::Firewall(step) => firewall::undo(host, step, device),
        Step::Dns(step) => dns::undo(host, step, before, device),
        Step::Hook(step) => hook::undo(host, step, before, device),
    }
}

fn address_of(step: &Step) -> Result<Address, Cause> {
    match step {
        Step::Address { local, peer, .. } => {
            let peer = peer.as_ref().map(known).transpose()?;
            let peer = peer.map(|peer| IpAddr::V4(*peer));
            Ok(Address { local: IpAddr::V4(*known(local)?), peer, prefix: 32 })
        }
        Step::Address6 { local, peer, .. } => Ok(Address {
            local: IpAddr::V6(*known(local)?),
            peer: Some(IpAddr::V6(*known(peer)?)),
            prefix: 64,
        }),
        _ => Err(Cause::Ledger("not an address".to_owned())),
    }
}
