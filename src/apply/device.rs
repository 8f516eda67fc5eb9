//! The tun device, its addresses and its settings.

use std::net::IpAddr;

use super::{
    Cause, Host, KernelOp,
    error::{gone, known},
    ledger::PriorState,
    routes::device_still_exists,
    steps::{Perform, UndoContext},
};
use crate::{
    net::routes::Address,
    plan::{Address6Step, AddressStep, DomainStep, MtuStep, OpenTunStep, UpStep, Value},
};

/// `Changes` opens the tun device and keeps its descriptor.
impl Perform for OpenTunStep {
    fn undo(&self, host: &mut Host, _before: &PriorState, context: UndoContext<'_>) -> Result<(), Cause> {
        let Some(device) = context.device else { return Ok(()) };
        if !device.existed {
            return gone(host.change(KernelOp::DeleteLink(&device.name, device.index)));
        }
        // Another program made it: it stays, down.
        if !device_still_exists(host, context.device, &device.name)? {
            return Ok(());
        }
        gone(host.change(KernelOp::SetUp(&device.name, false)))
    }
}

/// The setting is removed with the device; on a device that existed before, the previous one is restored.
impl Perform for MtuStep {
    fn observe(&self, host: &mut Host) -> Result<PriorState, Cause> {
        let link = host.link(known(&self.tun)?)?;
        Ok(link.map_or(PriorState::Nothing, |link| PriorState::Number(link.mtu)))
    }

    fn perform(&self, host: &mut Host, _before: &PriorState, _notes: &mut Vec<String>) -> Result<(), Cause> {
        Ok(host.change(KernelOp::SetMtu(known(&self.tun)?, u32::from(*known(&self.mtu)?)))?)
    }

    fn undo(&self, host: &mut Host, before: &PriorState, context: UndoContext<'_>) -> Result<(), Cause> {
        let tun = known(&self.tun)?;
        let Some(mtu) = number_to_restore(host, tun, before, context)? else { return Ok(()) };
        // Whatever it is now: an interrupted redial leaves the value of the connection before it.
        if host.link(tun)?.is_some_and(|link| link.mtu != mtu) {
            return gone(host.change(KernelOp::SetMtu(tun, mtu)));
        }
        Ok(())
    }
}

/// The setting is removed with the device; on a device that existed before, the previous one is restored.
impl Perform for DomainStep {
    fn observe(&self, host: &mut Host) -> Result<PriorState, Cause> {
        Ok(host.domain(known(&self.tun)?)?.map_or(PriorState::Nothing, PriorState::Number))
    }

    fn perform(&self, host: &mut Host, _before: &PriorState, _notes: &mut Vec<String>) -> Result<(), Cause> {
        Ok(host.change(KernelOp::SetDomain(known(&self.tun)?, self.number))?)
    }

    fn undo(&self, host: &mut Host, before: &PriorState, context: UndoContext<'_>) -> Result<(), Cause> {
        let tun = known(&self.tun)?;
        let Some(domain) = number_to_restore(host, tun, before, context)? else { return Ok(()) };
        // Another domain is another program's.
        if host.domain(tun)? == Some(self.number) {
            return gone(host.change(KernelOp::SetDomain(tun, domain)));
        }
        Ok(())
    }
}

/// Returns the setting that a device had before; `None` if it is gone, or goes when it is closed.
fn number_to_restore(
    host: &mut Host,
    tun: &str,
    before: &PriorState,
    context: UndoContext<'_>,
) -> Result<Option<u32>, Cause> {
    let PriorState::Number(number) = before else { return Ok(None) };
    let stays = context.device.is_some_and(|device| device.existed)
        && device_still_exists(host, context.device, tun)?;
    Ok(stays.then_some(*number))
}

impl Perform for AddressStep {
    fn perform(&self, host: &mut Host, _before: &PriorState, _notes: &mut Vec<String>) -> Result<(), Cause> {
        add(host, &self.tun, &self.address()?)
    }

    fn renew(&self, host: &mut Host, _before: &PriorState) -> Result<bool, Cause> {
        add_if_missing(host, &self.tun, &self.address()?)
    }

    fn undo(&self, host: &mut Host, _before: &PriorState, context: UndoContext<'_>) -> Result<(), Cause> {
        delete(host, &self.tun, &self.address()?, context)
    }
}

impl AddressStep {
    fn address(&self) -> Result<Address, Cause> {
        let peer = self.peer.as_ref().map(known).transpose()?;
        let peer = peer.map(|peer| IpAddr::V4(*peer));
        Ok(Address { local: IpAddr::V4(*known(&self.local)?), peer, prefix: 32 })
    }
}

impl Perform for Address6Step {
    fn perform(&self, host: &mut Host, _before: &PriorState, _notes: &mut Vec<String>) -> Result<(), Cause> {
        add(host, &self.tun, &self.address()?)
    }

    fn renew(&self, host: &mut Host, _before: &PriorState) -> Result<bool, Cause> {
        add_if_missing(host, &self.tun, &self.address()?)
    }

    fn undo(&self, host: &mut Host, _before: &PriorState, context: UndoContext<'_>) -> Result<(), Cause> {
        delete(host, &self.tun, &self.address()?, context)
    }
}

impl Address6Step {
    fn address(&self) -> Result<Address, Cause> {
        let (local, peer) = (IpAddr::V6(*known(&self.local)?), IpAddr::V6(*known(&self.peer)?));
        Ok(Address { local, peer: Some(peer), prefix: 64 })
    }
}

fn add(host: &mut Host, tun: &Value<String>, address: &Address) -> Result<(), Cause> {
    match host.change(KernelOp::AddAddress(known(tun)?, address)) {
        Err(error) if error.is_present() => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// Adds an address that a device has lost; returns whether it had.
fn add_if_missing(host: &mut Host, tun: &Value<String>, address: &Address) -> Result<bool, Cause> {
    let name = known(tun)?;
    if host.link(name)?.is_none() || host.has_address(name, address.local)? {
        return Ok(false);
    }
    add(host, tun, address)?;
    Ok(true)
}

fn delete(
    host: &mut Host,
    tun: &Value<String>,
    address: &Address,
    context: UndoContext<'_>,
) -> Result<(), Cause> {
    let tun = known(tun)?;
    if !device_still_exists(host, context.device, tun)? {
        return Ok(());
    }
    gone(host.change(KernelOp::DeleteAddress(tun, address)))
}

impl Perform for UpStep {
    fn perform(&self, host: &mut Host, _before: &PriorState, _notes: &mut Vec<String>) -> Result<(), Cause> {
        Ok(host.change(KernelOp::SetUp(known(&self.tun)?, true))?)
    }

    fn renew(&self, host: &mut Host, _before: &PriorState) -> Result<bool, Cause> {
        let tun = known(&self.tun)?;
        if host.link(tun)?.is_none_or(|link| link.up) {
            return Ok(false);
        }
        host.change(KernelOp::SetUp(tun, true))?;
        Ok(true)
    }

    fn undo(&self, host: &mut Host, _before: &PriorState, context: UndoContext<'_>) -> Result<(), Cause> {
        let tun = known(&self.tun)?;
        if !device_still_exists(host, context.device, tun)? {
            return Ok(());
        }
        gone(host.change(KernelOp::SetUp(tun, false)))
    }
}
