//! The addresses that a server assigns to its clients. No I/O.

use std::net::Ipv4Addr;

/// A range of addresses, some of which are assigned.
#[derive(Debug)]
pub struct Pool {
    first: u32,
    given: Vec<bool>,
}

impl Pool {
    /// Returns a pool of `size` addresses from `first`; fewer at the end of the address space.
    #[must_use]
    pub fn new(first: Ipv4Addr, size: u16) -> Self {
        let first = u32::from(first);
        let size = usize::from(size).min(usize::try_from(u32::MAX - first).unwrap_or(usize::MAX));
        Self { first, given: vec![false; size] }
    }

    /// Assigns the lowest free address; `None` when all are assigned.
    pub fn take(&mut self) -> Option<Ipv4Addr> {
        let (offset, given) = self.given.iter_mut().enumerate().find(|(_, given)| !**given)?;
        *given = true;
        Some(Ipv4Addr::from(self.first + u32::try_from(offset).ok()?))
    }

    /// Frees an address. Ignores an address that is not assigned.
    pub fn give_back(&mut self, address: Ipv4Addr) {
        let offset =
            u32::from(address).checked_sub(self.first).and_then(|offset| usize::try_from(offset).ok());
        if let Some(given) = offset.and_then(|offset| self.given.get_mut(offset)) {
            *given = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_unique_until_returned() {
        let mut pool = Pool::new(Ipv4Addr::new(10, 0, 0, 254), 3);
        let all: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(all, ["10.0.0.254", "10.0.0.255", "10.0.1.0"].map(|a| a.parse::<Ipv4Addr>().unwrap()));
        pool.give_back(Ipv4Addr::new(10, 0, 0, 255));
        pool.give_back(Ipv4Addr::new(10, 0, 0, 1));
        pool.give_back(Ipv4Addr::new(10, 0, 9, 9));
        assert_eq!(pool.take(), Some(Ipv4Addr::new(10, 0, 0, 255)));
        assert_eq!(pool.take(), None);
    }

    #[test]
    fn pool_ends_at_end_of_address_space() {
        let mut pool = Pool::new(Ipv4Addr::BROADCAST, 9);
        assert_eq!(pool.take(), None);
    }
}
