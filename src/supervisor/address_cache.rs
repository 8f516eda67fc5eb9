//! Pure: the addresses that a server's name had.
//!
//! While all names are asked through the tunnel, none can be asked when it is away, the server's own least of all.
//! So the addresses of the last answer are called first, without asking; if none of them works, the next round asks,
//! for the server may have moved and the resolver be reachable after all; and if that comes to nothing, they are
//! called again.

use std::net::Ipv4Addr;

/// What is remembered of the names of one profile.
#[derive(Debug, Default)]
pub struct AddressCache {
    known: Vec<(String, Vec<Ipv4Addr>)>,
    /// The names that were called without asking since the tunnel was last up.
    unasked: Vec<String>,
}

impl AddressCache {
    /// Before a name is looked up: the addresses to call instead. `in_vain` says that nobody can be asked now.
    pub fn instead(&mut self, name: &str, in_vain: bool) -> Option<Vec<Ipv4Addr>> {
        let before = self.unasked.len();
        self.unasked.retain(|other| other != name);
        if !in_vain || before != self.unasked.len() {
            return None;
        }
        let known = self.known(name)?;
        self.unasked.push(name.to_owned());
        Some(known)
    }

    /// What a name resolves to.
    pub fn found(&mut self, name: &str, addresses: &[Ipv4Addr]) {
        if !addresses.is_empty() {
            self.known.retain(|(other, _)| other != name);
            self.known.push((name.to_owned(), addresses.to_vec()));
        }
    }

    /// What it resolved to before.
    #[must_use]
    pub fn known(&self, name: &str) -> Option<Vec<Ipv4Addr>> {
        self.known.iter().find(|(other, _)| other == name).map(|(_, addresses)| addresses.clone())
    }

    /// The tunnel is up.
    pub fn up(&mut self) {
        self.unasked.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];

    #[test]
    fn what_was_found_is_called_without_asking_every_other_time() {
        let mut names = AddressCache::default();
        assert_eq!(names.instead("a", true), None);
        names.found("a", &A);
        names.found("b", &A[1..]);
        assert_eq!(names.instead("a", true), Some(A.to_vec()));
        assert_eq!(names.instead("b", true), Some(A[1..].to_vec()));
        assert_eq!(names.instead("a", true), None);
        assert_eq!(names.instead("a", true), Some(A.to_vec()));
        names.up();
        assert_eq!(names.instead("a", true), Some(A.to_vec()));
    }

    #[test]
    fn whoever_can_ask_asks() {
        let mut names = AddressCache::default();
        names.found("a", &A);
        assert_eq!(names.instead("a", false), None);
        assert_eq!(names.instead("a", false), None);
        // An empty answer is none.
        names.found("a", &[]);
        assert_eq!(names.known("a"), Some(A.to_vec()));
        names.found("a", &A[1..]);
        assert_eq!(names.known("a"), Some(A[1..].to_vec()));
    }
}
