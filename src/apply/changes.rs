//! The changes that one tunnel makes to this host, from the first step performed to the last one undone.

mod facts;
mod reload;
mod renewal;
pub(super) mod undo;

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;

use super::{
    ApplyError, Cause, Directories, Host, dns,
    ledger::{Device, Entry, Header, Ledger, PriorState, StateLock},
    others,
    steps::{self, UndoContext},
};
use crate::{
    net::tun::Tun,
    plan::{DnsStep, Key, OpenTunStep, Part, Plan, PolicyStep, Step},
};

/// What one tunnel has done to this host. Plans are performed and undone through it.
///
/// Dropping it undoes nothing, like a crash; [`Changes::undo_all_and_close`] undoes everything.
#[must_use = "dropping a session leaves its steps to `recover`"]
pub struct Changes {
    pub(super) directories: Directories,
    pub(super) ledger: Ledger,
    pub(super) host: Host,
    tun: Option<Tun>,
    /// A device that the next step of opening one takes.
    prepared: Option<Tun>,
    pub(super) notes: Vec<String>,
    /// Numbers of the steps that failed half-way: they are in the ledger but perhaps not in force.
    pub(super) half_done: Vec<u64>,
    /// Whether the main table alone gave the kernel's next hop at the last query without our host route.
    pub(super) main_table_decides: bool,
    /// Whether it began with the kill switch of a dead supervisor.
    is_continued: bool,
}

impl Changes {
    /// Creates the ledger of a profile, or continues one with nothing but a kill switch. What else a dead supervisor
    /// left must have been recovered before.
    ///
    /// # Errors
    /// Returns [`Cause::LedgerExists`], or an error if the state directory can't be written.
    pub fn open(places: &Directories, profile: &str, host: Host) -> Result<Self, ApplyError> {
        Self::open_as(places, Header::of_this_process(profile), host)
    }

    /// Does the same as [`Changes::open`] for a process other than the calling one.
    ///
    /// # Errors
    /// As [`Changes::open`].
    pub fn open_as(places: &Directories, header: Header, host: Host) -> Result<Self, ApplyError> {
        let _lock = StateLock::take(&places.state)?;
        let header = header.at(host.named_netns());
        let adopted = Ledger::adopt(places, &header)?;
        let is_continued = adopted.is_some();
        let ledger = adopted.map_or_else(|| Ledger::create(places, header), Ok)?;
        Ok(Self { is_continued, ..Self::with(places, ledger, host) })
    }

    /// Returns the changes of a profile for reading facts alone, as any user: no step can be performed.
    ///
    /// # Errors
    /// Returns an error if this process has no descriptor left.
    pub fn read_only(places: &Directories, profile: &str, host: Host) -> Result<Self, ApplyError> {
        let header = Header::of_this_process(profile).at(host.named_netns());
        Ok(Self::with(places, Ledger::read_only(places, header)?, host))
    }

    fn with(places: &Directories, ledger: Ledger, host: Host) -> Self {
        Self {
            directories: places.clone(),
            ledger,
            host,
            tun: None,
            prepared: None,
            notes: Vec::new(),
            half_done: Vec::new(),
            main_table_decides: false,
            is_continued: false,
        }
    }

    /// Returns the tun device, once a transport plan has been performed.
    #[must_use]
    pub const fn tun(&self) -> Option<&Tun> {
        self.tun.as_ref()
    }

    /// Provides the device that the next step of opening one takes instead: a PPP unit of the kernel. It is removed if it
    /// is closed before that.
    pub fn prepare_device(&mut self, device: Tun) {
        self.prepared = Some(device);
    }

    /// Returns the name of the tunnel's device: the tun device, or the one of an external PPP daemon.
    #[must_use]
    pub fn device_name(&self) -> Option<&str> {
        Some(self.ledger.record().device.as_ref()?.name.as_str())
    }

