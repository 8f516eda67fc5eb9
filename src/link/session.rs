//! One tunnel's deeds on this host, from the first step to the last undoing.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{
    Cause, Host, LinkError, Places, deeds,
    ledger::{self, Before, Device, Entry, Header, Ledger, StateLock},
};
use crate::{
    net::{
        routes::{Filter, Kind, MAIN_TABLE, Route},
        tun::Tun,
    },
    plan::{
        FIRST_TABLE, Facts, KeepDefault, Key, Part, Plan, PolicyRule, PolicyStep, SLOTS, Step, Value, Way,
    },
};

/// What one tunnel has done to this host: plans are performed through it, and taken back.
///
/// Dropping it undoes nothing, as a crash would; [`Session::unwind`] does.
#[must_use = "dropping a session leaves its steps to `recover`"]
pub struct Session {
    places: Places,
    ledger: Ledger,
    host: Box<dyn Host>,
    tun: Option<Tun>,
}

impl Session {
    /// Opens the ledger of a profile. What a dead supervisor left must have been recovered before.
    ///
    /// # Errors
    /// [`Cause::LedgerExists`]; or that the state directory can't be written.
    pub fn open(places: &Places, profile: &str, host: Box<dyn Host>) -> Result<Self, LinkError> {
        Self::open_as(places, Header::here(profile), host)
    }

