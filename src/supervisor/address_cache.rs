//! Caches the addresses of the servers' names. No I/O.
//!
//! If all names are resolved through the tunnel, none can be resolved while it is down, including the
//! server's own. The addresses of the last answer are therefore dialled first, without a query. If none
//! works, the next round queries, as the server may have moved and the resolver be reachable after all. If
//! that fails, the cached addresses are dialled again.

use std::net::Ipv4Addr;

/// The cached answers for the names of one profile.
#[derive(Debug, Default)]
pub struct AddressCache {
    known: Vec<(String, Vec<Ipv4Addr>)>,
    /// Names that the last round took from the cache; cleared when the tunnel comes up.
    used_from_cache: Vec<String>,
}

impl AddressCache {
    /// Returns the addresses to dial without a lookup, at most every other time. `in_vain` says that no
    /// resolver is reachable.
    pub fn addresses_without_lookup(&mut self, name: &str, in_vain: bool) -> Option<Vec<Ipv4Addr>> {
        let before = self.used_from_cache.len();
        self.used_from_cache.retain(|other| other != name);
        if !in_vain || before != self.used_from_cache.len() {
            return None;
        }
        let known = self.known(name)?;
        self.used_from_cache.push(name.to_owned());
        Some(known)
    }

    /// Stores the addresses of a name, unless there are none.
    pub fn store(&mut self, name: &str, addresses: &[Ipv4Addr]) {
        if !addresses.is_empty() {
            self.known.retain(|(other, _)| other != name);
            self.known.push((name.to_owned(), addresses.to_vec()));
        }
    }

    /// Returns the last addresses of a name.
    #[must_use]
    pub fn known(&self, name: &str) -> Option<Vec<Ipv4Addr>> {
        self.known.iter().find(|(other, _)| other == name).map(|(_, addresses)| addresses.clone())
    }

    /// Resets the alternation, once the tunnel is up.
    pub fn up(&mut self) {
        self.used_from_cache.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];

    #[test]
    fn cached_addresses_are_used_every_other_time() {
        let mut names = AddressCache::default();
        assert_eq!(names.addresses_without_lookup("a", true), None);
        names.store("a", &A);
        names.store("b", &A[1..]);
        assert_eq!(names.addresses_without_lookup("a", true), Some(A.to_vec()));
        assert_eq!(names.addresses_without_lookup("b", true), Some(A[1..].to_vec()));
        assert_eq!(names.addresses_without_lookup("a", true), None);
        assert_eq!(names.addresses_without_lookup("a", true), Some(A.to_vec()));
        names.up();
        assert_eq!(names.addresses_without_lookup("a", true), Some(A.to_vec()));
    }

    #[test]
    fn cache_is_unused_while_a_resolver_is_reachable() {
        let mut names = AddressCache::default();
        names.store("a", &A);
        assert_eq!(names.addresses_without_lookup("a", false), None);
        assert_eq!(names.addresses_without_lookup("a", false), None);
        // An empty answer does not replace the cached one.
        names.store("a", &[]);
        assert_eq!(names.known("a"), Some(A.to_vec()));
        names.store("a", &A[1..]);
        assert_eq!(names.known("a"), Some(A[1..].to_vec()));
    }
}
