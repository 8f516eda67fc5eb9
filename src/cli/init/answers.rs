//! What `init` was told, and the profile that follows from it. No I/O.

use std::path::{Path, PathBuf};

use crate::{
    import::quoted,
    profile::{Profile, Profiles},
    secret::Secret,
};

/// Where the password comes from.
pub enum PasswordChoice {
    /// It is asked for at each `up`.
    Ask,
    /// It goes into a new file.
    Store(Secret),
    /// It is in this file.
    File(PathBuf),
}

/// What goes through the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All traffic.
    Everything,
    /// These prefixes.
    Networks(Vec<String>),
    /// The networks that the server names.
    ServerSide,
}

/// The answers that a profile needs, each as it was typed.
pub struct Answers {
    pub server: String,
    pub user: String,
    pub domain: Option<String>,
    pub password: PasswordChoice,
    pub reach: Reach,
}

impl Answers {
    /// Returns valid answers, of which one is replaced to check it.
    pub fn sample() -> Self {
        Self {
            server: "192.0.2.1".to_owned(),
            user: "user".to_owned(),
            domain: None,
            password: PasswordChoice::Ask,
            reach: Reach::Everything,
        }
    }

    /// Returns the text of the profile. `secret` is the file of a stored password.
    pub fn text(&self, name: &str, secret: &Path) -> String {
        let mut text = format!(
            "# The tunnel {name}, written by `pptpctl init`. pptpctl.toml(5) has every key.\n\
             # `pptpctl edit {name}` changes this file, `pptpctl restart {name}` applies the changes.\n\
             [profile.{name}]\n"
        );
        let mut add = |line: &str| text += &format!("{line}\n");
        add("# Name or address, or a list of them; HOST:PORT if the port is not 1723.");
        add(&format!("server = {}", quoted(&self.server)));
        add("");
        add(&format!("user = {}", quoted(&self.user)));
        match &self.domain {
            Some(domain) => add(&format!("domain = {}", quoted(domain))),
            None => add("#domain = \"CORP\""),
        }
        let file = match &self.password {
            PasswordChoice::Ask => None,
            PasswordChoice::Store(_) => Some(secret),
            PasswordChoice::File(path) => Some(path.as_path()),
        };
        match file {
            None => {
                add("# `up` asks for the password at the terminal. Instead of that:");
                add("password.ask = true");
                add(&format!("#password.file = {}", quoted(&secret.to_string_lossy())));
            }
            Some(path) => {
                add("# One line; only root may read this file.");
                add(&format!("password.file = {}", quoted(&path.to_string_lossy())));
            }
        }
        add("");
        match &self.reach {
            Reach::Everything => {
                add(
                    "# All traffic goes through the tunnel, except for the networks that this host is connected to.",
                );
                add("default = true");
                add("# These networks do not:");
                add("#exclude = [\"192.168.0.0/16\"]");
                add("# No packet leaves past the tunnel while it is lost:");
                add("#leak = \"block\"");
            }
            Reach::Networks(prefixes) => {
                let prefixes: Vec<String> = prefixes.iter().map(|prefix| quoted(prefix)).collect();
                add("# The networks that are reached through the tunnel.");
                add(&format!("routes = [{}]", prefixes.join(", ")));
            }
            Reach::ServerSide => {
                add("# The server is asked for its networks, which are reached through the tunnel.");
                add("peer-routes = true");
                add("# If it names none:");
                add("#routes = [\"10.42.0.0/16\"]");
            }
        }
        add("# The server's resolvers are asked while the tunnel is up:");
        add("#dns = \"peer\"");
        add("");
        add("# The first attempts are repeated too, as when there is no network yet:");
        add("#retry.from-start = true");
        if file.is_some() {
            add("# `pptpctl up --autostart` brings it up, as at boot:");
            add("#autostart = true");
        }
        text
    }

    /// Reads the profile as a file that only root may write would be read.
    pub fn profile(&self, name: &str, file: &Path, secret: &Path) -> Result<(Profile, Vec<String>), String> {
        let profiles = Profiles::from_text(file, &self.text(name, secret), false);
        let report = profiles.report();
        if let Some(error) = report.errors.first() {
            return Err(format!("{}: {}", error.title, error.label));
        }
        let warnings = report.warnings.iter().map(|one| format!("{}: {}", one.title, one.label)).collect();
        profiles.get(name).cloned().map(|profile| (profile, warnings)).map_err(|error| error.to_string())
    }

    /// Returns what is wrong with these answers, for the user who typed one of them.
    pub fn problem(&self) -> Result<(), String> {
        self.profile("x", Path::new("x"), Path::new("/x")).map(drop)
    }
}

