//! Reads the profile again on request, and applies what can change without another dial; or dials again.
//!
//! The supervisor reads the files that `up` has read: the caller cannot name others, so the rights that it keeps can be
//! known at the start. A profile with errors changes nothing; neither does one whose first step fails.

use std::{io, path::Path, rc::Rc};

use super::{Supervisor, steps::NotReloaded};
use crate::{
    failure::{Failure, FailureKind},
    os::launch::{self, files::Opening},
    platform::Platform,
    profile::{
        Locations, Profile, Profiles,
        differences::{Effect, changed, merged},
    },
    supervisor::{
        ipc::reloaded::{ReloadResult, Reloaded},
        log,
        machine::{Input, TunnelState},
        restrict, systemd,
    },
};

/// Where a profile was read, and what the command line added to it.
#[derive(Clone, Debug)]
pub struct ProfileSource {
    locations: Locations,
    from_start: bool,
}

impl ProfileSource {
    /// Returns the source of a profile that was read from these files; `from_start` is whether `retry.from-start` holds
    /// whatever they say.
    ///
    /// # Errors
    /// Returns an error if the current directory cannot be read, which a relative path needs.
    pub fn new(locations: Locations, from_start: bool) -> io::Result<Self> {
        let file = std::path::absolute(&locations.file)?;
        let directory = std::path::absolute(&locations.directory)?;
        Ok(Self { locations: Locations { file, directory, ..locations }, from_start })
    }

    /// Returns the paths of the files.
    pub(in crate::supervisor) const fn locations(&self) -> &Locations {
        &self.locations
    }

    /// Reads the profile as it is now.
    ///
    /// # Errors
    /// Returns the report on what is wrong, without secrets.
    fn read(&self, name: &str) -> Result<Profile, String> {
        // The launcher reads the profile, too: it does nothing but what root's files say.
        // Errors of the profile are reported below.
        if let Err(error) = launch::renew() {
            tracing::debug!(%error, "the launcher goes on with what it had");
        }
        let open = |path: &Path| launch::files::open(path, Opening::Follow);
        let profiles = Profiles::load_by(&self.locations, Platform::host(), &open);
        let mut profile = profiles.get(name).cloned().map_err(|wrong| wrong.to_string())?;
        profile.retry.from_start |= self.from_start;
        Ok(profile)
    }
}

/// What the supervisor has to know for a reload.
pub(super) struct Reload {
    pub source: ProfileSource,
    /// The profile that the supervisor has kept its rights for.
    pub started: Rc<Profile>,
}

impl Supervisor {
    /// Reads the profile again and applies it; with `redial` also the keys that need another dial. With `dry_run` it only
    /// returns what that would change.
    pub(super) fn reload(&mut self, redial: bool, dry_run: bool) -> Reloaded {
        let result = self.reloaded(redial, dry_run);
        if !dry_run {
            log_result(&result);
        }
        result
    }

