//! Puts imported profiles and passwords in place: private, atomically, and never over another file unasked.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
};

use nix::unistd::Uid;

use super::{
    exit::{self, Code},
    output::{self, error},
    put::{self, Created},
};
use crate::{
    import::Place,
    profile::{LookupError, ProfileName, Profiles},
    secret::Secret,
};

/// A profile that is to be written.
pub struct Draft<'a> {
    /// Its name.
    pub name: &'a ProfileName,
    /// Its files.
    pub place: Place,
    /// Its text.
    pub toml: String,
    /// Its password, if there is one.
    pub password: Option<&'a Secret>,
}

/// Writes all drafts, or none if one of them is in the way of another profile. `told` gets a sentence on each file.
pub fn write(
    config: Option<&Path>,
    directory: &Path,
    drafts: &[Draft<'_>],
    force: bool,
    told: impl Fn(String),
) -> Result<(), Code> {
    let refuse = |text: String| {
        error(text);
        exit::PROFILE
    };
    // Without a file there are no profiles yet, and the report on that is of no use here.
    let existing = output::profiles(config)?;
    for draft in drafts {
        let Draft { name, place, .. } = draft;
        let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
        let own = is_there(&place.profile);
        let taken = !matches!(existing.get(name.as_str()), Err(LookupError::Unknown { .. }));
        if taken && !own {
            return Err(refuse(format!(
                "there is a profile `{name}` already, in another file than {}: choose another with --name",
                place.profile.display()
            )));
        }
        if own
            && force
            && let Some(other) = other_profile(&place.profile, name)
        {
            return Err(refuse(format!(
                "{} has the profile `{other}` too: --force would remove it",
                place.profile.display()
            )));
        }
        let secret = draft.password.is_some().then_some(&place.secret).filter(|path| is_there(path));
        if let Some(path) = own.then_some(&place.profile).or(secret).filter(|_| !force) {
            return Err(refuse(format!(
                "{} exists: --force replaces it, --name chooses another name",
                path.display()
            )));
        }
    }
    for (path, mode) in [
        (directory.to_owned(), 0o755),
        (directory.join("profiles.d"), 0o755),
        (directory.join("secrets"), 0o700),
    ] {
        prepare(&path, mode).map_err(|why| refuse(format!("{}: {why}", path.display())))?;
    }
    // The file that --config names has to exist, although the profiles are beside it.
    if let Some(file) = config.filter(|file| !file.exists()) {
        let note = b"# The profiles that `pptpctl import` wrote are in profiles.d.\n";
        Created::default()
            .file(file, note, 0o644)
            .map_err(|why| refuse(format!("{}: {why}", file.display())))?;
    }
    for draft in drafts {
        let Place { profile, secret } = &draft.place;
        let mut created = Created::default();
        let mut put = |path: &Path, content: &[u8], mode| {
            let put =
                if force { put::overwrite(path, content, mode) } else { created.file(path, content, mode) };
            put.map_err(|why| refuse(format!("{}: {why}", path.display())))
        };
        if let Some(password) = draft.password {
            let mut text = zeroize::Zeroizing::new(password.expose().to_vec());
            text.push(b'\n');
            put(secret, &text, 0o600)?;
            told(format!("wrote {} (mode 600)", secret.display()));
        }
        if let Err(refused) = put(profile, draft.toml.as_bytes(), 0o644) {
            let _gone = created.remove();
            return Err(refused);
        }
        told(format!("wrote {}", profile.display()));
    }
    Ok(())
}

/// Returns another profile than this one in a file.
fn other_profile(path: &Path, name: &ProfileName) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let profiles = Profiles::from_text(path, &text, true);
    profiles.names().find(|other| *other != name).map(ToString::to_string)
}

/// Creates a directory, or checks that only its owner, root or this user, may change what is in it.
fn prepare(path: &Path, mode: u32) -> io::Result<()> {
    if fs::symlink_metadata(path).is_err() {
        DirBuilder::new().recursive(true).mode(mode).create(path)?;
        return fs::set_permissions(path, Permissions::from_mode(mode));
    }
    let found = fs::metadata(path)?;
    if !found.is_dir() {
        return Err(io::Error::other("not a directory"));
    }
    let is_own = found.uid() == 0 || found.uid() == Uid::effective().as_raw();
    if !is_own || (found.mode() & 0o022 != 0 && found.mode() & 0o1000 == 0) {
        return Err(io::Error::other("others may change what is in it: chown it, or chmod go-w"));
    }
    Ok(())
}
