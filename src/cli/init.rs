//! `init`: asks for what a profile needs, writes it and a private file with its password, and connects.
//!
//! Everything is asked and checked before the first file is written.

mod answers;

use std::path::Path;

use self::answers::{Answers, PasswordChoice, Reach, prefixes, split_user};
use super::{
    args::{Init, Up},
    ask::{self, Console},
    check,
    exit::{self, Code},
    output::{self, complain, data, error, line},
    put::{self, Created},
    up,
};
use crate::{
    import::Place,
    platform::{CONFIG_DIR, Platform},
    profile::{PasswordSource, ProfileName, Profiles},
    secret::Secret,
    supervisor::{
        self, Inherited, invoker,
        password::{self, SecretAccess},
    },
};

/// Mode of the directories of profiles.
const PUBLIC: u32 = 0o755;
/// Mode of the directory of passwords.
const PRIVATE: u32 = 0o700;

pub fn main(config: Option<&Path>, args: &Init) -> Code {
    // As in `up`.
    let inherited = Inherited::at_start();
    match init(config, args, &inherited) {
        Ok(code) | Err(code) => code,
    }
}

fn init(config: Option<&Path>, args: &Init, inherited: &Inherited) -> Result<Code, Code> {
    let name = ProfileName::new(&args.new).map_err(|wrong| {
        error(wrong);
        exit::PROFILE
    })?;
    let places = Place::of(&put::directory(config)?, &name);
    need_root(config, &places)?;
    is_new(config, &name, &places)?;
    let interactive = ask::is_interactive() && !args.yes;
    let mut console = Console::new()?;
    let answers = gather(args, interactive.then_some(&mut console), &name, &places)?;
    let (profile, warnings) =
        answers.profile(name.as_str(), &places.profile, &places.secret).map_err(|wrong| {
            error(format_args!("{name}: {wrong}"));
            exit::PROFILE
        })?;
    if !args.json {
        warnings.iter().for_each(|warning| line(format_args!("warning: {warning}")));
        line(format_args!("\n`up` will do this on this host:"));
        up::show_plan(&profile, Platform::host(), &supervisor::here(&profile));
    }
    let mut connect = false;
    if interactive {
        let files = if matches!(answers.password, PasswordChoice::Store(_)) {
            format!("{} and {}", places.profile.display(), places.secret.display())
        } else {
            places.profile.display().to_string()
        };
        if !console.confirm(&format!("\nWrite {files}?"), true)? {
            line("nothing was changed");
            return Ok(exit::OK);
        }
        connect = console.confirm("Connect then?", true)?;
    }
    let more = write(config, &name, &places, &answers, &mut console)?;
    let secret = matches!(answers.password, PasswordChoice::Store(_)).then_some(&places.secret);
    if args.json {
        let warnings = [warnings, more].concat();
        let file = |path: &std::path::PathBuf| path.to_string_lossy().into_owned();
        data(serde_json::json!({
            "name": name.as_str(),
            "file": file(&places.profile),
            "password_file": secret.map(file),
            "warnings": warnings,
        }));
        return Ok(exit::OK);
    }
    more.iter().for_each(|warning| line(format_args!("warning: {warning}")));
    line(format_args!("wrote {}", places.profile.display()));
    if let Some(secret) = secret {
        line(format_args!("wrote {}, for root only", secret.display()));
    }
    drop((console, answers));
    if !connect {
        line(format_args!("`pptpctl up {name}` connects"));
        return Ok(exit::OK);
    }
    let up = Up { name: Some(args.new.clone()), ..Up::default() };
    Ok(up::one(config, name.as_str(), &up, inherited))
}

/// Only root's profiles can be brought up, and only root may write those.
fn need_root(config: Option<&Path>, places: &Place) -> Result<(), Code> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    // Without --config, root's files are elsewhere than this user's.
    let directory = config.and(places.profile.parent()).unwrap_or(Path::new(CONFIG_DIR));
    error(format_args!(
        "init needs root, as only root may write profiles to {} and read their passwords: try sudo or doas",
        directory.display()
    ));
    Err(exit::NOT_ROOT)
}

