//! Names, both ways: the server's own, and whether this host still asks the tunnel's resolvers.

use std::{net::Ipv4Addr, os::fd::BorrowedFd};

use super::Supervisor;
use crate::{
    engine::failure::Failure,
    net::filewatch::FileWatch,
    profile::{Host, Leak},
    supervisor::{address_cache::AddressCache, machine::Input},
};

/// What is watched, and what was said about it.
#[derive(Debug, Default)]
pub(super) struct ResolverWatch {
    pub(super) names: AddressCache,
    watch: Option<FileWatch>,
    /// Names that have been asked for before the kill switch is on.
    asked: Vec<String>,
    /// The answer that is wanted, while the other names are asked for.
    held: Option<(String, Result<Vec<Ipv4Addr>, Failure>)>,
    /// What is wrong now; each is logged once.
    pub(super) problems: Vec<String>,
}

impl ResolverWatch {
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().and_then(FileWatch::fd)
    }
}

impl Supervisor {
    /// The addresses to call without asking for the server's name, because nobody could be asked.
    pub(super) fn instead_of_asking(&mut self, name: &str) -> Option<Vec<Ipv4Addr>> {
        let in_vain = self.changes.as_ref().is_some_and(|link| link.resolves_all_names() || link.blocks());
        let known = self.resolvers.names.instead(name, in_vain)?;
        tracing::info!(
            "{}: {name} can't be asked for while the tunnel is away; its last addresses are called",
            self.profile.log_name()
        );
        Some(known)
    }

    /// A name has been looked up, or could not be.
    pub(super) fn name_resolved(&mut self, name: &str, answer: Result<Vec<Ipv4Addr>, Failure>) {
        if let Ok(addresses) = &answer {
            self.resolvers.names.found(name, addresses);
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
                    tracing::warn!("{}: {failure}; its last addresses are called", self.profile.log_name());
                    self.handle(Input::Resolved(Ok(known)));
                }
                None => self.failed(failure, |failure| Input::Resolved(Err(failure))),
            },
        }
    }

    /// With the kill switch on nobody can be asked: so all servers' names are asked for before.
    fn next_to_ask_in_time(&mut self, just_asked: &str) -> Option<String> {
        self.resolvers.asked.push(just_asked.to_owned());
        let blocks = self.changes.as_ref().is_some_and(crate::apply::Changes::blocks);
        if self.profile.leak != Leak::Block || blocks {
            return None;
        }
        let names = self.profile.servers.iter().filter_map(|server| match &server.host {
            Host::Name(name) => Some(name),
            Host::Address(_) => None,
        });
        names.into_iter().find(|name| !self.resolvers.asked.contains(name)).cloned()
    }

    /// The steps on this host have just been performed: what they wrote is watched from now on.
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
                        tracing::debug!(%error, "resolv.conf is looked at only for status and down")
                    }
                }
            }
        }
        self.look_at_resolvers();
    }

    /// Something has happened to a file that is watched, or beside it.
    pub(super) fn files_changed(&mut self) {
        if self.resolvers.watch.as_ref().is_some_and(FileWatch::take) {
            self.look_at_resolvers();
        }
    }

    /// Whether another manager has changed what we set: said once, and in the status for as long as it is so.
    pub(super) fn look_at_resolvers(&mut self) {
        let problems =
            self.changes.as_mut().map(crate::apply::Changes::resolver_problems).unwrap_or_default();
        for problem in problems.iter().filter(|problem| !self.resolvers.problems.contains(problem)) {
            tracing::warn!("{}: {problem}", self.profile.log_name());
        }
        if problems.is_empty() && !self.resolvers.problems.is_empty() {
            tracing::info!("{}: the tunnel's resolvers are asked again", self.profile.log_name());
        }
        self.resolvers.problems = problems;
    }
}
