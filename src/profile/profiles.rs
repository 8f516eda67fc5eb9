//! Loads all profiles: from files to a table by name, with a report of all errors.
//!
//! An error in one profile makes only that profile unusable. A file that is not TOML or cannot be trusted
//! makes all of its profiles unusable.

use std::{collections::BTreeMap, fmt, path::Path};

use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::{
    Origin, Profile, ProfileName, Severity,
    files::{self, Locations},
    nearest::nearest,
    privacy,
    probe::{self, MayRun},
    read,
    report::{Draft, Finding, Report, Style},
    review::{self, Entry, HostView},
    source::{Source, Span},
    values,
};
use crate::platform::Platform;

/// The most syntax errors in a report; later ones are often consequences of the first.
const MAX_SYNTAX_ERRORS: usize = 5;

/// The profiles found in the files, and the report on them.
pub struct Profiles {
    entries: BTreeMap<ProfileName, Entry>,
    report: Report,
    /// The system that they are for.
    platform: Platform,
}

/// Why there is no profile for a name. `Display` is the message for the user, possibly of several lines.
#[derive(Debug)]
pub enum LookupError {
    /// No readable file has such a profile.
    Unknown {
        /// The requested name.
        name: String,
        /// The most similar name.
        nearest: Option<ProfileName>,
        /// The errors of files that could not be read and may contain it.
        files: Report,
    },
    /// The profile exists and has errors.
    Broken {
        /// All findings of the profile.
        report: Report,
    },
}

impl Profiles {
    /// Reads the files. Never fails: all errors are in [`Profiles::report`].
    #[must_use]
    pub fn load(locations: &Locations) -> Self {
        Self::load_for(locations, Platform::host())
    }

    /// Does the same with a text in the place of the file at `path`.
    #[must_use]
    pub fn load_with(locations: &Locations, path: &Path, text: &str) -> Self {
        let (sources, findings) = files::read(locations, &files::open);
        let mut profiles = Self::empty(Platform::host());
        for finding in findings {
            profiles.report.push(finding);
        }
        for source in sources {
            let source = match source.path == path {
                true => Source::new(path, text.to_owned(), source.is_private),
                false => source,
            };
            profiles.add(source);
        }
        profiles
    }

    /// Does the same for another system.
    #[must_use]
    pub fn load_for(locations: &Locations, platform: Platform) -> Self {
        Self::load_by(locations, platform, &files::open)
    }

    /// Does the same for a process that cannot open the files itself.
    #[must_use]
    pub fn load_by(locations: &Locations, platform: Platform, open: files::Open<'_>) -> Self {
        let (sources, findings) = files::read(locations, open);
        let mut profiles = Self::empty(platform);
        for finding in findings {
            profiles.report.push(finding);
        }
        for source in sources {
            profiles.add(source);
        }
        profiles
    }

    /// Reads a text as if it were the file at `path`. `is_private` is whether it may contain an inline
    /// password.
    #[must_use]
    pub fn from_text(path: &Path, text: &str, is_private: bool) -> Self {
        Self::from_text_for(path, text, is_private, Platform::host())
    }

    /// Does the same for another system.
    #[must_use]
    pub fn from_text_for(path: &Path, text: &str, is_private: bool, platform: Platform) -> Self {
        let mut profiles = Self::empty(platform);
        profiles.add(Source::new(path, text.to_owned(), is_private));
        profiles
    }

    /// Returns the profile of that name.
    ///
    /// # Errors
    /// Returns [`LookupError::Unknown`] with the nearest name, or [`LookupError::Broken`] with all findings
    /// of the profile.
    pub fn get(&self, name: &str) -> Result<&Profile, LookupError> {
        match self.entries.get_key_value(name) {
            Some((_, Entry { profile: Some(profile), .. })) => Ok(profile),
            Some((name, _)) => {
                let report = self.report_where(|finding| finding.profile.as_ref() == Some(name));
                Err(LookupError::Broken { report })
            }
            None => Err(LookupError::Unknown {
                name: name.to_owned(),
                nearest: nearest(name, self.names().map(ProfileName::as_str))
                    .and_then(|name| name.parse().ok()),
                files: self
                    .report_where(|finding| finding.profile.is_none() && finding.severity == Severity::Error),
            }),
        }
    }

    /// Returns all names, sorted, including those of broken profiles.
    pub fn names(&self) -> impl Iterator<Item = &ProfileName> {
        self.entries.keys()
    }

    /// Returns all names, sorted, each with its profile if that is usable.
    pub fn iter(&self) -> impl Iterator<Item = (&ProfileName, Option<&Profile>)> {
        self.entries.iter().map(|(name, entry)| (name, entry.profile.as_ref()))
    }

