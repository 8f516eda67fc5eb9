//! A profile that has changed while the tunnel runs: performs the difference between its plans and those in force, by the
//! ledger, or nothing.

use std::{net::IpAddr, rc::Rc};

use super::{Steps, collisions::Addresses, facts, opened, step_failure};
use crate::{
    apply::{self, ApplyError, Changes},
    failure::{Failure, Phase},
    plan::{self, Collisions, Facts, Plan, Step},
    platform::Platform,
    profile::Profile,
    supervisor::preview::refusal,
};

/// The lines of the plans that a reload changes, as the dry run of `up` shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::supervisor) struct Difference {
    /// The steps that are not in force yet, in order.
    pub added: Vec<String>,
    /// The steps in force that the new plans do not have.
    pub removed: Vec<String>,
    /// Notes for the user.
    pub notes: Vec<String>,
}

/// Why a profile was not reloaded.
#[derive(Clone, Debug)]
pub(in crate::supervisor) struct NotReloaded {
    pub failure: Failure,
    /// Whether a step had been performed: what could not be restored then. `None` if nothing was changed.
    pub restored: Option<Vec<String>>,
}

impl From<Failure> for NotReloaded {
    fn from(failure: Failure) -> Self {
        Self { failure, restored: None }
    }
}

/// What the plans in force were made from.
struct Former {
    profile: Rc<Profile>,
    offered: Option<Profile>,
    found: Collisions,
    addresses: Addresses,
    transport: Option<Plan>,
}

/// The plans of a profile for this host as it is now; `None` for one that is not in force.
#[derive(Default)]
struct Plans {
    transport: Option<Plan>,
    network: Option<Plan>,
}

impl Plans {
    fn iter(&self) -> impl Iterator<Item = &Plan> {
        self.transport.iter().chain(&self.network)
    }
}

impl Steps {
    /// Replaces the profile; its plans are performed at the next dial.
    pub fn set_profile(&mut self, profile: Rc<Profile>) {
        self.profile = profile;
        self.renew_offered();
    }