    /// The same for a process other than the calling one.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn open_as(places: &Places, header: Header, host: Box<dyn Host>) -> Result<Self, LinkError> {
        let _lock = StateLock::take(&places.state)?;
        let ledger = Ledger::create(places, header)?;
        Ok(Self { places: places.clone(), ledger, host, tun: None })
    }

    /// The tun device, once a transport plan has been performed.
    #[must_use]
    pub const fn tun(&self) -> Option<&Tun> {
        self.tun.as_ref()
    }

    /// What this host says about the way to a server: enough to resolve a transport plan. `source` is the
    /// profile's localbind.
    ///
    /// # Errors
    /// When there is no way to the server ([`crate::net::routes::Error::is_unreachable`]).
    pub fn facts(&mut self, server: Ipv4Addr, source: Option<Ipv4Addr>) -> Result<Facts, LinkError> {
        let server = IpAddr::V4(server);
        Ok(Facts {
            server: Some(server),
            way: Some(self.way_to(server, source.map(IpAddr::V4))?),
            tun: self.ledger.record().device.as_ref().map(|device| device.name.clone()),
            pid: Some(self.ledger.record().header.pid),
            keep_default: self.keep_default(),
            table: Some(self.table()),
            ..Facts::default()
        })
    }

    /// How the kernel reaches each of these prefixes, the tunnel aside: the facts behind `exclude`. `None` where it
    /// has no way now.
    pub fn outside(&mut self, prefixes: &[IpNet]) -> Vec<(IpNet, Option<Way>)> {
        // The first host of a prefix: the prefix's own address may be a broadcast address, which has a way of its own.
        let host = |prefix: &IpNet| prefix.hosts().next().unwrap_or_else(|| prefix.network());
        prefixes.iter().map(|prefix| (*prefix, self.way_to(host(prefix), None).ok())).collect()
    }

    /// Makes the host be as the plan says. The first time every step is performed; later only what differs
    /// from the last plan for the same part: what is new first, then what is no longer wanted is undone, so
    /// that routes into the tunnel stay and nothing leaks meanwhile.
    ///
    /// # Errors
    /// The step that failed. The steps before it stay in force: [`Session::unwind`] takes them back.
    pub fn perform(&mut self, plan: &Plan) -> Result<(), LinkError> {
        let open = plan.open();
        if let (false, Some(step)) = (open.is_empty(), plan.steps.iter().find(|step| !step.open().is_empty()))
        {
            return Err(LinkError::doing(step, Cause::Unresolved(open)));
        }
        let _lock = StateLock::take(&self.places.state)?;
        if plan.part == Part::Transport {
            self.forget_lost_device()?;
        }
        for step in &plan.steps {
            let held =
                self.ledger.record().entries.iter().find(|entry| entry.step.key() == step.key()).cloned();
            match held {
                Some(entry) if entry.step == *step && entry.part == plan.part => {
                    deeds::renew(self.host.as_mut(), step, &entry.before)
                        .map_err(|cause| LinkError::doing(step, cause))?;
                }
                held => self.take_step(plan.part, step, held)?,
            }
        }
        let wanted: Vec<Key> = plan.steps.iter().map(Step::key).collect();
        let stale: Vec<Entry> = self
            .ledger
            .record()
            .entries
            .iter()
            .filter(|entry| entry.part == plan.part && !wanted.contains(&entry.step.key()))
            .rev()
            .cloned()
            .collect();
        for entry in stale {
            undo_entry(self.host.as_mut(), &mut self.ledger, &self.places, &entry)?;
        }
        Ok(())
    }

    /// Undoes everything, the last step first, and closes the tun device. Nothing stops it; what went wrong
    /// is in the list. The ledger is removed when nothing is left that trying again could undo.
    #[must_use = "these are the steps that could not be undone"]
    pub fn unwind(mut self) -> Vec<LinkError> {
        let (lock, mut errors) = match StateLock::take(&self.places.state) {
            Ok(lock) => (Some(lock), Vec::new()),
            Err(error) => (None, vec![error]),
        };
        errors.extend(unwind(self.host.as_mut(), &mut self.ledger, &self.places));
        errors.extend(self.ledger.close().err());
        drop(lock);
        errors
    }

    /// Someone may have taken the device away, and with it everything that was done to it: then a new one is
    /// opened. What keeps traffic from leaving another way stays.
    fn forget_lost_device(&mut self) -> Result<(), LinkError> {
        let (Some(_), Some(device)) = (&self.tun, self.ledger.record().device.clone()) else { return Ok(()) };
        let found = self.host.link(&device.name).map_err(LinkError::observing)?;
        if found.is_some_and(|link| link.index == device.index) {
            return Ok(());
        }
        let mut lost = self.ledger.record().entries.clone();
        lost.retain(|entry| entry.step.is_of_device());
        for entry in lost.iter().rev() {
            undo_entry(self.host.as_mut(), &mut self.ledger, &self.places, entry)?;
        }
        self.tun = None;
        Ok(())
    }

    fn take_step(&mut self, part: Part, step: &Step, held: Option<Entry>) -> Result<(), LinkError> {
        let failed = |cause: Cause| LinkError::doing(step, cause);
        if let (Step::OpenTun { unit }, None) = (step, &held) {
            self.ledger.intend(part, step, Before::Nothing, None)?;
            let tun = self.host.open_tun(*unit).map_err(|error| failed(error.into()))?;
            self.ledger.device(Device { name: tun.name.clone(), index: tun.index })?;
            self.tun = Some(tun);
            return Ok(());
        }
        // The earlier process may still run for a moment; its file must not look like someone else's.
        if let (Step::PidFile { .. }, Some(entry)) = (step, &held) {
            deeds::undo(self.host.as_mut(), &entry.step, &entry.before, None, false).map_err(failed)?;
        }
        // A step that takes over the place of an earlier one of ours inherits what was there before both.
        let (before, instead) = match held {
            Some(entry) if entry.before != Before::Same => (entry.before, Some(entry.number)),
            Some(entry) => {
                let before = deeds::observe(self.host.as_mut(), step).map_err(failed)?;
                (before, Some(entry.number))
            }
            None => (deeds::observe(self.host.as_mut(), step).map_err(failed)?, None),
        };
        self.ledger.intend(part, step, before.clone(), instead)?;
        deeds::perform(self.host.as_mut(), step, &before).map_err(failed)
    }

    /// The kernel's way to the server; past our own tunnel, if it has swallowed the server meanwhile.
    fn way_to(&mut self, server: IpAddr, source: Option<IpAddr>) -> Result<Way, LinkError> {
        let own = self.ledger.record().device.as_ref().map(|device| device.name.clone());
        let mark = self.ledger.record().entries.iter().find_map(|entry| match &entry.step {
            Step::Policy(step @ PolicyStep::Rule { rule: PolicyRule::Tunnel, .. }) => step.table(),
            _ => None,
        });
        let answer = self.host.route_to_marked(server, source, mark);
        // A way that we have pinned ourselves is what the kernel says since then, wherever the host is by now.
        let pinned = self.pinned().any(|dest| dest.contains(&server));
        match answer {
            Ok(way) if way.local => Ok(Way::ThisHost),
            Ok(way) if own.as_ref() != Some(&way.dev) && !pinned => {
                Ok(Way::By { gateway: way.gateway, dev: way.dev, source: way.source })
            }
            refused => {
                let past = self.way_past(server, own.as_deref(), source)?;
                match (past, refused) {
                    (Some(way), _) => Ok(way),
                    (None, Err(error)) => Err(LinkError::observing(error)),
                    (None, Ok(_)) => Err(LinkError::observing(crate::net::routes::Error::errno(
                        format!("find the way to {server} outside the tunnel"),
                        nix::errno::Errno::ENETUNREACH,
                    ))),
                }
            }
        }
    }

    /// The way that the kernel would take if our tunnel were not there: by the main table without our routes,
    /// and with those that we keep from it. Only asked when the kernel can't say so itself.
    fn way_past(
        &mut self,
        server: IpAddr,
        own: Option<&str>,
        source: Option<IpAddr>,
    ) -> Result<Option<Way>, LinkError> {
        let filter = Filter { ipv6: server.is_ipv6(), table: Some(MAIN_TABLE), dest: None };
        let mut routes = self.host.routes(&filter).map_err(LinkError::observing)?;
        let pinned: Vec<IpNet> = self.pinned().collect();
        routes.retain(|route| {
            let ours = route.is_ours() && (pinned.contains(&route.dest) || route.dest.prefix_len() >= 32);
            !ours && own.is_none_or(|own| !route.leaves_by(own))
        });
        let live = routes.clone();
        for entry in &self.ledger.record().entries {
            match &entry.before {
                // What DHCP has made in their stead since we took them away is the truth now.
                Before::Routes(kept) => {
                    routes.extend(kept.iter().filter(|old| !deeds::superseded(old, live.iter())).cloned());
                }
                Before::Route(kept) => routes.push((**kept).clone()),
                Before::Nothing | Before::Same | Before::Shared => {}
            }
        }
        let usable = |route: &&Route| route.kind == Kind::Unicast && route.dest.contains(&server);
        // Of several with one metric the kernel uses the one in front, which `max_by_key` takes when it comes last.
        let best = routes
            .iter()
            .rev()
            .filter(usable)
            .max_by_key(|route| (route.dest.prefix_len(), std::cmp::Reverse(route.metric)));
        Ok(best.and_then(|route| {
            let hop = route.hops.first()?;
            Some(Way::By { gateway: hop.via, dev: hop.dev.clone()?, source: source.or(route.source) })
        }))
    }

    /// The prefixes whose way we have pinned.
    fn pinned(&self) -> impl Iterator<Item = IpNet> + '_ {
        let entries = self.ledger.record().entries.iter().filter(|entry| entry.before != Before::Same);
        entries.filter_map(|entry| match &entry.step {
            Step::HostRoute { server: Value::Known(server), .. } => Some(IpNet::from(*server)),
            Step::Policy(PolicyStep::Outside { dest, .. }) => Some(*dest),
            _ => None,
        })
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
        let ledgers = ledger::list(&self.places.state).unwrap_or_default();
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
            routes.iter().find_map(deeds::cannot_restore)
        };
        KeepDefault {
            ipv4: if settled4 { None } else { reason(false) },
            ipv6: if settled6 { None } else { reason(true) },
        }
    }
}

