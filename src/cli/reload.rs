//! `reload`: asks the supervisor to read its profile again, and prints the difference.

use std::path::Path;

use super::{
    args::Reload,
    exit::{self, Code},
    output::{self, complain, data, error, line},
};
use crate::{
    profile::ProfileName,
    supervisor::{
        ClientError,
        ipc::{
            client,
            reloaded::{ReloadResult, Reloaded},
        },
    },
};

pub fn main(config: Option<&Path>, args: &Reload) -> Code {
    match reload(config, args) {
        Ok(code) | Err(code) => code,
    }
}

fn reload(config: Option<&Path>, args: &Reload) -> Result<Code, Code> {
    output::need_root("reload", output::FOR_ITS_SUPERVISOR)?;
    let name = &args.name;
    if let Err(wrong) = ProfileName::new(name) {
        error(wrong);
        return Err(exit::PROFILE);
    }
    if let Some(config) = config {
        need_same_file(config, name)?;
    }
    let result = client::reload(name, args.redial, args.dry_run).map_err(|wrong| failed(name, &wrong))?;
    if args.json {
        match serde_json::to_string_pretty(&result) {
            Ok(text) => data(text),
            Err(wrong) => {
                error(wrong);
                return Err(exit::INTERNAL);
            }
        }
    } else {
        show(&result, args.dry_run);
    }
    Ok(code_of(&result))
}

/// Checks that the supervisor reads this file: it reads those of its `up`, whatever the caller names.
fn need_same_file(config: &Path, name: &str) -> Result<(), Code> {
    let found = client::reload(name, false, true).map_err(|wrong| failed(name, &wrong))?;
    let Some(file) = found.file else { return Ok(()) };
    let same = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let beside = config.parent().unwrap_or(Path::new("")).join("profiles.d");
    let file = Path::new(&file);
    if same(file) == same(config) || file.parent().map(same) == Some(same(&beside)) {
        return Ok(());
    }
    error(format_args!(
        "{name} was brought up with the profile in {}, which `reload` reads again; nothing was changed: `pptpctl restart` \
         takes another file",
        file.display()
    ));
    Err(exit::USAGE)
}

fn failed(name: &str, wrong: &ClientError) -> Code {
    match wrong {
        ClientError::NotUp => error(format_args!("{name} is not up; `pptpctl up {name}` reads the profile")),
        wrong => error(format_args!("{name}: {wrong}")),
    }
    output::next_if_stuck(name, wrong);
    Code::of_client(wrong)
}

fn code_of(result: &Reloaded) -> Code {
    match (&result.failure, &result.errors) {
        (Some(failure), _) => Code::of(failure),
        (None, Some(_)) => exit::PROFILE,
        (None, None) => exit::OK,
    }
}

fn show(result: &Reloaded, dry_run: bool) {
    let name = &result.name;
    if let Some(errors) = &result.errors {
        complain(errors);
        error(format_args!("{name}: nothing was changed"));
        return;
    }
    if let Some(failure) = &result.failure {
        let end = match result.result {
            ReloadResult::Failed if result.problems.is_empty() => "; the former steps are in force again",
            ReloadResult::Failed => "; not all of the former steps could be put back",
            _ => "; nothing was changed",
        };
        error(format_args!("{name}: failed in phase {failure}{end}"));
        failure.hints.iter().for_each(|hint| complain(format_args!("  - {hint}")));
        result.problems.iter().for_each(error);
        return;
    }
    let verb = if dry_run { "would be" } else { "is" };
    let file = result.file.as_deref().unwrap_or("its file");
    match (result.result, dry_run) {
        (ReloadResult::Unchanged, _) => line(format_args!("{name}: the profile in {file} is in force")),
        (_, true) => line(format_args!("{name}: {file} differs from what is in force; nothing was changed")),
        (_, false) => line(format_args!("{name}: reloaded from {file}")),
    }
    result.removed.iter().for_each(|step| line(format_args!("  - {step}")));
    result.added.iter().for_each(|step| line(format_args!("  + {step}")));
    if !result.applied.is_empty() {
        line(format_args!("  {verb} in force: {}", result.applied.join(", ")));
    }
    if result.redials {
        line(if dry_run { "  would dial again" } else { "  dials again now" });
    }
    if !result.needs_redial.is_empty() {
        let keys = result.needs_redial.join(", ");
        line(format_args!("  not in force, needs a redial: {keys}; `pptpctl reload {name} --redial`"));
    }
    if !result.needs_restart.is_empty() {
        let keys = result.needs_restart.join(", ");
        line(format_args!("  not in force before the next `up`: {keys}; `pptpctl restart {name}`"));
    }
    result.notes.iter().for_each(|note| line(format_args!("  note: {note}")));
}
