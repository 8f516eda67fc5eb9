//! The kernel's part in a call whose packets it moves: the supervisor binds the PPTP socket before the dial and connects it
//! once the server has given its call id, so that the engine, which negotiates, needs neither the right to create sockets
//! nor to connect them.

use super::{Supervisor, internal, kernel_dial::KernelDial, steps::Sockets};
use crate::{
    engine::{
        message::{Statistics, ToEngine},
        spec::Spec,
    },
    failure::{Failure, FailureKind, Phase},
    net::{
        kernel_ppp::{self, KernelCall},
        routes::Traffic,
    },
    supervisor::engine_spec,
};

/// Call ids that are tried. The kernel has one space of them for all its PPTP sockets.
const CALL_IDS: u32 = 16;

impl Supervisor {
    /// Binds the kernel's end of the call, if the kernel is to move the packets; `spec` gets the call id.
    pub(super) fn prepare_kernel_call(
        &mut self,
        spec: &mut Spec,
        sockets: &mut Sockets,
    ) -> Result<(), Failure> {
        let (true, Some(unit)) = (self.steps.is_kernel_path(), &sockets.tun) else { return Ok(()) };
        let local = self.network.local.ok_or_else(|| internal("the GRE socket has no address"))?;
        let mut tries = 0;
        let call = loop {
            tries += 1;
            match KernelCall::prepare(unit, local, spec.call_id, sockets.options.mark) {
                Ok(call) => break call,
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && tries < CALL_IDS => {
                    let another = engine_spec::another_call_id(&self.profile);
                    spec.call_id = another.ok_or_else(|| {
                        internal(&format!("another PPTP call of this host has call id {}", spec.call_id))
                    })?;
                }
                Err(error) => return Err(internal(&format!("PPTP socket of the kernel: {error}"))),
            }
        };
        let gre = sockets.gre.try_clone().map_err(|error| internal(&error.to_string()))?;
        spec.kernel = true;
        sockets.kernel = Some(KernelDial { call, server: *spec.server.ip(), gre, before: None });
        Ok(())
    }

    /// Gives the call to the kernel, as the server has answered with its call id.
    pub(super) fn attach(&mut self, peer_call_id: u16) {
        let Some(kernel) = self.children.kernel() else { return };
        match kernel.call.begin(kernel.server, peer_call_id) {
            Ok(()) => {
                self.children.send(&ToEngine::Attached);
            }
            Err(error) => {
                let words = format!("the kernel does not take the call: {error}");
                self.end_link(Failure::new(Phase::Call, FailureKind::LinkStep, words));
            }
        }
    }

    /// Records that the link is up: the copies that the engine's raw socket gets of each packet are of no use any more.
    pub(super) fn kernel_link_up(&mut self) {
        let device = self.steps.device_name().map(str::to_owned);
        let Some(kernel) = self.children.kernel() else { return };
        kernel.before = device.and_then(|device| kernel_ppp::traffic(&device));
        #[cfg(target_os = "linux")]
        if let Err(error) = crate::net::bpf::receive_nothing(&kernel.gre) {
            tracing::debug!(%error, "the raw socket still gets packets");
        }
        #[cfg(not(target_os = "linux"))]
        let _ = &kernel.gre;
    }

    /// Sets the counters of packets and bytes, which only the kernel has, to those of the device since the link is up.
    pub(super) fn add_kernel_traffic(&mut self, statistics: &mut Statistics) {
        let device = self.steps.device_name().map(str::to_owned);
        let Some(before) = self.children.kernel().and_then(|kernel| kernel.before) else { return };
        if let Some(now) = device.and_then(|device| kernel_ppp::traffic(&device)) {
            set_traffic(statistics, before, now);
        }
    }
}

fn set_traffic(statistics: &mut Statistics, before: Traffic, now: Traffic) {
    let of_link = [
        ("ppp.received_packets", now.received.0.saturating_sub(before.received.0)),
        ("ppp.received_bytes", now.received.1.saturating_sub(before.received.1)),
        ("ppp.sent_packets", now.sent.0.saturating_sub(before.sent.0)),
        ("ppp.sent_bytes", now.sent.1.saturating_sub(before.sent.1)),
    ];
    for (name, value) in &mut statistics.counters {
        if let Some((_, carried)) = of_link.iter().find(|(counter, _)| counter == name) {
            *value = *carried;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_those_of_the_device_since_the_link_is_up() {
        let counters = ["ppp.received_packets", "ppp.sent_bytes", "ppp.sent_control"];
        let counters = counters.map(|name| (name.to_owned(), 3)).to_vec();
        let mut statistics = Statistics { counters, ..Statistics::default() };
        let before = Traffic { received: (10, 1000), sent: (20, 2000), ..Traffic::default() };
        let now = Traffic { received: (15, 1500), sent: (27, 2700), ..Traffic::default() };
        set_traffic(&mut statistics, before, now);
        let values: Vec<u64> = statistics.counters.iter().map(|(_, value)| *value).collect();
        assert_eq!(values, [5, 700, 3]);
        // Another device took its place meanwhile.
        set_traffic(&mut statistics, now, before);
        assert_eq!(statistics.counters[0].1, 0);
    }
}