    /// Records the device that an external PPP daemon has created; the following steps apply to it. The steps
    /// applied to an earlier device are undone, as they went away with that device.
    ///
    /// # Errors
    /// Returns an error if the device does not exist or the ledger can't be written.
    pub fn external_device(&mut self, name: &str) -> Result<(), ApplyError> {
        let found = self.host.link(name).map_err(ApplyError::observing)?;
        let Some(link) = found else {
            let errno = nix::errno::Errno::ENODEV;
            return Err(ApplyError::observing(crate::net::routes::Error::errno(
                format!("look up {name}"),
                errno,
            )));
        };
        let device = Device { name: link.name, index: link.index, existed: true };
        if self.ledger.record().device.as_ref().is_some_and(|earlier| *earlier != device) {
            let _lock = self.lock()?;
            self.undo_device_steps()?;
        }
        self.ledger.device(device)
    }

    /// Returns the steps in force, the oldest first.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.ledger.record().entries.iter().map(|entry| &entry.step)
    }

    /// Returns the notes for the user that the steps have added since the last call, one sentence each.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Makes the host match the plan. The first call performs every step; later calls apply only the
    /// difference to the last plan for the same part. New steps are performed before stale ones are undone,
    /// so that routes into the tunnel stay and no packet leaks meanwhile.
    ///
    /// # Errors
    /// Returns the error of the step that failed. The steps before it stay in force;
    /// [`Changes::undo_all_and_close`] undoes them.
    pub fn perform(&mut self, plan: &Plan) -> Result<(), ApplyError> {
        check_resolved(plan)?;
        let mut lock = self.lock()?;
        self.perform_steps(plan, &mut lock)?;
        let wanted: HashSet<Key> = plan.steps.iter().map(Step::key).collect();
        let stale = |entry: &&Entry| entry.part == plan.part && !wanted.contains(&entry.step.key());
        let stale: Vec<Entry> = self.ledger.record().entries.iter().filter(stale).rev().cloned().collect();
        self.with_route_cache(|session| {
            stale.iter().try_for_each(|entry| {
                undo::undo_entry(
                    &mut session.host,
                    &mut session.ledger,
                    &session.directories,
                    entry,
                    Some(&mut lock),
                )
            })
        })?;
        // On the BSDs routes go with the address that the device had when they were added.
        if stale.iter().any(|entry| matches!(entry.step, Step::Address(_) | Step::Address6(_))) {
            return self.renew_entries(|entry| entry.part == plan.part && entry.step.traits().is_routing).1;
        }
        Ok(())
    }

    /// Does the first half of [`Changes::perform`]: steps that the plan no longer contains stay in force.
    ///
    /// # Errors
    /// As [`Changes::perform`].
    pub fn extend(&mut self, plan: &Plan) -> Result<(), ApplyError> {
        check_resolved(plan)?;
        let mut lock = self.lock()?;
        self.perform_steps(plan, &mut lock)
    }

    fn perform_steps(&mut self, plan: &Plan, lock: &mut StateLock) -> Result<(), ApplyError> {
        if plan.part == Part::Transport {
            self.forget_lost_device()?;
        }
        // If a plan uses a key twice, the entry in force belongs to the first of the two steps.
        let mut held: HashMap<Key, Entry> = HashMap::new();
        for entry in &self.ledger.record().entries {
            held.entry(entry.step.key()).or_insert_with(|| entry.clone());
        }
        let mut taken: HashSet<Key> = HashSet::new();
        self.with_route_cache(|session| {
            plan.steps.iter().try_for_each(|step| {
                let key = step.key();
                let held =
                    if taken.insert(key.clone()) { held.remove(&key) } else { session.held_entry(&key) };
                match held {
                    Some(entry)
                        if entry.step == *step
                            && entry.part == plan.part
                            && !session.half_done.contains(&entry.number) =>
                    {
                        session.renew_entry(&entry).map(drop)
                    }
                    held => session
                        .perform_step(plan.part, step, held, lock)
                        .map_err(|error| others::name_holder(&session.directories, &session.ledger, error)),
                }
            })
        })
    }

    fn held_entry(&self, key: &Key) -> Option<Entry> {
        self.ledger.record().entries.iter().find(|entry| entry.step.key() == *key).cloned()
    }

    /// Takes the lock on the state directory. What was read before may be out of date: another tunnel had the lock.
    fn lock(&mut self) -> Result<StateLock, ApplyError> {
        let lock = StateLock::take(&self.directories.state)?;
        self.host.cache.invalidate_all();
        Ok(lock)
    }

    /// Runs a series of steps, each of which reads the routing table first, on one cache of the tables.
    fn with_route_cache<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.cache_routes(true);
        let done = work(self);
        self.cache_routes(false);
        done
    }

    /// Begins or ends a series of questions that are answered from one reading of each routing table, as far as it is
    /// recent enough. Series may be nested.
    pub fn cache_routes(&mut self, begin: bool) {
        if begin { self.host.cache.begin() } else { self.host.cache.end() }
    }

    /// Returns the resolvers that were set but that another program has changed since, one sentence each.
    pub fn resolver_problems(&mut self) -> Vec<String> {
        let steps: Vec<DnsStep> = self.resolver_steps().cloned().collect();
        let outcomes = steps.iter().map(|step| dns::problem(&mut self.host, step));
        outcomes.filter_map(|outcome| outcome.unwrap_or_else(|error| Some(error.to_string()))).collect()
    }

    /// Returns the files whose change may be a reason to call [`Changes::resolver_problems`].
    #[must_use]
    pub fn resolver_files(&self) -> Vec<std::path::PathBuf> {
        self.resolver_steps().filter_map(dns::watched).collect()
    }

    /// Returns whether all names are resolved through the tunnel, so that none can be while it is down.
    #[must_use]
    pub fn resolves_all_names(&self) -> bool {
        self.resolver_steps().any(|step| step.domains.is_empty())
    }

    fn resolver_steps(&self) -> impl Iterator<Item = &DnsStep> {
        self.ledger.record().entries.iter().filter_map(|entry| match &entry.step {
            Step::Dns(step) => Some(step),
            _ => None,
        })
    }

    /// Undoes everything but the kill switch and its policy steps (rules, excluded prefixes). Those stay in
    /// the ledger for `recover` or the next `up`.
    #[must_use = "these are the steps that could not be undone"]
    pub fn undo_all_but_kill_switch(mut self) -> Vec<ApplyError> {
        let (_lock, errors) = self.undo_all(|step| !step.is_of_kill_switch());
        errors
    }

    /// Undoes the steps that are in force only while the tunnel is up (routes into it, resolvers, packet filter,
    /// the device's state), the last one first, so that the host works while the tunnel is lost. The next
    /// [`Changes::perform`] of the network plan performs them again, the filter before the device is up. The
    /// device and its IPv4 addresses stay.
    #[must_use = "these are the steps that could not be undone"]
    pub fn withdraw_routes(&mut self) -> Vec<ApplyError> {
        let (_lock, errors) = self.undo_all(|step| step.traits().only_while_up);
        errors
    }

    /// Undoes the routes into the tunnel that lead to one of these prefixes, because a network of this host has
    /// them. The kill switch stays.
    #[must_use = "these are the steps that could not be undone"]
    pub fn withdraw_routes_to(&mut self, prefixes: &[IpNet]) -> Vec<ApplyError> {
        let (_lock, errors) = self.undo_all(|step| match step {
            Step::Route(route) => route.table.is_none() && prefixes.contains(&route.dest),
            _ => false,
        });
        errors
    }

    /// Undoes the addresses of the tunnel, because this host needs one of them otherwise.
    #[must_use = "these are the steps that could not be undone"]
    pub fn withdraw_addresses(&mut self) -> Vec<ApplyError> {
        let (_lock, errors) = self.undo_all(|step| matches!(step, Step::Address(_)));
        errors
    }

    /// Returns whether the kill switch is on: traffic for the tunnel can't leave by another route.
    #[must_use]
    pub fn has_kill_switch(&self) -> bool {
        let entries = &self.ledger.record().entries;
        entries
            .iter()
            .any(|entry| matches!(entry.step, Step::Policy(PolicyStep::Block { .. }) | Step::LeakFilter(_)))
    }

    /// Returns whether the kill switch was on before, left by a dead supervisor.
    #[must_use]
    pub const fn is_continued(&self) -> bool {
        self.is_continued
    }

    /// Undoes everything, the last step first, and closes the tun device. Errors do not stop it; they are
    /// returned. The ledger is removed if nothing is left that a retry could undo.
    #[must_use = "these are the steps that could not be undone"]
    pub fn undo_all_and_close(mut self) -> Vec<ApplyError> {
        let (_lock, mut errors) = self.undo_all(|_| true);
        errors.extend(self.ledger.close().err());
        errors
    }

    /// Undoes the steps for which `which` holds, network before transport, the last one first. It goes on
    /// without the lock if the lock can't be taken, because leaving steps in force is worse. Returns the
    /// lock, for further work under it.
    pub(super) fn undo_all(&mut self, which: impl Fn(&Step) -> bool) -> (Option<StateLock>, Vec<ApplyError>) {
        let (mut lock, mut errors) = match self.lock() {
            Ok(lock) => (Some(lock), Vec::new()),
            Err(error) => (None, vec![error]),
        };
        errors.extend(undo::undo_entries(
            &mut self.host,
            &mut self.ledger,
            &self.directories,
            lock.as_mut(),
            &mut self.tun,
            which,
        ));
        (lock, errors)
    }

    /// Handles a tun device that another program has removed, and with it everything configured on it: undoes
    /// the steps of the device, so that a new one is opened. Steps that keep traffic from leaving outside the
    /// tunnel stay.
    fn forget_lost_device(&mut self) -> Result<(), ApplyError> {
        let (Some(_), Some(device)) = (&self.tun, self.ledger.record().device.clone()) else { return Ok(()) };
        let found = self.host.link(&device.name).map_err(ApplyError::observing)?;
        if found.is_some_and(|link| link.index == device.index) {
            return Ok(());
        }
        self.undo_device_steps()?;
        self.tun = None;
        Ok(())
    }

    fn undo_device_steps(&mut self) -> Result<(), ApplyError> {
        let mut lost = self.ledger.record().entries.clone();
        lost.retain(|entry| entry.step.traits().of_device);
        for entry in lost.iter().rev() {
            undo::undo_entry(&mut self.host, &mut self.ledger, &self.directories, entry, None)?;
        }
        Ok(())
    }

    fn perform_step(
        &mut self,
        part: Part,
        step: &Step,
        held: Option<Entry>,
        lock: &mut StateLock,
    ) -> Result<(), ApplyError> {
        let failed = |cause: Cause| ApplyError::doing(step, cause);
        let verbs = steps::verbs(step);
        if let (Step::OpenTun(OpenTunStep { unit }), None) = (step, &held) {
            self.ledger.intend(part, step, PriorState::Nothing, None)?;
            let tun = match self.prepared.take() {
                Some(prepared) => prepared,
                None => self.host.open_tun(*unit).map_err(|error| failed(error.into()))?,
            };
            let Tun { index, existed, .. } = tun;
            self.ledger.device(Device { name: tun.name.clone(), index, existed })?;
            self.tun = Some(tun);
            return Ok(());
        }
        // The earlier process may still run; its pid file must not be taken for another program's.
        if let (Step::PidFile(_), Some(entry)) = (step, &held) {
            steps::verbs(&entry.step)
                .undo(&mut self.host, &entry.before, UndoContext::default())
                .map_err(failed)?;
        }
        // A step that replaces an earlier one of this tunnel inherits the state from before both.
        let instead = held.as_ref().map(|entry| entry.number);
        let before = match held {
            Some(entry) if entry.before != PriorState::Same => entry.before,
            _ => verbs.observe(&mut self.host).map_err(failed)?,
        };
        let number = self.ledger.intend(part, step, before.clone(), instead)?;
        let (host, notes) = (&mut self.host, &mut self.notes);
        let mut perform = || verbs.perform(host, &before, notes);
        let (performed, again) =
            if let Step::Hook(_) = step { lock.while_released(perform) } else { (perform(), Ok(())) };
        performed.inspect_err(|_| self.half_done.push(number)).map_err(failed)?;
        again
    }
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes")
            .field("ledger", &self.ledger)
            .field("tun", &self.tun)
            .finish_non_exhaustive()
    }
}

/// Refuses a plan with a step that still has an open symbol.
fn check_resolved(plan: &Plan) -> Result<(), ApplyError> {
    let open = plan.open();
    match plan.steps.iter().find(|step| !step.open().is_empty()) {
        Some(step) if !open.is_empty() => Err(ApplyError::doing(step, Cause::Unresolved(open))),
        _ => Ok(()),
    }
}