/// Splits `CORP\alice` into name and domain.
pub fn split_user(typed: &str) -> (String, Option<String>) {
    match typed.split_once('\\') {
        // A backslash that was doubled, as in a profile.
        Some((domain, name)) if !domain.is_empty() => {
            (name.trim_start_matches('\\').to_owned(), Some(domain.to_owned()))
        }
        _ => (typed.to_owned(), None),
    }
}

/// Returns the prefixes in a list with commas or spaces.
pub fn prefixes(typed: &str) -> Vec<String> {
    typed
        .split([',', ' ', '\t'])
        .filter(|word| !word.is_empty())
        .map(|word| word.trim_matches('"').to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{DefaultRoute, PasswordSource, Severity};

    fn all() -> Vec<Answers> {
        let networks = Reach::Networks(vec!["10.42.0.0/16".to_owned(), "192.0.2.0/24".to_owned()]);
        let mut all = Vec::new();
        for reach in [Reach::Everything, networks, Reach::ServerSide] {
            for password in [
                PasswordChoice::Ask,
                PasswordChoice::Store(Secret::from("hunter2")),
                PasswordChoice::File("/etc/other".into()),
            ] {
                all.push(Answers { password, reach: reach.clone(), ..Answers::sample() });
            }
        }
        all
    }

    #[test]
    fn written_profile_is_read_without_warnings() {
        for answers in all() {
            let (file, secret) = (Path::new("office.toml"), Path::new("/etc/pptpctl/secrets/office"));
            let (profile, warnings) = answers.profile("office", file, secret).unwrap();
            assert_eq!(warnings, [""; 0]);
            let text = answers.text("office", secret);
            assert!(
                !text.contains("hunter2") && text.lines().all(|line| line.chars().count() <= 100),
                "{text}"
            );
            match (&answers.password, &profile.password) {
                (PasswordChoice::Ask, PasswordSource::Ask { is_explicit: true }) => {}
                (PasswordChoice::Store(_), PasswordSource::File(path)) => assert_eq!(path, secret),
                (PasswordChoice::File(own), PasswordSource::File(path)) => assert_eq!(path, own),
                _ => panic!("{text}"),
            }
            assert_eq!(
                (profile.default_route, profile.routes.len(), profile.peer_routes),
                match answers.reach {
                    Reach::Everything => (Some(DefaultRoute::Auto), 0, false),
                    Reach::Networks(_) => (None, 2, false),
                    Reach::ServerSide => (None, 0, true),
                }
            );
        }
    }

    /// Each key in a comment works when its mark is removed.
    #[test]
    fn keys_in_comments_are_valid() {
        let mut tried = 0;
        for answers in all() {
            let text = answers.text("office", Path::new("/etc/pptpctl/secrets/office"));
            for line in text.lines().filter(|line| line.starts_with('#') && line.contains(" = ")) {
                let Some(key) = line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')) else {
                    continue;
                };
                let mut changed = text.replace(line, key);
                if key.starts_with("password.file") {
                    changed = changed.replace("password.ask = true\n", "");
                }
                let profiles = Profiles::from_text(Path::new("x"), &changed, false);
                let errors = profiles.report().errors.iter().filter(|one| one.severity == Severity::Error);
                assert_eq!(errors.count(), 0, "{changed}\n{}", profiles.report());
                tried += 1;
            }
        }
        assert!(tried > 30, "{tried}");
    }

    #[test]
    fn answers_are_checked_as_the_reader_does() {
        let problem = |answers: Answers| answers.problem().unwrap_err();
        let server = |server: &str| Answers { server: server.to_owned(), ..Answers::sample() };
        assert!(problem(server("vpn example")).starts_with("bad value for `server`"));
        assert!(server("vpn.example.net:1724").problem().is_ok());
        let user = |user: &str| Answers { user: user.to_owned(), ..Answers::sample() };
        assert!(problem(user("a\u{7}")).starts_with("bad value for `user`"));
        assert!(user("alice \"a\"@corp").problem().is_ok());
        let networks = |list: &str| Answers { reach: Reach::Networks(prefixes(list)), ..Answers::sample() };
        assert!(problem(networks("10.0.0.0/33")).starts_with("bad value for `routes`"));
        assert!(networks("10.0.0.0/8, 192.0.2.7").problem().is_ok());
    }

    #[test]
    fn domain_before_a_backslash_is_split_off() {
        let split = |typed: &str| {
            let (user, domain) = split_user(typed);
            (user, domain.unwrap_or_default())
        };
        for (typed, user, domain) in [
            ("alice", "alice", ""),
            ("CORP\\alice", "alice", "CORP"),
            ("CORP\\\\alice", "alice", "CORP"),
            ("alice@corp.example", "alice@corp.example", ""),
            ("\\alice", "\\alice", ""),
        ] {
            assert_eq!(split(typed), (user.to_owned(), domain.to_owned()));
        }
        assert!(Answers { user: "\\alice".to_owned(), ..Answers::sample() }.problem().is_err());
    }
}
