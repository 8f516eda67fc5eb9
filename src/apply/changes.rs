//! The changes that one tunnel makes to this host, from the first step to the last undoing.

pub(super) mod undo;

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;

use super::{
    ApplyError, Cause, Directories, Host, dns,
    ledger::{self, Device, Entry, Header, Ledger, PriorState, StateLock},
    route_cache::RouteCache,
    routes, steps,
};
use crate::{
    net::{routes::Filter, tun::Tun},
    plan::{DnsStep, FIRST_TABLE, Facts, KeepDefault, Key, NextHop, Part, Plan, PolicyStep, SLOTS, Step},
};

/// What one tunnel has done to this host: plans are performed through it, and taken back.
///
/// Dropping it undoes nothing, as a crash would; [`Changes::undo_all_and_close`] does.
#[must_use = "dropping a session leaves its steps to `recover`"]
pub struct Changes {
    pub(super) directories: Directories,
    pub(super) ledger: Ledger,
    pub(super) host: RouteCache<'static>,
    tun: Option<Tun>,
    pub(super) notes: Vec<String>,
    /// Steps of the ledger, by number, that failed half-way: that they are in it does not mean that they are in
    /// force.
    unsure: Vec<u64>,
    /// Whether the main table alone told the kernel's way when it was last asked without a host route of ours.
    pub(super) by_the_table: bool,
}

impl Changes {
    /// Opens the ledger of a profile. What a dead supervisor left must have been recovered before.
    ///
    /// # Errors
    /// [`Cause::LedgerExists`]; or that the state directory can't be written.
    pub fn open(places: &Directories, profile: &str, host: Box<dyn Host>) -> Result<Self, ApplyError> {
        Self::open_as(places, Header::here(profile), host)
    }

    /// The same for a process other than the calling one.
    ///
    /// # Errors
    /// As [`Changes::open`].
    pub fn open_as(places: &Directories, header: Header, host: Box<dyn Host>) -> Result<Self, ApplyError> {
        let _lock = StateLock::take(&places.state)?;
        let ledger = Ledger::create(places, header.at(host.place()))?;
        Ok(Self {
            directories: places.clone(),
            ledger,
            host: RouteCache::own(host),
            tun: None,
            notes: Vec::new(),
            unsure: Vec::new(),
            by_the_table: false,
        })
    }

    /// The tun device, once a transport plan has been performed.
    #[must_use]
    pub const fn tun(&self) -> Option<&Tun> {
        self.tun.as_ref()
    }

    /// The name of the tunnel's device: of the tun device, or of an external PPP's.
    #[must_use]
    pub fn device_name(&self) -> Option<&str> {
        Some(self.ledger.record().device.as_ref()?.name.as_str())
    }

    /// An external PPP has made its device: the steps that follow are about that one, and what was done to an earlier one
    /// went with it.
    ///
    /// # Errors
    /// When it is not there, or the ledger can't be written.
    pub fn external_device(&mut self, name: &str) -> Result<(), ApplyError> {
        let found = self.host.link(name).map_err(ApplyError::observing)?;
        let Some(link) = found else {
            let errno = nix::errno::Errno::ENODEV;
            return Err(ApplyError::observing(crate::net::routes::Error::errno(
                format!("look up {name}"),
                errno,
            )));
        };
        let device = Device { name: link.name, index: link.index };
        if self.ledger.record().device.as_ref().is_some_and(|earlier| *earlier != device) {
            let _lock = StateLock::take(&self.directories.state)?;
            self.undo_of_device()?;
        }
        self.ledger.device(device)
    }

    /// What a person should know about how the steps went, one sentence each; what is new since it was asked last.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// What this host says about the way to a server: enough to resolve a transport plan. `source` is the
    /// profile's localbind.
    ///
    /// # Errors
    /// When there is no way to the server ([`crate::net::routes::Error::is_unreachable`]).
    pub fn facts(&mut self, server: Ipv4Addr, source: Option<Ipv4Addr>) -> Result<Facts, ApplyError> {
        Ok(Facts {
            server: Some(IpAddr::V4(server)),
            next_hop: Some(self.next_hop(server, source)?),
            tun: self.ledger.record().device.as_ref().map(|device| device.name.clone()),
            pid: Some(self.ledger.record().header.pid),
            keep_default: self.keep_default(),
            table: Some(self.table()),
            forwarding: self.host.forwards(),
            ..Facts::default()
        })
    }

