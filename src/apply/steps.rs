//! Performs and undoes each kind of step, and reads the state to record before.

use std::net::IpAddr;

use super::{
    Cause, Host, KernelOp, dns,
    error::{gone, known},
    firewall, gre_sysctl, hook,
    ledger::{Device, PriorState},
    pidfile, policy_routing, ppp_daemon,
    routes::{self, device_still_exists},
};
use crate::{
    net::routes::Address,
    plan::{Key, Step},
};

/// Reads the state that a step would replace.
///
/// # Errors
/// Returns [`Cause::Taken`] or [`Cause::CannotRestore`] if the step must not be performed.
pub(super) fn observe(host: &mut Host, step: &Step) -> Result<PriorState, Cause> {
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

/// Performs a step that replaces `before`. `Changes` opens the tun device and keeps its descriptor.
///
/// Warnings for the user are added to `notes`.
pub(super) fn perform(
    host: &mut Host,
    step: &Step,
    before: &PriorState,
    notes: &mut Vec<String>,
) -> Result<(), Cause> {
    match step {
        Step::OpenTun { .. } => {}
        Step::RemoveDefault { .. } | Step::HostRoute { .. } | Step::Route { .. } => {
            routes::perform(host, step, before)?;
        }
        Step::Mtu { tun, mtu } => host.change(KernelOp::SetMtu(known(tun)?, u32::from(*known(mtu)?)))?,
        Step::Domain { tun, number } => host.change(KernelOp::SetDomain(known(tun)?, *number))?,
        Step::Address { tun, .. } | Step::Address6 { tun, .. } => {
            match host.change(KernelOp::AddAddress(known(tun)?, &address_of(step)?)) {
                Err(error) if error.is_present() => {}
                outcome => outcome?,
            }
        }
        Step::Up { tun } => host.change(KernelOp::SetUp(known(tun)?, true))?,
        Step::PidFile { pid, .. } => {
            if let Key::File(path) = step.key() {
                pidfile::write(&path, *known(pid)?)?;
            }
        }
        // The supervisor starts the daemon, on a pty, once there is a call.
        Step::Ppp(_) => {}
        Step::AllowGre => gre_sysctl::perform(host, before)?,
        Step::Policy(step) => policy_routing::perform(host, step, before)?,
        Step::Firewall(step) => firewall::perform(host, step, notes)?,
        Step::Dns(step) => dns::perform(host, step, before)?,
        Step::Hook(step) => hook::perform(host, step, before)?,
    }
    Ok(())
}

/// Performs a step in force again if its effect is gone: a device that goes down takes its routes along.
/// Returns whether a route or rule was missing.
pub(super) fn renew(host: &mut Host, step: &Step, before: &PriorState) -> Result<bool, Cause> {
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

/// Undoes a step. `device` is its tun device; `needed` is whether another tunnel needs the result.
pub(super) fn undo(
    host: &mut Host,
    step: &Step,
    before: &PriorState,
    device: Option<&Device>,
    needed: bool,
) -> Result<(), Cause> {
    match step {
        Step::OpenTun { .. } => match device {
            Some(device) => gone(host.change(KernelOp::DeleteLink(&device.name, device.index))),
            None => Ok(()),
        },
        Step::RemoveDefault { .. } | Step::HostRoute { .. } | Step::Route { .. } => {
            routes::undo(host, step, before, device, needed)
        }
        // Removed with the device.
        Step::Mtu { .. } | Step::Domain { .. } => Ok(()),
        Step::Address { tun, .. } | Step::Address6 { tun, .. } => {
            let tun = known(tun)?;
            if device_still_exists(host, device, tun)? {
                gone(host.change(KernelOp::DeleteAddress(tun, &address_of(step)?)))
            } else {
                Ok(())
            }
        }
        Step::Up { tun } => {
            let tun = known(tun)?;
            if device_still_exists(host, device, tun)? {
                gone(host.change(KernelOp::SetUp(tun, false)))
            } else {
                Ok(())
            }
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