/// Checks that nothing would be overwritten, and that no profile has this name.
fn is_new(config: Option<&Path>, name: &ProfileName, places: &Place) -> Result<(), Code> {
    if let Some(place) = output::profiles(config)?.place(name.as_str()) {
        error(format_args!("there is a profile {name} already ({place}); `pptpctl edit {name}` changes it"));
        return Err(exit::PROFILE);
    }
    if places.profile.symlink_metadata().is_ok() {
        let file = places.profile.display();
        error(format_args!(
            "{file} exists already, without a profile {name}: remove it, or choose another name"
        ));
        return Err(exit::PROFILE);
    }
    Ok(())
}

/// Collects the answers from the arguments, and asks `console` for the others. Without one, defaults apply.
fn gather(
    args: &Init,
    mut console: Option<&mut Console>,
    name: &ProfileName,
    places: &Place,
) -> Result<Answers, Code> {
    if console.is_none() {
        let missing: Vec<&str> = [("--server", args.server.is_none()), ("--user", args.user.is_none())]
            .into_iter()
            .filter_map(|(flag, is_missing)| is_missing.then_some(flag))
            .collect();
        if !missing.is_empty() {
            error(format_args!(
                "{name}: {} missing, and there is no terminal to ask at{}",
                missing.join(" and "),
                if args.yes { " (--yes asks nothing)" } else { "" }
            ));
            return Err(exit::USAGE);
        }
    }
    let server = match (&args.server, console.as_deref_mut()) {
        (Some(server), _) => server.clone(),
        (None, Some(console)) => {
            let check = |typed: &str| {
                let server = typed.to_owned();
                Answers { server: server.clone(), ..Answers::sample() }.problem().map(|()| server)
            };
            console.ask(
                "The server: its name or address, and :PORT if that is not 1723.",
                "server",
                None,
                check,
            )?
        }
        (None, None) => String::new(),
    };
    let (user, mut domain) = match (&args.user, console.as_deref_mut()) {
        (Some(user), _) => split_user(user),
        (None, Some(console)) => {
            let check = |typed: &str| {
                let (user, domain) = split_user(typed);
                let answers = Answers { user: user.clone(), domain: domain.clone(), ..Answers::sample() };
                answers.problem().map(|()| (user, domain))
            };
            let caller = invoker::find().ok().map(|invoker| invoker.name);
            console.ask(
                "The user on the server, as DOMAIN\\name if it wants a domain.",
                "user",
                caller.as_deref(),
                check,
            )?
        }
        (None, None) => (String::new(), None),
    };
    match (&args.domain, domain.is_some(), console.as_deref_mut()) {
        (Some(_), true, _) => {
            error("the domain is in --user and in --domain: leave one out");
            return Err(exit::USAGE);
        }
        (Some(given), false, _) => domain = Some(given.clone()),
        (None, false, Some(console)) if args.user.is_none() => {
            let check = |typed: &str| match typed {
                "none" => Ok(None),
                typed => {
                    let domain = Some(typed.to_owned());
                    Answers { domain: domain.clone(), ..Answers::sample() }.problem().map(|()| domain)
                }
            };
            domain =
                console.ask("The domain, which most servers do not want.", "domain", Some("none"), check)?;
        }
        (None, ..) => {}
    }
    let password = password(args, console.as_deref_mut(), name, places)?;
    let reach = reach(args, console)?;
    Ok(Answers { server, user, domain, password, reach })
}

