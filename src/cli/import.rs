//! `import`: profiles from the configuration of other PPTP clients.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use nix::unistd::Uid;

use super::{
    check,
    exit::{self, Code},
    import_files::{limit, read_file},
    import_places, import_write,
    output::{complain, data, error, line},
    put,
};
use crate::{
    import::{self, Imported, Kind, PLACEHOLDER, Place, Source, Sources, Tunnel},
    platform::CONFIG_DIR,
    profile::ProfileName,
};

/// The longest list of words that need no setting, before it is cut.
const MAX_NEEDLESS: usize = 24;

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
pub struct Import {
    /// Files of the other client, or - for standard input; without any, list what this host has
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The other client, if it cannot be told from the file: pppd, ppp, networkmanager, openwrt, mpd or windows
    #[arg(long, value_name = "KIND", value_parser = kind, requires = "files")]
    pub from: Option<Kind>,
    /// The name of the profile, if the files have one tunnel
    #[arg(long, requires = "files")]
    pub name: Option<String>,
    /// Put the profile and its password in place, then check all profiles
    #[arg(long, requires = "files")]
    pub write: bool,
    /// With --write: replace a profile and a password that an import has put there
    #[arg(long, requires = "write")]
    pub force: bool,
    /// As JSON, for programs
    #[arg(long)]
    pub json: bool,
}

fn kind(word: &str) -> Result<Kind, String> {
    let known = Kind::ALL.into_iter().find(|kind| kind.word() == word);
    known.ok_or_else(|| "one of pppd, ppp, networkmanager, openwrt, mpd and windows".to_owned())
}

/// Prints or writes the profiles of the files; without files, lists what can be imported.
pub fn main(config: Option<&Path>, args: &Import) -> Code {
    if args.files.is_empty() {
        return import_places::list(Path::new("/"), args.json);
    }
    match import(config, args) {
        Ok(code) | Err(code) => code,
    }
}

fn import(config: Option<&Path>, args: &Import) -> Result<Code, Code> {
    let refuse = |text: String| {
        error(text);
        exit::PROFILE
    };
    let name = match &args.name {
        Some(name) => Some(ProfileName::new(name).map_err(|why| refuse(format!("--name: {why}")))?),
        None => None,
    };
    let directory = put::directory(config)?;
    let mut groups: Vec<(Kind, Vec<Source>)> = Vec::new();
    for path in &args.files {
        let source = source(path).map_err(|why| refuse(format!("{}: {why}", path.display())))?;
        let (kind, why) = kind_of(&source, args.from)?;
        if !args.json {
            let path = import::shown(&source.path);
            complain(format_args!("{path}: taken for {}{why}", kind.title()));
        }
        match groups.iter_mut().find(|(other, _)| *other == kind) {
            Some((_, sources)) => sources.push(source),
            None => groups.push((kind, vec![source])),
        }
    }
    let sources = Sources::new(&read_file);
    let mut found: Vec<(Kind, ProfileName, Tunnel)> = Vec::new();
    let mut general: Vec<String> = Vec::new();
    for (kind, files) in &groups {
        let Imported { tunnels, remarks } = import::import(*kind, files, &sources, name.as_ref());
        if !args.json {
            remarks.iter().for_each(error);
        }
        general.extend(remarks);
        for (name, tunnel) in tunnels {
            if found.iter().any(|(_, other, _)| *other == name) {
                return Err(refuse(format!(
                    "two tunnels would be called `{name}`: import them one by one, with --name"
                )));
            }
            found.push((*kind, name, tunnel));
        }
    }
    if found.is_empty() {
        // Why, as there will be no object.
        general.iter().filter(|_| args.json).for_each(error);
        return Err(refuse("there is nothing to import: no PPTP tunnel in these files".to_owned()));
    }
    if args.name.is_some() && found.len() > 1 {
        return Err(refuse(format!("--name is for one tunnel, and there are {}", found.len())));
    }
    let mut drafts = Vec::new();
    let mut objects = Vec::new();
    for (number, (kind, name, tunnel)) in found.iter().enumerate() {
        let place = Place::of(&directory, name);
        let toml = tunnel.toml(name, kind.title(), &place, args.write);
        if args.json {
            objects.push(to_json(*kind, name, tunnel, &place, &toml));
        } else {
            if !args.write {
                if number > 0 {
                    line("");
                }
                data(toml.trim_end());
            }
            tell(name, tunnel, &place);
        }
        let errors = Tunnel::errors(&toml, &place);
        if !errors.is_empty() {
            errors.iter().for_each(|why| error(format_args!("the profile `{name}` would be refused: {why}")));
            return Err(exit::PROFILE);
        }
        drafts.push(import_write::Draft {
            name,
            place,
            toml,
            password: tunnel.password.as_ref().map(|(secret, _)| secret),
        });
    }
    if args.write {
        let told = |words| {
            if !args.json {
                line(words);
            }
        };
        import_write::write(config, &directory, &drafts, args.force, told)?;
    }
    if args.json {
        let all = serde_json::json!({ "profiles": objects, "remarks": general, "written": args.write });
        data(all);
        return Ok(if args.write { check::main(config, None, true) } else { exit::OK });
    }
    if !args.write {
        to_put_in_place(args);
        return Ok(exit::OK);
    }
    let code = check::main(config, None, false);
    let names: Vec<&str> = found.iter().map(|(_, name, _)| name.as_str()).collect();
    next(config, &names);
    Ok(code)
}

