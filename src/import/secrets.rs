//! chap-secrets and pap-secrets of pppd(8): lines of client, server, secret and addresses.

use super::{
    draft::Origin,
    sources::Source,
    words::{self, Word},
};
use crate::secret::Secret;

/// Why there is no password.
#[derive(Debug, PartialEq, Eq)]
pub enum NoPassword {
    /// No line is for this user and server.
    NoLine,
    /// Several lines are, with different secrets; the lines.
    Ambiguous(Vec<usize>),
    /// The line has no secret that this program can use; the reason.
    Unusable(usize, &'static str),
}

/// Returns the name of a user as it was meant: pppd(8) takes the backslash between domain and name for an escape
/// unless it is doubled, but pptpsetup(8) and many guides write one. The flag says that this was so.
#[must_use]
pub fn account(word: &Word) -> (String, bool) {
    let one = word.raw.matches('\\').count() == 1;
    let between = word.raw.split_once('\\').is_some_and(|(domain, name)| {
        // Before a blank or a quote it is meant as an escape.
        !domain.is_empty() && name.starts_with(|c: char| c.is_alphanumeric() || c == '_')
    });
    if one && between && !word.text.contains('\\') {
        return (word.raw.clone(), true);
    }
    (word.text.clone(), false)
}

/// Finds the password of a user for a server; without a server's name, each line of the user is for it.
///
/// # Errors
/// Returns why there is none.
pub fn find(source: &Source, user: &str, server: Option<&str>) -> Result<(Secret, Origin), NoPassword> {
    let mut lines: Vec<Vec<Word>> = Vec::new();
    for word in words::pppd(&source.text) {
        match lines.last_mut() {
            Some(line) if line.first().is_some_and(|first| first.line == word.line) => line.push(word),
            _ => lines.push(vec![word]),
        }
    }
    // (how specific, line, secret): a name is more specific than an asterisk, as for pppd.
    let mut found: Vec<((bool, bool), &Word)> = Vec::new();
    for line in &lines {
        let [client, of, secret, ..] = line.as_slice() else { continue };
        let (name, _) = account(client);
        let by_client = name == user;
        let by_server = server.is_some_and(|server| of.text == server);
        let any = |word: &Word| word.raw == "*";
        if (by_client || any(client)) && (by_server || any(of) || server.is_none()) {
            found.push(((by_client, by_server), secret));
        }
    }
    let Some(best) = found.iter().map(|(rank, _)| *rank).max() else { return Err(NoPassword::NoLine) };
    found.retain(|(rank, _)| *rank == best);
    let Some((_, first)) = found.first() else { return Err(NoPassword::NoLine) };
    if found.iter().any(|(_, other)| other.text != first.text) {
        return Err(NoPassword::Ambiguous(found.iter().map(|(_, secret)| secret.line).collect()));
    }
    usable(&first.text).map_err(|why| NoPassword::Unusable(first.line, why))?;
    if first.text.starts_with('@') {
        let why = "it names a file that has the secret; put the first word of that file there";
        return Err(NoPassword::Unusable(first.line, why));
    }
    Ok((Secret::from(first.text.as_str()), Origin::new(&source.path, first.line)))
}

/// Checks that a text can be the one line of a password file.
///
/// # Errors
/// Returns why it cannot.
pub fn usable(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        Err("the password is empty")
    } else if text.contains('\u{fffd}') {
        Err("the password is not UTF-8 text")
    } else if text.contains(['\n', '\r', '\0']) {
        Err("the password has more than one line")
    } else if text.len() > crate::profile::password::MAX_LENGTH {
        Err("the password is too long")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# client server secret addresses\n\
                        CORP\\alice office \"first one\" *\n\
                        * office any *\n\
                        bob * \"b\\\"s\" *\n\
                        carol a one *\n\
                        carol b two *\n\
                        dave * @/etc/dave *\n\
                        erin\n";

    fn found(user: &str, server: Option<&str>) -> Result<(String, String), NoPassword> {
        let source = Source::new("chap-secrets", FILE.as_bytes()).unwrap();
        find(&source, user, server)
            .map(|(secret, at)| (String::from_utf8(secret.expose().to_vec()).unwrap(), at.to_string()))
    }

    #[test]
    fn most_specific_line_counts() {
        let ok = |text: &str, line| Ok((text.to_owned(), format!("chap-secrets:{line}")));
        assert_eq!(found("CORP\\alice", Some("office")), ok("first one", 2));
        assert_eq!(found("zoe", Some("office")), ok("any", 3));
        assert_eq!(found("bob", Some("x")), ok("b\"s", 4));
        assert_eq!(found("carol", Some("b")), ok("two", 6));
        assert_eq!(found("carol", None), Err(NoPassword::Ambiguous(vec![5, 6])));
        assert_eq!(found("zoe", Some("elsewhere")), Err(NoPassword::NoLine));
        assert!(matches!(found("dave", None), Err(NoPassword::Unusable(7, _))));
    }
}
