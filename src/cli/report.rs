//! `report`: one file for a bug report about a tunnel, without names, addresses and secrets.
//!
//! `gather` reads, [`redact`] replaces, without I/O; `profile` renders a profile by its keys.

mod encodings;
mod gather;
mod kind;
mod patterns;
mod profile;
mod redact;

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use self::{
    gather::{Content, Section},
    redact::{Kind, Redactor},
};
use super::{
    exit::{self, Code},
    output::{self, bytes, data, error, line},
};
use crate::{
    profile::ProfileName,
    supervisor::{doctor, ipc::client, local_time},
};

/// The first lines of each report.
const HEAD: &str = "\
pptpctl report. Read it before you send it.

Passwords are left out. Names of servers, users, domains and profiles, and addresses, are replaced: the same one has
the same placeholder throughout, as <server 1>. Texts of the server and of other programs are left out as far as they
can be recognised. A program cannot know everything that is confidential where you are: look for it.
";

pub fn main(config: Option<&Path>, name: &str, output: Option<&Path>, json: bool) -> Code {
    let _inherited = doctor::start();
    if let Err(wrong) = ProfileName::new(name) {
        error(wrong);
        return exit::PROFILE;
    }
    let runs = client::running().iter().any(|running| running == name);
    if !runs && let Err(code) = output::is_known(config, name) {
        return code;
    }
    let path = output.map_or_else(default_path, Path::to_owned);
    // Before anything that takes time, so that a path that cannot be used is reported at once.
    let mut file = match create(&path) {
        Ok(file) => file,
        Err(wrong) => {
            error(cannot_create(&path, &wrong));
            return exit::INTERNAL;
        }
    };
    let mut redactor = Redactor::default();
    let sections = gather::sections(config, name, &mut redactor);
    let text = compose(&mut redactor, sections);
    if let Err(wrong) = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()) {
        let _stays = std::fs::remove_file(&path);
        error(format_args!("{}: {wrong}", path.display()));
        return exit::INTERNAL;
    }
    if json {
        data(serde_json::json!({ "name": name, "file": path.to_string_lossy(), "bytes": text.len() }));
        return exit::OK;
    }
    let size = bytes(u64::try_from(text.len()).unwrap_or(u64::MAX));
    line(format_args!("{}: {size}, readable by its owner only", path.display()));
    line(
        "passwords are left out, names and addresses replaced; a program cannot know all that is confidential:",
    );
    line(format_args!("read it before you send it: less {}", path.display()));
    exit::OK
}

/// Returns the words for a report that cannot be created.
fn cannot_create(path: &Path, wrong: &io::Error) -> String {
    let shown = path.display();
    match wrong.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{shown} exists and is not overwritten: name another file with --output")
        }
        _ => format!("{shown}: {wrong}; name another file with --output"),
    }
}

/// Returns a name in the current directory. It has the time and not the profile, as it is sent along.
fn default_path() -> PathBuf {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let time = local_time::format(since).unwrap_or_else(|| since.to_string());
    let time: String = time.chars().filter(|c| c.is_ascii_digit() || *c == ' ').collect();
    PathBuf::from(format!("pptpctl-report-{}.txt", time.replace(' ', "-")))
}

/// Creates a file that only its owner can read. One that exists is an error, also if it is a symbolic link.
fn create(path: &Path) -> io::Result<std::fs::File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    // Whatever the umask is.
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Returns the report. Pure, but for the numbers of the placeholders.
fn compose(redactor: &mut Redactor, sections: Vec<Section>) -> String {
    // Names that are known only from what was read, before anything is replaced.
    for section in &sections {
        if let Content::Text(text) = &section.content {
            let names: Vec<String> = patterns::server_names(text).map(str::to_owned).collect();
            names.iter().for_each(|name| redactor.add(Kind::ServerName, name));
        }
    }
    let mut report = HEAD.to_owned();
    for Section { title, content } in sections {
        report.push_str(&format!("\n== {title} ==\n"));
        let text = match content {
            Content::Done(text) => text,
            Content::Text(text) => redactor.text(&text),
            Content::Json(values) => {
                let lines: Vec<String> =
                    values.iter().map(|value| redactor.json(value).to_string()).collect();
                lines.join("\n")
            }
            Content::Pretty(value) => format!("{:#}", redactor.json(&value)),
        };
        report.push_str(text.trim_end());
        report.push('\n');
    }
    report
}

#[cfg(test)]
mod tests;