    fn reloaded(&mut self, redial: bool, dry_run: bool) -> Reloaded {
        let mut result = Reloaded { name: self.profile.name.as_str().to_owned(), ..Reloaded::default() };
        let new = match self.reload.source.read(self.profile.name.as_str()) {
            Ok(new) => new,
            Err(errors) => {
                return Reloaded { result: ReloadResult::Refused, errors: Some(errors), ..result };
            }
        };
        result.file = new.origin.as_ref().map(|origin| origin.file.display().to_string());
        let keys = |effect| {
            let keys = changed(&self.profile, &new, effect).into_iter();
            keys.map(str::to_owned).collect::<Vec<_>>()
        };
        result.applied = keys(Effect::Now);
        result.needs_restart = keys(Effect::NextUp);
        let of_connection = keys(Effect::Redial);
        let redials = redial && !of_connection.is_empty();
        let live = Rc::new(merged(&self.profile, &new, &[Effect::Now]));
        let full = match redials {
            true => Rc::new(merged(&self.profile, &new, &[Effect::Now, Effect::Redial])),
            false => live.clone(),
        };
        if let Some(why) = self.cannot_reload(&full) {
            return Reloaded {
                result: ReloadResult::Refused,
                failure: Some(why),
                applied: Vec::new(),
                ..result
            };
        }
        let has_device = self.report.has_link() || !self.children.has_ppp();
        self.watchdog =
            systemd::Watchdog::of_environment(live.hooks.longest() + self.profile.hooks.longest());
        match self.steps.reload(live.clone(), has_device, dry_run) {
            Ok(difference) => {
                (result.added, result.removed, result.notes) =
                    (difference.added, difference.removed, difference.notes);
            }
            Err(NotReloaded { failure, restored }) => {
                result.applied.clear();
                result.failure = Some(failure);
                result.result = if restored.is_some() { ReloadResult::Failed } else { ReloadResult::Refused };
                result.problems = restored.unwrap_or_default();
                return result;
            }
        }
        match redials {
            true => result.applied.extend(of_connection),
            false => result.needs_redial = of_connection,
        }
        result.redials = redials;
        let is_same = result.applied.is_empty() && result.added.is_empty() && result.removed.is_empty();
        let waits = !result.needs_redial.is_empty() || !result.needs_restart.is_empty();
        result.result = if is_same && !waits { ReloadResult::Unchanged } else { ReloadResult::Reloaded };
        if !dry_run {
            self.take_profile(full);
            if redials {
                self.handle(Input::Redial);
            }
        }
        result
    }

    /// Returns why nothing can be reloaded now.
    fn cannot_reload(&self, profile: &Profile) -> Option<Failure> {
        let phase = self.machine.phase();
        if matches!(self.machine.state(), TunnelState::Stopping | TunnelState::Ended) {
            return Some(Failure::new(phase, FailureKind::Interrupted, "the tunnel is being taken down"));
        }
        if self.pause.is_some() {
            let failure = Failure::new(phase, FailureKind::Interrupted, "the kill switch is paused");
            return Some(failure.hint(format!("`pptpctl pause {} --end` ends the pause", profile.name)));
        }
        let why = restrict::given_up(&self.reload.started, profile)?;
        let failure = Failure::new(phase, FailureKind::LinkStep, why);
        Some(failure.hint(format!("`pptpctl restart {}` applies everything", profile.name)))
    }

    /// Makes every part use this profile. Its steps are in force, or will be at the next dial.
    fn take_profile(&mut self, profile: Rc<Profile>) {
        log::change_level(self.profile.loglevel, profile.loglevel);
        self.machine.take_profile(&profile);
        self.children.set_profile(profile.clone());
        self.steps.set_profile(profile.clone());
        self.profile = profile;
        self.resolvers.watch(self.steps.resolver_files());
        self.check_resolvers();
    }
}

fn log_result(result: &Reloaded) {
    let keys = |keys: &[String]| if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
    match result.result {
        ReloadResult::Unchanged => tracing::info!("reload: the profile is the one in force"),
        ReloadResult::Reloaded => {
            tracing::info!("reload: in force now: {}", keys(&result.applied));
            for line in &result.removed {
                tracing::info!("reload: - {line}");
            }
            for line in &result.added {
                tracing::info!("reload: + {line}");
            }
            if !result.needs_redial.is_empty() || !result.needs_restart.is_empty() {
                let (redial, restart) = (keys(&result.needs_redial), keys(&result.needs_restart));
                tracing::info!("reload: not in force: need a redial: {redial}; need a restart: {restart}");
            }
        }
        ReloadResult::Refused | ReloadResult::Failed => {
            tracing::warn!(
                "reload: nothing was changed: {}",
                match (&result.failure, &result.errors) {
                    (Some(failure), _) => failure.to_string(),
                    (None, _) => "the profile has errors, which `pptpctl check` shows".to_owned(),
                }
            );
            result.problems.iter().for_each(|problem| tracing::error!("reload: {problem}"));
        }
    }
}