    /// Returns where the profile of that name stands, whether it is usable or not.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<Origin> {
        self.entries.get(name).map(|entry| entry.at.origin())
    }

    /// Returns the findings of all files, which `check` prints.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Checks the files and programs that the profiles name on this host, as `up` does, and adds findings to
    /// the report. Some may be accessible to root only.
    pub fn probe(&mut self, may_run: MayRun<'_>) {
        for (name, Entry { at, profile, .. }) in &self.entries {
            let check = |profile| probe::check_profile(profile, self.platform, may_run);
            for problem in profile.iter().flat_map(check) {
                let mut finding = Finding::error(problem.message);
                finding.severity = problem.severity;
                finding.profile = Some(name.clone());
                finding.at = Some(at.clone());
                finding.label = format!("its `{}`", problem.key);
                self.report.push(finding);
            }
        }
    }

    /// Compares the profiles with each other and with the host, and adds findings to the report.
    pub fn review(&mut self, host: &HostView<'_>) {
        for finding in review::review(&self.entries, self.platform, host) {
            self.report.push(finding);
        }
    }

    const fn empty(platform: Platform) -> Self {
        Self {
            entries: BTreeMap::new(),
            report: Report { errors: Vec::new(), warnings: Vec::new() },
            platform,
        }
    }

    fn report_where(&self, wanted: impl Fn(&Finding) -> bool) -> Report {
        let pick = |list: &[Finding]| list.iter().filter(|finding| wanted(finding)).cloned().collect();
        Report { errors: pick(&self.report.errors), warnings: pick(&self.report.warnings) }
    }

    fn add(&mut self, mut source: Source) {
        // The tree borrows this copy, because the source changes while the tree is in use.
        let text: Zeroizing<String> = source.text.clone();
        let (root, errors) = DeTable::parse_recoverable(&text);
        if !errors.is_empty() {
            source.hide_suspicious_regions();
            let place = |error: &toml::de::Error| error.span().map_or(Span { start: 0, end: 0 }, Span::from);
            let mut errors: Vec<_> = errors.iter().map(|error| (place(error), error.message())).collect();
            errors.sort();
            for (at, message) in errors.into_iter().take(MAX_SYNTAX_ERRORS) {
                let mut draft = Draft::error(at, "this is not TOML, so none of the file is used", message);
                draft.help.extend(escape_help(&text, at, message));
                self.report.push(draft.finish(&source, None));
            }
            return;
        }
        privacy::hide_secrets(&mut source, root.get_ref());
        for draft in unknown_top_level_keys(root.get_ref()) {
            self.report.push(draft.finish(&source, None));
        }
        let Some(DeValue::Table(tables)) = root.get_ref().get("profile").map(|value| value.get_ref()) else {
            return;
        };
        let mut tables: Vec<_> =
            tables.iter().map(|(key, value)| (Span::from(key.span()), key, value)).collect();
        tables.sort_by_key(|(header, ..)| *header);
        for (header, key, value) in tables {
            match ProfileName::new(key.get_ref()) {
                Ok(name) => self.add_profile(&source, name, header, value.get_ref()),
                Err(why) => {
                    let draft = Draft::error(header, "this cannot be the name of a profile", why.to_string());
                    self.report.push(draft.finish(&source, None));
                }
            }
        }
    }

    fn add_profile(&mut self, source: &Source, name: ProfileName, header: Span, value: &DeValue<'_>) {
        let (profile, findings, keys) = read::profile(source, &name, header, value, self.platform);
        for finding in findings {
            self.report.push(finding);
        }
        let at = source.excerpt(header);
        match self.entries.get_mut(&name) {
            None => {
                self.entries.insert(name, Entry { at, keys, profile });
            }
            Some(first) => {
                let mut finding = Finding::error(format!("profile `{name}` stands in two files"));
                finding.at = Some(at);
                finding.label = "again".to_owned();
                finding.also = Some((first.at.clone(), "first".to_owned()));
                finding.profile = Some(name);
                first.profile = None;
                self.report.push(finding);
            }
        }
    }
}

/// Returns advice for an invalid escape, which is mostly the backslash between a Windows domain and a name.
fn escape_help(text: &str, at: Span, message: &str) -> Option<String> {
    if !["escape", "unicode"].iter().any(|part| message.contains(part)) {
        return None;
    }
    let line = text.get(..at.start)?.rsplit('\n').next()?.trim_start();
    Some(if line.starts_with("user") { values::DOMAIN_ADVICE } else { values::ESCAPE_ADVICE }.to_owned())
}

/// Returns a draft for each top-level key of a file that is not a table `profile`.
fn unknown_top_level_keys(root: &DeTable<'_>) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for (key, value) in root {
        let (word, at) = (key.get_ref().as_ref(), Span::from(key.span()));
        let is_table = matches!(value.get_ref(), DeValue::Table(_));
        let label = match word {
            "profile" if is_table => continue,
            "profile" => "a profile has a name: [profile.NAME]".to_owned(),
            _ if is_table && nearest(word, ["profile"]).is_some() => "did you mean `profile`?".to_owned(),
            _ if is_table && ProfileName::new(word).is_ok() => format!("did you mean [profile.{word}]?"),
            _ => "keys stand below a [profile.NAME]".to_owned(),
        };
        let title = if word == "profile" {
            "`profile` is not a table".to_owned()
        } else {
            format!("unknown key `{word}`")
        };
        drafts.push(Draft::error(at, title, label));
    }
    drafts.sort_by_key(|draft| draft.at);
    drafts
}

impl LookupError {
    /// Returns whether the report says how a profile is written: not where another name is meant, nor where the errors of
    /// the files have help of their own.
    pub fn names_init(&self) -> bool {
        matches!(self, Self::Unknown { nearest: None, files, .. } if files.is_empty())
    }

    /// Returns the message in the given style.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        match self {
            Self::Broken { report } => report.render(style),
            Self::Unknown { name, nearest, files } => {
                let mut finding = Finding::error(format!("there is no profile `{name}`"));
                finding.help.extend(nearest.as_ref().map(|nearest| format!("did you mean `{nearest}`?")));
                if self.names_init() {
                    finding.help.push(
                        "`pptpctl list` shows the profiles, `pptpctl init NAME` writes a new one".to_owned(),
                    );
                }
                let mut parts = vec![finding.render(style)];
                parts.extend((!files.is_empty()).then(|| files.render(style)));
                parts.join("\n\n")
            }
        }
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

impl std::error::Error for LookupError {}
