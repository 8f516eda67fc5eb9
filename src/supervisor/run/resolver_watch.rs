//! Name resolution: looking up the server's names, and checking that this host still uses the tunnel's
//! resolvers.

use std::{net::Ipv4Addr, os::fd::BorrowedFd};

use super::Supervisor;
use crate::{
    failure::Failure,
    os::filewatch::FileWatch,
    profile::{Host, Leak},
    supervisor::{address_cache::AddressCache, machine::Input},
};

/// Cached names, watched resolver files, and known problems.
#[derive(Debug, Default)]
pub(super) struct ResolverWatch {
    pub(super) names: AddressCache,
    watch: Option<FileWatch>,
    /// Names that have been looked up before the kill switch is on.
    asked: Vec<String>,
    /// The answer that the machine waits for, held while the other names are looked up.
    held: Option<(String, Result<Vec<Ipv4Addr>, Failure>)>,
    /// Current problems; each is logged once.
    pub(super) problems: Vec<String>,
}

impl ResolverWatch {
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().and_then(FileWatch::fd)
    }
}

impl Supervisor {
    /// Returns the addresses to dial without a lookup, because no resolver is reachable.
    pub(super) fn instead_of_asking(&mut self, name: &str) -> Option<Vec<Ipv4Addr>> {
        let in_vain =
            self.changes.as_ref().is_some_and(|link| link.resolves_all_names() || link.has_kill_switch());
        let known = self.resolvers.names.addresses_without_lookup(name, in_vain)?;
        tracing::info!("{name} can't be asked for while the tunnel is away; its last addresses are called");
        Some(known)
    }

    /// Handles the result of a lookup.
    pub(super) fn name_resolved(&mut self, name: &str, answer: Result<Vec<Ipv4Addr>, Failure>) {
        if let Ok(addresses) = &answer {
            self.resolvers.names.store(name, addresses);
        }
        let wanted = self.resolvers.held.take().unwrap_or_else(|| (name.to_owned(), answer));
        if let Some(next) = self.next_to_ask_in_time(name) {
            self.resolvers.held = Some(wanted);
            self.ask(&next);
            return;
        }
        let (name, answer) = wanted;
        match answer {
            Ok(addresses) => self.handle(Input::Resolved(Ok(addresses))),
            Err(failure) => match self.resolvers.names.known(&name) {
                Some(known) => {
                    tracing::warn!("{failure}; its last addresses are called");
                    self.handle(Input::Resolved(Ok(known)));
                }
                None => self.failed(failure, |failure| Input::Resolved(Err(failure))),
            },
        }
    }

    /// Returns the next server name to look up in advance, as none can be with the kill switch on.
    fn next_to_ask_in_time(&mut self, just_asked: &str) -> Option<String> {
        self.resolvers.asked.push(just_asked.to_owned());
        let blocks = self.changes.as_ref().is_some_and(crate::apply::Changes::has_kill_switch);
        if self.profile.leak != Leak::Block || blocks {
            return None;
        }
        let names = self.profile.servers.iter().filter_map(|server| match &server.host {
            Host::Name(name) => Some(name),
            Host::Address(_) => None,
        });
        names.into_iter().find(|name| !self.resolvers.asked.contains(name)).cloned()
    }

    /// Watches the resolver files that the network steps have just written.
    pub(super) fn watch_resolvers(&mut self) {
        self.resolvers.names.up();
        let files = self.changes.as_ref().map(crate::apply::Changes::resolver_files).unwrap_or_default();
        let watched = self.resolvers.watch.as_ref().map(FileWatch::files).unwrap_or_default();
        if files != watched {
            self.resolvers.watch = None;
            if !files.is_empty() {
                match FileWatch::new(files) {
                    Ok(watch) => self.resolvers.watch = Some(watch),
                    Err(error) => {
                        tracing::debug!(parent: None, %error, "resolv.conf is looked at only for status and down")
                    }
                }
            }
        }
        self.check_resolvers();
    }

    /// Handles a change of a watched file, or beside it.
    pub(super) fn files_changed(&mut self) {
        if self.resolvers.watch.as_ref().is_some_and(FileWatch::take) {
            self.check_resolvers();
        }
    }

    /// Checks whether another program has changed our settings: logged once, and in the status while it
    /// lasts.
    pub(super) fn check_resolvers(&mut self) {
        let problems =
            self.changes.as_mut().map(crate::apply::Changes::resolver_problems).unwrap_or_default();
        for problem in problems.iter().filter(|problem| !self.resolvers.problems.contains(problem)) {
            tracing::warn!("{problem}");
        }
        if problems.is_empty() && !self.resolvers.problems.is_empty() {
            tracing::info!("the tunnel's resolvers are asked again");
        }
        self.resolvers.problems = problems;
    }
}
