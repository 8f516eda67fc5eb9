//! Name resolution: looking up the server's names, and checking that this host still uses the tunnel's
//! resolvers.

use std::{net::Ipv4Addr, ops::ControlFlow, os::fd::BorrowedFd, path::PathBuf};

use crate::{
    failure::Failure,
    os::filewatch::FileWatch,
    profile::{Host, Leak, Profile},
    supervisor::{address_cache::AddressCache, machine::Input, unreadable},
};

/// Cached names, watched resolver files, and known problems.
#[derive(Debug, Default)]
pub(super) struct ResolverWatch {
    names: AddressCache,
    watch: Option<FileWatch>,
    /// Names that have been looked up before the kill switch is on.
    asked: Vec<String>,
    /// The answer that the machine waits for, held while the other names are looked up.
    held: Option<(String, Result<Vec<Ipv4Addr>, Failure>)>,
    /// The result of the last lookup, for the user.
    result: String,
    /// Files that the resolver process may not read, each reported once.
    unreadable: Vec<String>,
    /// Current problems; each is logged once.
    problems: Vec<String>,
}

impl ResolverWatch {
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().and_then(FileWatch::fd)
    }

    /// Returns the addresses to dial without a lookup. `in_vain` says that no resolver is reachable.
    pub fn instead_of_asking(&mut self, name: &str, in_vain: bool) -> Option<Vec<Ipv4Addr>> {
        if !in_vain {
            // Names that could not be looked up yet, as before there was a network, are asked for again.
            let names = &self.names;
            self.asked.retain(|name| names.known(name).is_some());
        }
        // An earlier lookup may have been abandoned while another name was looked up; its answer is out of date.
        self.held = None;
        let known = self.names.addresses_without_lookup(name, in_vain)?;
        tracing::info!("{name} can't be looked up while the tunnel is down; dialling its last addresses");
        Some(known)
    }

    /// Returns whether there are addresses to dial if the name cannot be resolved.
    pub fn knows(&self, name: &str) -> bool {
        self.names.known(name).is_some()
    }

    /// Returns notes about files that the resolver process may not read, each once.
    pub fn unreadable(&mut self, files: &[String]) -> Vec<String> {
        let new: Vec<String> = files.iter().filter(|file| !self.unreadable.contains(file)).cloned().collect();
        self.unreadable.extend(new.iter().cloned());
        unreadable::notes(&new)
    }

    /// Handles the result of a lookup: returns the next name to look up, or else the input. `blocked` says that
    /// the kill switch is on.
    pub fn resolved(
        &mut self,
        name: &str,
        answer: Result<Vec<Ipv4Addr>, Failure>,
        profile: &Profile,
        blocked: bool,
    ) -> ControlFlow<Input, String> {
        if let Ok(addresses) = &answer {
            self.names.store(name, addresses);
        }
        let wanted = self.held.take().unwrap_or_else(|| (name.to_owned(), answer));
        self.asked.push(name.to_owned());
        if let Some(next) = self.next_to_ask_in_time(profile).filter(|_| !blocked) {
            self.held = Some(wanted);
            return ControlFlow::Continue(next);
        }
        let (name, answer) = wanted;
        let known = answer.as_ref().err().and_then(|_| self.names.known(&name));
        let list = |found: &[Ipv4Addr]| found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        ControlFlow::Break(Input::Resolved(match (answer, known) {
            (Err(failure), Some(known)) => {
                tracing::warn!("{failure}; dialling its last addresses");
                self.result = format!("{name} cannot be looked up now; it was {}", list(&known));
                Ok(known)
            }
            (Ok(found), _) => {
                self.result = format!("{name} is {}", list(&found));
                Ok(found)
            }
            (Err(failure), None) => Err(failure),
        }))
    }

    /// Returns the result of the last lookup, for the user; empty if it has been returned before.
    pub fn take_result(&mut self) -> String {
        std::mem::take(&mut self.result)
    }

    /// Returns the next server name to look up in advance, as none can be with the kill switch on.
    fn next_to_ask_in_time(&self, profile: &Profile) -> Option<String> {
        if profile.leak != Leak::Block {
            return None;
        }
        let mut names = profile.servers.iter().filter_map(|server| match &server.host {
            Host::Name(name) => Some(name),
            Host::Address(_) => None,
        });
        names.find(|name| !self.asked.contains(name)).cloned()
    }

    /// Watches the resolver files that the network steps have just written.
    pub fn watch(&mut self, files: Vec<PathBuf>) {
        self.names.up();
        let watched = self.watch.as_ref().map(FileWatch::files).unwrap_or_default();
        if files != watched {
            self.watch = None;
            if !files.is_empty() {
                match FileWatch::new(files) {
                    Ok(watch) => self.watch = Some(watch),
                    Err(error) => {
                        tracing::debug!(parent: None, %error, "resolv.conf is looked at only for status and down")
                    }
                }
            }
        }
    }

    /// Returns whether a watched file, or one beside it, has changed.
    pub fn files_changed(&self) -> bool {
        self.watch.as_ref().is_some_and(FileWatch::take)
    }

    /// Handles the present changes of our settings by other programs: each is logged once, and in the status
    /// while it lasts.
    pub fn check(&mut self, problems: Vec<String>) {
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::warn!("{problem}");
        }
        if problems.is_empty() && !self.problems.is_empty() {
            tracing::info!("the tunnel's resolvers are asked again");
        }
        self.problems = problems;
    }

    /// Returns the warnings for the status.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}