impl std::fmt::Debug for Session {
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

/// FNV-1a: any spread will do, and it has to be the same tomorrow.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Undoes every step of a ledger, network before transport, the last step first.
pub(super) fn unwind(host: &mut dyn Host, ledger: &mut Ledger, places: &Places) -> Vec<LinkError> {
    let mut entries = ledger.record().entries.clone();
    entries.sort_by_key(|entry| std::cmp::Reverse((entry.part, entry.number)));
    entries.iter().filter_map(|entry| undo_entry(host, ledger, places, entry).err()).collect()
}

fn undo_entry(
    host: &mut dyn Host,
    ledger: &mut Ledger,
    places: &Places,
    entry: &Entry,
) -> Result<(), LinkError> {
    let shared = matches!(entry.step, Step::HostRoute { .. } | Step::Policy(PolicyStep::Outside { .. }));
    let needed = shared && needed_elsewhere(places, ledger, &entry.step.key());
    let device = ledger.record().device.clone();
    let outcome = deeds::undo(host, &entry.step, &entry.before, device.as_ref(), needed)
        .map_err(|cause| LinkError::undoing(&entry.step, cause));
    let settled = outcome.as_ref().err().is_none_or(LinkError::is_final);
    let noted = if settled { ledger.undone(entry.number) } else { Ok(()) };
    outcome.and(noted)
}

/// Whether another tunnel's ledger holds a step with the same key.
fn needed_elsewhere(places: &Places, own: &Ledger, key: &Key) -> bool {
    let ledgers = ledger::list(&places.state).unwrap_or_default();
    ledgers.iter().filter(|path| *path != own.path()).filter_map(|path| ledger::peek(path)).any(|record| {
        let here = record.header.boot == own.record().header.boot
            && record.header.netns == own.record().header.netns;
        here && record.entries.iter().any(|entry| entry.step.key() == *key && entry.before != Before::Same)
    })
}
