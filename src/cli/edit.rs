//! `edit`: opens the file of a profile in an editor, checks it, and replaces it.
//!
//! The editor gets a copy in a private directory, as the file may hold a password, and as the real file is used by
//! supervisors meanwhile.

use std::{
    env,
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use nix::unistd::mkdtemp;
use zeroize::Zeroizing;

use super::{
    ask::{self, Console},
    exit::{self, Code},
    output::{self, complain, error, line},
    put,
};
use crate::{
    profile::{Finding, Locations, PasswordSource, Profile, Profiles},
    supervisor::ipc::client,
};

/// The editor if no variable names one.
const EDITOR: &str = "vi";

pub fn main(config: Option<&Path>, name: &str) -> Code {
    match edit(config, name) {
        Ok(code) | Err(code) => code,
    }
}

/// The copy that is edited; removed on drop.
struct Draft {
    directory: PathBuf,
    path: PathBuf,
}

fn edit(config: Option<&Path>, name: &str) -> Result<Code, Code> {
    let locations = Locations::find(config).map_err(|wrong| {
        error(wrong);
        exit::PROFILE
    })?;
    let former = Profiles::load(&locations);
    let file = file_of(&locations, &former, name)?;
    let failed = |path: &Path, wrong: &io::Error| {
        error(format_args!("{}: {wrong}; nothing was changed", path.display()));
        exit::INTERNAL
    };
    let before = fs::read(&file).map(Zeroizing::new).map_err(|wrong| failed(&file, &wrong))?;
    let draft = Draft::of(&file, &before).map_err(|wrong| failed(&env::temp_dir(), &wrong))?;
    let mut console = Console::new()?;
    let (text, profiles) = loop {
        run_editor(&draft.path)?;
        // Ctrl-C was meant for the editor.
        console.forget_signals();
        let text = fs::read(&draft.path).map(Zeroizing::new).map_err(|wrong| failed(&draft.path, &wrong))?;
        if text == before {
            line("nothing was changed");
            return Ok(exit::OK);
        }
        match check(&locations, &file, &text) {
            Ok(profiles) => break (text, profiles),
            Err(report) => complain(report),
        }
        if !ask::is_interactive() || !goes_back(&mut console)? {
            error(format_args!("{} was not changed", file.display()));
            return Err(exit::PROFILE);
        }
    };
    if !fs::read(&file).is_ok_and(|now| now == *before) {
        error(format_args!(
            "{} was changed by another program meanwhile, and is left as it is; your version is in {}",
            file.display(),
            draft.path.display()
        ));
        draft.keep();
        return Err(exit::INTERNAL);
    }
    put::replace(&file, &text).map_err(|wrong| failed(&file, &wrong))?;
    line(format_args!("changed {}", file.display()));
    running(&former, &profiles).iter().for_each(line);
    Ok(exit::OK)
}

/// Returns the file with this profile. In a file that is not TOML no profile is found, so one is taken that has the
/// profile's name, or that is the only one.
fn file_of(locations: &Locations, profiles: &Profiles, name: &str) -> Result<PathBuf, Code> {
    if let Some(place) = profiles.place(name) {
        return Ok(place.file);
    }
    let own = locations.directory.join(format!("{name}.toml"));
    let whole = |finding: &&Finding| finding.profile.is_none();
    let errors = profiles.report().errors.iter().filter(whole);
    let mut broken: Vec<&PathBuf> = errors.filter_map(|finding| Some(&finding.at.as_ref()?.file)).collect();
    broken.dedup();
    match broken.as_slice() {
        files if files.contains(&&own) => Ok(own),
        [only] => Ok((*only).clone()),
        _ => {
            let wrong = profiles.get(name).err();
            wrong.iter().for_each(|wrong| complain(wrong.render(output::style())));
            if !wrong.is_some_and(|wrong| wrong.names_init()) {
                complain(format_args!("`pptpctl init {name}` writes a new profile"));
            }
            Err(exit::PROFILE)
        }
    }
}

/// Runs the editor of the user, without a shell: its words are separated by spaces.
fn run_editor(path: &Path) -> Result<(), Code> {
    let of = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let editor = of("VISUAL").or_else(|| of("EDITOR")).unwrap_or_else(|| OsString::from(EDITOR));
    let Some(editor) = editor.to_str().filter(|editor| !editor.trim().is_empty()) else {
        error("$VISUAL or $EDITOR is no text; nothing was changed");
        return Err(exit::USAGE);
    };
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or(EDITOR);
    let ended = Command::new(program).args(words).arg(path).status();
    let why = match ended {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => status.to_string(),
        Err(wrong) => wrong.to_string(),
    };
    error(format_args!(
        "the editor {program} failed ({why}), so nothing was changed; $VISUAL or $EDITOR names another"
    ));
    Err(exit::INTERNAL)
}

/// Reads all files with `text` in the place of `file`. Shows the warnings about it, or returns its errors.
fn check(locations: &Locations, file: &Path, text: &[u8]) -> Result<Profiles, String> {
    let text = str::from_utf8(text).map_err(|wrong| {
        let lines = text.get(..wrong.valid_up_to()).unwrap_or_default().split(|byte| *byte == b'\n');
        format!("{}:{}: not UTF-8 text", file.display(), lines.count())
    })?;
    let profiles = Profiles::load_with(locations, file, text);
    let is_here = |finding: &&Finding| {
        let also = finding.also.as_ref().map(|(at, _)| at);
        finding.at.iter().chain(also).any(|at| at.file == file)
    };
    let render = |findings: &[Finding]| {
        let here: Vec<_> = findings.iter().filter(is_here).map(|one| one.render(output::style())).collect();
        here.join("\n\n")
    };
    let errors = render(&profiles.report().errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let warnings = render(&profiles.report().warnings);
    if !warnings.is_empty() {
        complain(warnings);
    }
    Ok(profiles)
}

fn goes_back(console: &mut Console) -> Result<bool, Code> {
    let choice = |typed: &str| match typed {
        "e" | "edit" => Ok(true),
        "q" | "quit" => Ok(false),
        _ => Err("edit or quit".to_owned()),
    };
    console.ask("Edit it again, or quit and lose the changes?", "edit or quit", Some("edit"), choice)
}

/// Returns a line for each tunnel that runs with settings that are no longer in its profile.
fn running(former: &Profiles, now: &Profiles) -> Vec<String> {
    let stale = |name: &String| {
        let Ok(profile) = now.get(name) else {
            return former.place(name).map(|_| {
                format!(
                    "{name} is running, and its profile is gone or unusable: `pptpctl down {name}` ends it"
                )
            });
        };
        is_changed(former.get(name).ok()?, profile).then(|| {
            format!(
                "{name} is running with its former settings: `pptpctl reload {name}` applies the new ones"
            )
        })
    };
    client::running().iter().filter_map(stale).collect()
}

fn is_changed(former: &Profile, now: &Profile) -> bool {
    let shown = |profile: &Profile| format!("{:?}", Profile { origin: None, ..profile.clone() });
    let password = match (&former.password, &now.password) {
        (PasswordSource::Inline(former), PasswordSource::Inline(now)) => former.expose() != now.expose(),
        _ => false,
    };
    password || shown(former) != shown(now)
}

impl Draft {
    fn of(file: &Path, content: &[u8]) -> io::Result<Self> {
        let directory = mkdtemp(&env::temp_dir().join("pptpctl.XXXXXX"))?;
        // An editor chooses its mode by the name.
        let path = directory.join(file.file_name().unwrap_or("profiles.toml".as_ref()));
        let draft = Self { directory, path };
        let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft.path)?;
        copy.write_all(content)?;
        Ok(draft)
    }

    /// Leaves the copy where it is.
    fn keep(mut self) {
        self.directory = PathBuf::new();
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.directory.as_os_str().is_empty() {
            // With what the editor has left there.
            let _gone = fs::remove_dir_all(&self.directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_of_the_position_alone_is_none() {
        let read = |text: &str| {
            let profiles = Profiles::from_text(Path::new("x"), text, true);
            profiles.get("x").unwrap().clone()
        };
        let text = "[profile.x]\nserver = 'a.example'\nuser = 'u'\npassword = 'one'\n";
        assert!(!is_changed(&read(text), &read(&format!("# comment\n\n{text}"))));
        assert!(is_changed(&read(text), &read(&text.replace("one", "two"))));
        assert!(is_changed(&read(text), &read(&format!("{text}default = true\n"))));
    }

    #[test]
    fn copy_is_private_and_removed() {
        use std::os::unix::fs::MetadataExt;
        let draft = Draft::of(Path::new("/etc/pptpctl/profiles.d/office.toml"), b"x").unwrap();
        let (directory, path) = (draft.directory.clone(), draft.path.clone());
        assert_eq!(path.file_name().unwrap(), "office.toml");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&path)), (0o700, 0o600));
        fs::write(directory.join("office.toml~"), "backup").unwrap();
        drop(draft);
        assert!(!directory.exists());
    }
}
