//! Default routes of other programs that lead into the tunnel by mistake.
//!
//! A program that adds a default route without naming the interface (`route add default GATEWAY`) leaves the choice to
//! the kernel, which looks the gateway up. If a route into the tunnel covers the gateway at that moment, the default
//! route leads into the tunnel, and disappears with its device.

use super::{ApplyError, Changes, KernelOp, routes};
use crate::{
    net::routes::{Filter, Insert},
    plan::Surroundings,
};

impl Changes {
    /// Moves default routes whose gateway is on a connected network from the tunnel's device to the interface of that
    /// network. They are not recorded: without the tunnel they would be the same.
    #[must_use = "these are the routes that could not be moved"]
    pub fn free_gateways(&mut self, host: &Surroundings) -> Vec<ApplyError> {
        let Some(own) = self.device_name().map(str::to_owned) else { return Vec::new() };
        let found = match self.host.routes(&Filter::defaults(false)) {
            Ok(found) => found,
            Err(error) => return vec![ApplyError::observing(error)],
        };
        let misled = found.into_iter().filter(|route| {
            !route.is_ours() && route.leaves_by(&own) && routes::cannot_restore(route).is_none()
        });
        let mut errors = Vec::new();
        for mut route in misled {
            let [hop] = route.hops.as_mut_slice() else { continue };
            let network = host
                .connected
                .iter()
                .filter(|one| hop.via.is_some_and(|via| one.network.contains(&via)))
                .max_by_key(|one| one.network.prefix_len());
            let Some(network) = network else { continue };
            hop.dev = Some(network.dev.clone());
            tracing::info!("the default route led into the tunnel: moved to {route}");
            let moved = self.host.change(KernelOp::AddRoute(&route, Insert::Replace));
            errors.extend(moved.err().map(ApplyError::observing));
        }
        errors
    }
}