    /// Of these facts, only the way: what a change of the network is judged by.
    ///
    /// # Errors
    /// As [`Changes::facts`].
    pub fn next_hop(&mut self, server: Ipv4Addr, source: Option<Ipv4Addr>) -> Result<NextHop, ApplyError> {
        self.way_to(IpAddr::V4(server), source.map(IpAddr::V4))
    }

    /// How the kernel reaches each of these prefixes, the tunnel aside: the facts behind `exclude`. `None` where it
    /// has no way now.
    pub fn outside(&mut self, prefixes: &[IpNet]) -> Vec<(IpNet, Option<NextHop>)> {
        // The first host of a prefix: the prefix's own address may be a broadcast address, which has a way of its own.
        let host = |prefix: &IpNet| prefix.hosts().next().unwrap_or_else(|| prefix.network());
        // What is known of the server's way is not what is known of theirs.
        let by_the_table = self.by_the_table;
        let ways = prefixes.iter().map(|prefix| (*prefix, self.way_to(host(prefix), None).ok())).collect();
        self.by_the_table = by_the_table;
        ways
    }

    /// Makes the host be as the plan says. The first time every step is performed; later only what differs
    /// from the last plan for the same part: what is new first, then what is no longer wanted is undone, so
    /// that routes into the tunnel stay and nothing leaks meanwhile.
    ///
    /// # Errors
    /// The step that failed. The steps before it stay in force: [`Changes::undo_all_and_close`] takes them back.
    pub fn perform(&mut self, plan: &Plan) -> Result<(), ApplyError> {
        check_resolved(plan)?;
        let mut lock = StateLock::take(&self.directories.state)?;
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
        })
    }

    /// The first half of [`Changes::perform`]: what the plan no longer wants stays.
    ///
    /// # Errors
    /// As [`Changes::perform`].
    pub fn extend(&mut self, plan: &Plan) -> Result<(), ApplyError> {
        check_resolved(plan)?;
        self.perform_steps(plan, &mut StateLock::take(&self.directories.state)?)
    }

    fn perform_steps(&mut self, plan: &Plan, lock: &mut StateLock) -> Result<(), ApplyError> {
        if plan.part == Part::Transport {
            self.forget_lost_device()?;
        }
        // A plan may name a place twice; then what is in force there is the first one's doing.
        let mut held: HashMap<Key, Entry> = HashMap::new();
        for entry in &self.ledger.record().entries {
            held.entry(entry.step.key()).or_insert_with(|| entry.clone());
        }
        let mut taken: HashSet<Key> = HashSet::new();
        self.with_route_cache(|session| {
            plan.steps.iter().try_for_each(|step| {
                let key = step.key();
                let held = if taken.insert(key.clone()) { held.remove(&key) } else { session.held(&key) };
                match held {
                    Some(entry)
                        if entry.step == *step
                            && entry.part == plan.part
                            && !session.unsure.contains(&entry.number) =>
                    {
                        session.renew_entry(&entry).map(drop)
                    }
                    held => session.take_step(plan.part, step, held, lock),
                }
            })
        })
    }

    fn held(&self, key: &Key) -> Option<Entry> {
        self.ledger.record().entries.iter().find(|entry| entry.step.key() == *key).cloned()
    }

    /// Step after step, each of which looks at its place first.
    fn with_route_cache<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.host.begin();
        let done = work(self);
        self.host.end();
        done
    }

    /// Puts back what of our routes and rules something has taken away meanwhile: a device that went down takes its
    /// routes along. How many there were; and why the first that could not be put back was not, those after it were
    /// looked at all the same.
    pub fn renew_routes(&mut self) -> (usize, Result<(), ApplyError>) {
        let _lock = match StateLock::take(&self.directories.state) {
            Ok(lock) => lock,
            Err(error) => return (0, Err(error)),
        };
        let (mut missing, mut first) = (0, None);
        self.with_route_cache(|session| {
            for entry in session.ledger.record().entries.clone() {
                let route = matches!(
                    entry.step,
                    Step::HostRoute { .. }
                        | Step::Route { .. }
                        | Step::RemoveDefault { .. }
                        | Step::Policy(_)
                );
                if route && !session.unsure.contains(&entry.number) {
                    match session.renew_entry(&entry) {
                        Ok(was_missing) => missing += usize::from(was_missing),
                        Err(error) => drop(first.get_or_insert(error)),
                    }
                }
            }
        });
        (missing, first.map_or(Ok(()), Err))
    }

    /// Whether something had taken it away.
    fn renew_entry(&mut self, entry: &Entry) -> Result<bool, ApplyError> {
        if let (Step::RemoveDefault { ipv6 }, PriorState::Routes(kept)) = (&entry.step, &entry.before) {
            return self.remove_again(entry, *ipv6, kept);
        }
        steps::renew(&mut self.host, &entry.step, &entry.before)
            .map_err(|cause| ApplyError::doing(&entry.step, cause))
    }

    /// What of the resolvers that were set is not in force any more: someone else has changed it. One sentence each.
    pub fn resolver_problems(&mut self) -> Vec<String> {
        let steps: Vec<DnsStep> = self.resolver_steps().cloned().collect();
        let outcomes = steps.iter().map(|step| dns::problem(&mut self.host, step));
        outcomes.filter_map(|outcome| outcome.unwrap_or_else(|error| Some(error.to_string()))).collect()
    }

    /// The files whose change may mean that [`Changes::resolver_problems`] has something to say.
    #[must_use]
    pub fn resolver_files(&self) -> Vec<std::path::PathBuf> {
        self.resolver_steps().filter_map(dns::watched).collect()
    }

    /// Whether names are asked through the tunnel: all of them, so that none can be while it is away.
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

    /// Undoes everything but the kill switch and what belongs to it (rules, what stays outside): that is left to
    /// `recover`, or to the next `up`, in the ledger.
    #[must_use = "these are the steps that could not be undone"]
    pub fn undo_all_but_kill_switch(mut self) -> Vec<ApplyError> {
        let (_lock, errors) = self.undo_all(|step| !matches!(step, Step::Policy(_)));
        errors
    }

    /// The tunnel is lost, and the host is to work without it: undoes what leads into it, the last step first. The next
    /// [`Changes::perform`] of the network plan does it again. The device, and what is done to it, stays.
    #[must_use = "these are the steps that could not be undone"]
    pub fn withdraw_routes(&mut self) -> Vec<ApplyError> {
        let (_lock, errors) = self.undo_all(Step::leads_into_tunnel);
        errors
    }

    /// Whether the kill switch is on: what is meant for the tunnel has no other way.
    #[must_use]
    pub fn blocks(&self) -> bool {
        let entries = &self.ledger.record().entries;
        entries.iter().any(|entry| matches!(entry.step, Step::Policy(PolicyStep::Block { .. })))
    }

    /// Undoes everything, the last step first, and closes the tun device. Nothing stops it; what went wrong
    /// is in the list. The ledger is removed when nothing is left that trying again could undo.
    #[must_use = "these are the steps that could not be undone"]
    pub fn undo_all_and_close(mut self) -> Vec<ApplyError> {
        let (_lock, mut errors) = self.undo_all(|_| true);
        errors.extend(self.ledger.close().err());
        errors
    }

    /// Undoes the steps of which this holds, network before transport, the last first; without the lock if it is not to
    /// be had, because what stays in force is worse. Gives the lock, for what else belongs to it.
    fn undo_all(&mut self, which: impl Fn(&Step) -> bool) -> (Option<StateLock>, Vec<ApplyError>) {
        let (mut lock, mut errors) = match StateLock::take(&self.directories.state) {
            Ok(lock) => (Some(lock), Vec::new()),
            Err(error) => (None, vec![error]),
        };
        errors.extend(undo::undo_entries(
            &mut self.host,
            &mut self.ledger,
            &self.directories,
            lock.as_mut(),
            which,
        ));
        (lock, errors)
    }

    /// Someone may have taken the device away, and with it everything that was done to it: then a new one is
    /// opened. What keeps traffic from leaving another way stays.
    fn forget_lost_device(&mut self) -> Result<(), ApplyError> {
        let (Some(_), Some(device)) = (&self.tun, self.ledger.record().device.clone()) else { return Ok(()) };
        let found = self.host.link(&device.name).map_err(ApplyError::observing)?;
        if found.is_some_and(|link| link.index == device.index) {
            return Ok(());
        }
        self.undo_of_device()?;
        self.tun = None;
        Ok(())
    }

    fn undo_of_device(&mut self) -> Result<(), ApplyError> {
        let mut lost = self.ledger.record().entries.clone();
        lost.retain(|entry| entry.step.is_of_device());
        for entry in lost.iter().rev() {
            undo::undo_entry(&mut self.host, &mut self.ledger, &self.directories, entry, None)?;
        }
        Ok(())
    }

    fn take_step(
        &mut self,
        part: Part,
        step: &Step,
        held: Option<Entry>,
        lock: &mut StateLock,
    ) -> Result<(), ApplyError> {
        let failed = |cause: Cause| ApplyError::doing(step, cause);
        if let (Step::OpenTun { unit }, None) = (step, &held) {
            self.ledger.intend(part, step, PriorState::Nothing, None)?;
            let tun = self.host.open_tun(*unit).map_err(|error| failed(error.into()))?;
            self.ledger.device(Device { name: tun.name.clone(), index: tun.index })?;
            self.tun = Some(tun);
            return Ok(());
        }
        // The earlier process may still run for a moment; its file must not look like someone else's.
        if let (Step::PidFile { .. }, Some(entry)) = (step, &held) {
            steps::undo(&mut self.host, &entry.step, &entry.before, None, false).map_err(failed)?;
        }
        // A step that takes over the place of an earlier one of ours inherits what was there before both.
        let (before, instead) = match held {
            Some(entry) if entry.before != PriorState::Same => (entry.before, Some(entry.number)),
            Some(entry) => {
                let before = steps::observe(&mut self.host, step).map_err(failed)?;
                (before, Some(entry.number))
            }
            None => (steps::observe(&mut self.host, step).map_err(failed)?, None),
        };
        let number = self.ledger.intend(part, step, before.clone(), instead)?;
        let (host, notes) = (&mut self.host, &mut self.notes);
        let mut perform = || steps::perform(host, step, &before, notes);
        let (performed, again) =
            if let Step::Hook(_) = step { lock.aside(perform) } else { (perform(), Ok(())) };
        performed.inspect_err(|_| self.unsure.push(number)).map_err(failed)?;
        again
    }

    /// The routing table of this tunnel: the one that it has, or one that nobody uses, neither as a table nor as a
    /// mark. The same profile finds the same one again as long as it is free.
    fn table(&mut self) -> u32 {
        let held = self.ledger.record().entries.iter().find_map(|entry| table_of(&entry.step));
        if let Some(table) = held {
            return table;
        }
        let mut used: Vec<u32> = Vec::new();
        for ipv6 in [false, true] {
            let rules = self.host.rules(ipv6).unwrap_or_default();
            used.extend(rules.iter().flat_map(|rule| [Some(rule.table), rule.mark]).flatten());
        }
        let ledgers = ledger::list(&self.directories.state).unwrap_or_default();
        let others = ledgers.iter().filter(|path| *path != self.ledger.path());
        for record in others.filter_map(|path| ledger::peek(path)) {
            used.extend(record.entries.iter().filter_map(|entry| table_of(&entry.step)));
        }
        let start = hash(&self.ledger.record().header.profile);
        let mut candidates = (0..SLOTS).map(|nth| FIRST_TABLE + start.wrapping_add(nth) % SLOTS);
        let free = candidates.find(|table| !used.contains(table) && self.is_empty(*table));
        free.unwrap_or(FIRST_TABLE + start % SLOTS)
    }

    fn is_empty(&mut self, table: u32) -> bool {
        [false, true].into_iter().all(|ipv6| {
            let filter = Filter { ipv6, table: Some(table), dest: None };
            self.host.routes(&filter).is_ok_and(|routes| routes.is_empty())
        })
    }

    /// Why default routes can't be replaced here. Once they are replaced the question is settled.
    fn keep_default(&mut self) -> KeepDefault {
        let settled = |ipv6| {
            self.ledger.record().entries.iter().any(|entry| entry.step == Step::RemoveDefault { ipv6 })
        };
        let (settled4, settled6) = (settled(false), settled(true));
        let mut reason = |ipv6| {
            let routes = self.host.routes(&Filter::defaults(ipv6)).unwrap_or_default();
            routes.iter().find_map(routes::cannot_restore)
        };
        KeepDefault {
            ipv4: if settled4 { None } else { reason(false) },
            ipv6: if settled6 { None } else { reason(true) },
        }
    }
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("ledger", &self.ledger)
            .field("tun", &self.tun)
            .finish_non_exhaustive()
    }
}

/// The own table that a step names.
const fn table_of(step: &Step) -> Option<u32> {
    match step {
        Step::Policy(step) => step.table(),
        _ => None,
    }
}

/// No step may wait for a fact that nobody has brought.
fn check_resolved(plan: &Plan) -> Result<(), ApplyError> {
    let open = plan.open();
    match plan.steps.iter().find(|step| !step.open().is_empty()) {
        Some(step) if !open.is_empty() => Err(ApplyError::doing(step, Cause::Unresolved(open))),
        _ => Ok(()),
    }
}

/// FNV-1a: any spread will do, and it has to be the same tomorrow.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