fn password(
    args: &Init,
    console: Option<&mut Console>,
    name: &ProfileName,
    places: &Place,
) -> Result<PasswordChoice, Code> {
    let unusable = |wrong: &dyn std::fmt::Display| {
        error(format_args!("{name}: {wrong}"));
        exit::PROFILE
    };
    if let Some(file) = &args.password_file {
        let file = std::path::absolute(file).map_err(|wrong| unusable(&wrong))?;
        PasswordSource::File(file.clone()).probe().map_err(|wrong| unusable(&wrong))?;
        return Ok(PasswordChoice::File(file));
    }
    let store = |secret: Secret| {
        if places.secret.symlink_metadata().is_ok() {
            let file = places.secret.display();
            error(format_args!(
                "{file} exists already and is not overwritten: remove it, or use it with --password-file {file}"
            ));
            return Err(exit::PROFILE);
        }
        Ok(PasswordChoice::Store(secret))
    };
    supervisor::disable_core_files().map_err(|wrong| unusable(&wrong))?;
    if args.password_stdin {
        let access = SecretAccess::of_this_process();
        let secret = password::load(&PasswordSource::Fd(0), &access).map_err(|wrong| unusable(&wrong))?;
        return store(secret);
    }
    let Some(console) = console else { return Ok(PasswordChoice::Ask) };
    let help = "The password, for a file that only root may read; empty: `up` asks each time.";
    match console.password(help, "password [ask each time]")? {
        Some(secret) => store(secret),
        None => Ok(PasswordChoice::Ask),
    }
}

fn reach(args: &Init, console: Option<&mut Console>) -> Result<Reach, Code> {
    if !args.route.is_empty() {
        return Ok(Reach::Networks(args.route.clone()));
    }
    let Some(console) = console.filter(|_| !args.default) else { return Ok(Reach::Everything) };
    let which = |typed: &str| match typed {
        "all" | "1" => Ok(Some(Reach::Everything)),
        "networks" | "2" => Ok(None),
        "server" | "3" => Ok(Some(Reach::ServerSide)),
        _ => Err("answer all, networks or server".to_owned()),
    };
    let help = "What is reached: all traffic, certain networks, or those that the server names.";
    if let Some(reach) = console.ask(help, "all, networks or server", Some("all"), which)? {
        return Ok(reach);
    }
    let check = |typed: &str| {
        let reach = Reach::Networks(prefixes(typed));
        Answers { reach: reach.clone(), ..Answers::sample() }.problem().map(|()| reach)
    };
    console.ask("The networks, as 10.42.0.0/16, with spaces between them.", "networks", None, check)
}

/// Writes both files, and checks them as `check` does; returns its warnings. Nothing stays if anything fails, or after Ctrl-C.
fn write(
    config: Option<&Path>,
    name: &ProfileName,
    places: &Place,
    answers: &Answers,
    console: &mut Console,
) -> Result<Vec<String>, Code> {
    let mut created = Created::default();
    let written = write_files(name, places, answers, &mut created)
        .map_err(|wrong| {
            error(format_args!("{name}: {wrong}; nothing was changed"));
            exit::INTERNAL
        })
        .and_then(|()| review(config, name))
        .and_then(|warnings| console.check_signals().map(|()| warnings));
    if written.is_err()
        && let Err(wrong) = created.remove()
    {
        error(format_args!("{name}: cannot remove what was written: {wrong}"));
    }
    written
}

fn write_files(
    name: &ProfileName,
    places: &Place,
    answers: &Answers,
    created: &mut Created,
) -> std::io::Result<()> {
    let directory = |path: &Path| path.parent().unwrap_or(Path::new("/")).to_owned();
    created.directory(&directory(&places.profile), PUBLIC)?;
    if let PasswordChoice::Store(secret) = &answers.password {
        created.directory(&directory(&places.secret), PRIVATE)?;
        created.file(&places.secret, secret.expose(), 0o600)?;
    }
    created.file(&places.profile, answers.text(name.as_str(), &places.secret).as_bytes(), 0o644)
}

/// Reads the written profile from its place, and returns the warnings about it.
fn review(config: Option<&Path>, name: &ProfileName) -> Result<Vec<String>, Code> {
    let mut profiles: Profiles = output::profiles(config)?;
    profiles.probe(&supervisor::may_run);
    let of_this = |finding: &&crate::profile::Finding| finding.profile.as_ref() == Some(name);
    if let Err(wrong) = profiles.get(name.as_str()) {
        complain(wrong.render(output::style()));
        error(format_args!("{name}: not usable here, so nothing was changed"));
        return Err(exit::PROFILE);
    }
    let report = profiles.report();
    if let Some(wrong) = report.errors.iter().find(of_this) {
        complain(wrong.render(output::style()));
        return Err(exit::PROFILE);
    }
    Ok(check::warnings_about(config, name, Platform::host()))
}