    /// Performs the difference between the plans of this profile and those in force; or only returns it. `has_device` is
    /// whether the tunnel's device is there. After an error the former plans are in force again.
    pub fn reload(
        &mut self,
        profile: Rc<Profile>,
        has_device: bool,
        only_show: bool,
    ) -> Result<Difference, NotReloaded> {
        let former = Former {
            profile: self.profile.clone(),
            offered: self.offered.clone(),
            found: self.collisions.found.clone(),
            addresses: self.collisions.addresses.clone(),
            transport: self.collisions.transport.clone(),
        };
        let prepared = self.prepare(profile, has_device, &former.found);
        let (plans, mut difference) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => {
                self.restore(former);
                return Err(failure.into());
            }
        };
        if only_show {
            self.restore(former);
            return Ok(difference);
        }
        let changes = opened(&mut self.changes).map_err(|error| step_failure(Phase::Routes, &error))?;
        match perform(changes, &plans) {
            Ok(()) => {
                difference.notes.extend(changes.take_notes());
                Ok(difference)
            }
            Err(error) => {
                let failure = step_failure(Phase::Routes, &error);
                self.restore(former);
                let problems = self.perform_former(has_device);
                Err(NotReloaded { failure, restored: Some(problems) })
            }
        }
    }

    fn restore(&mut self, former: Former) {
        self.profile = former.profile;
        self.offered = former.offered;
        self.collisions.found = former.found;
        self.collisions.addresses = former.addresses;
        self.collisions.transport = former.transport;
    }

    /// Puts the plans into force again that were replaced half-way; returns what could not be restored.
    fn perform_former(&mut self, has_device: bool) -> Vec<String> {
        let plans = self.plans(has_device);
        let performed = plans.and_then(|plans| perform(opened(&mut self.changes)?, &plans));
        performed.err().map(|error| error.to_string()).into_iter().collect()
    }

    /// Takes the profile, checks what would make `up` refuse it, and compares its plans with those in force.
    fn prepare(
        &mut self,
        profile: Rc<Profile>,
        has_device: bool,
        known: &Collisions,
    ) -> Result<(Plans, Difference), Failure> {
        self.set_profile(profile);
        if self.collisions.transport.is_none() {
            return Ok((Plans::default(), Difference::default()));
        }
        let host = self.compare();
        // A route that collides since the host came to this network is left out, as before.
        let mut fresh = self.collisions.found.clone();
        fresh.found.retain(|one| !known.found.contains(one));
        if let Some(failure) = refusal(&self.profile, &fresh) {
            return Err(failure);
        }
        let mut difference = Difference::default();
        if let Some(link) = self.collisions.link.clone() {
            difference.notes = self.compare_link(&link, &host);
        }
        let failed = |error: ApplyError| step_failure(Phase::Routes, &error);
        let plans = self.plans(has_device).map_err(failed)?;
        let changes = opened(&mut self.changes).map_err(failed)?;
        for plan in plans.iter() {
            let held: Vec<&Step> = changes.steps_in_force(plan.part).collect();
            let fresh = plan.steps.iter().filter(|step| !held.contains(step));
            fresh.clone().try_for_each(apply::check_step).map_err(failed)?;
            let gone = held.iter().filter(|step| !plan.steps.contains(step));
            let (fresh, gone) =
                (fresh.map(|step| step.line(plan.platform)), gone.map(|step| step.line(plan.platform)));
            let (mut fresh, mut gone): (Vec<String>, Vec<String>) = (fresh.collect(), gone.collect());
            // A step that differs in what the line does not show, such as the environment of a hook.
            let both: Vec<String> = fresh.iter().filter(|line| gone.contains(line)).cloned().collect();
            fresh.retain(|line| !both.contains(line));
            gone.retain(|line| !both.contains(line));
            difference.added.extend(fresh);
            difference.removed.extend(gone);
            difference.notes.extend(plan.notes.iter().cloned());
        }
        Ok((plans, difference))
    }

    /// Returns the plans of the profile for this host as it is now.
    fn plans(&mut self, has_device: bool) -> Result<Plans, ApplyError> {
        if self.collisions.transport.is_none() {
            return Ok(Plans::default());
        }
        let planned = self.offered.as_ref().unwrap_or(&self.profile);
        let changes = opened(&mut self.changes)?;
        let server = self.collisions.server;
        let known = server.and_then(|server| facts(changes, planned, server).ok());
        let has_path = known.is_some();
        let known = known.unwrap_or_else(|| Facts {
            server: server.map(IpAddr::V4),
            tun: changes.device_name().map(str::to_owned),
            outside: changes.next_hops_outside(&planned.exclude),
            ..changes.facts_of_host(None)
        });
        let mut transport = plan::transport(planned, Platform::host()).resolve(&known);
        if !has_path {
            transport.steps.retain(|step| !matches!(step, Step::HostRoute(_)) && step.open().is_empty());
        }
        let transport = Some(self.collisions.around_transport(transport));
        Ok(Plans { transport, network: self.network_in_force(has_device) })
    }

    /// Adds the routes that the server offered last to those of the profile as it is now.
    fn renew_offered(&mut self) {
        let link =
            self.collisions.link.as_ref().filter(|_| self.offered.is_some() && self.profile.peer_routes);
        let routes =
            link.and_then(|link| Some((link.peer, link.routes.as_ref()?))).zip(self.collisions.server);
        self.offered = routes.map(|((peer, routes), server)| {
            plan::with_offered_routes(&self.profile, Platform::host(), server, peer, routes)
        });
    }
}

/// Performs both plans. What blocks packets is added first and removed last, so that none leaves meanwhile.
fn perform(changes: &mut Changes, plans: &Plans) -> Result<(), ApplyError> {
    let both: Vec<&Plan> = plans.iter().collect();
    changes.reload_rules(&both)?;
    plans.network.iter().try_for_each(|network| changes.replace_hook(network))?;
    plans.transport.iter().try_for_each(|transport| changes.extend(transport))?;
    plans.network.iter().try_for_each(|network| changes.perform(network))?;
    plans.transport.iter().try_for_each(|transport| changes.perform(transport))
}