/// Returns a profile and what was not carried over. The password is not part of it.
fn to_json(kind: Kind, name: &ProfileName, tunnel: &Tunnel, place: &Place, toml: &str) -> serde_json::Value {
    let remarks: Vec<_> = tunnel
        .remarks()
        .iter()
        .map(|remark| {
            let origin = remark.origin.as_ref().map(ToString::to_string);
            serde_json::json!({ "origin": origin, "text": remark.text })
        })
        .collect();
    let secret = tunnel.password.as_ref().map(|_| place.secret.to_string_lossy());
    serde_json::json!({
        "name": name.as_str(),
        "kind": kind.word(),
        "toml": toml,
        "file": place.profile.to_string_lossy(),
        "password_file": secret,
        "remarks": remarks,
        "needless": tunnel.needless_words(),
    })
}

/// Shows the command that writes what was printed.
fn to_put_in_place(args: &Import) {
    if args.files.iter().any(|path| path == Path::new("-")) {
        return;
    }
    let files = args.files.iter().map(|path| import_places::word(&path.to_string_lossy()));
    let from = args.from.map_or(String::new(), |kind| format!(" --from {}", kind.word()));
    let name = args.name.as_ref().map_or(String::new(), |name| format!(" --name {name}"));
    complain(format_args!(
        "to put it in place: pptpctl import --write{from}{name} {}",
        files.collect::<Vec<_>>().join(" ")
    ));
}

/// Shows the command that comes next.
fn next(config: Option<&Path>, names: &[&str]) {
    let config = config
        .map_or(String::new(), |file| format!(" --config {}", import_places::word(&file.to_string_lossy())));
    for name in names {
        line(format_args!(
            "next: pptpctl{config} up --dry-run {name}   shows what it does; without --dry-run it does it"
        ));
    }
    if !Uid::effective().is_root() {
        complain(format_args!(
            "a tunnel needs root, whose profiles are in {CONFIG_DIR}: to put it there, import with sudo"
        ));
    }
}

/// Returns the kind of a file, and the words on how it was found.
fn kind_of(source: &Source, from: Option<Kind>) -> Result<(Kind, String), Code> {
    let detected = Kind::detect(source);
    match (from, detected) {
        (Some(kind), _) => Ok((kind, ", by --from".to_owned())),
        (None, Some((kind, why))) => Ok((kind, format!(": {why}"))),
        (None, None) => {
            error(format_args!(
                "{}: no PPTP client that is known here has such a file; --from pppd, ppp, networkmanager, openwrt, mpd or \
                 windows says which",
                import::shown(&source.path)
            ));
            Err(exit::PROFILE)
        }
    }
}

/// Reads an argument: a file, or standard input.
fn source(path: &Path) -> Result<Source, String> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().take(limit()).read_to_end(&mut bytes).map(|_| bytes)
    } else {
        read_file(path)
    };
    let bytes = bytes.map_err(|why| match why.kind() {
        io::ErrorKind::PermissionDenied => format!("{why}: try sudo"),
        _ => why.to_string(),
    })?;
    Source::new(&path.to_string_lossy(), &bytes)
}

/// Says what was not carried over.
fn tell(name: &ProfileName, tunnel: &Tunnel, place: &Place) {
    complain(format_args!("profile `{name}`:"));
    tunnel.remarks().iter().for_each(|remark| complain(format_args!("  {remark}")));
    let words = tunnel.needless_words();
    if !words.is_empty() {
        let shown: Vec<&str> = words.iter().take(MAX_NEEDLESS).map(String::as_str).collect();
        let more = words.len().saturating_sub(MAX_NEEDLESS);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        complain(format_args!("  needs no setting: {}{more}", shown.join(", ")));
    }
    if !tunnel.has("user") {
        complain(format_args!("  no user was found: replace \"{PLACEHOLDER}\" by it"));
    }
    if tunnel.password.is_none() {
        if let Some(hint) = &tunnel.password_hint {
            complain(format_args!("  no password: {}", import::shown_whole(hint)));
        }
        let (file, parent) =
            (place.secret.display(), place.secret.parent().unwrap_or(Path::new("/")).display());
        complain("  `up` asks for it, as the profile has password.ask = true");
        if tunnel.has("autostart") {
            complain("  at boot nobody answers: for `autostart` it has to be in a file");
        }
        complain(format_args!(
            "  for a file instead: (umask 077; mkdir -p {parent}; cat > {file}), and password.file = \"{file}\""
        ));
    }
}
