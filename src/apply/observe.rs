//! Reads the routing of this host for reports: nothing here changes it or needs a ledger.

use std::net::IpAddr;

use super::{ApplyError, Host, routes};
use crate::{
    net::routes::{Filter, MAIN_TABLE, Route},
    plan::NextHop,
};

impl Host {
    /// Returns the kernel's next hop to a server, with what tunnels of this host have added to the routing.
    ///
    /// # Errors
    /// Returns an error if there is no route to the server ([`crate::net::routes::Error::is_unreachable`]).
    pub fn next_hop(&mut self, server: IpAddr, source: Option<IpAddr>) -> Result<NextHop, ApplyError> {
        let way = self.route_to(server, source, None).map_err(ApplyError::observing)?;
        if way.local {
            return Ok(NextHop::ThisHost);
        }
        Ok(routes::next_hop(way))
    }

    /// Returns the IPv4 routes of the main table.
    ///
    /// # Errors
    /// Returns an error if the kernel cannot be queried.
    pub fn main_routes(&mut self) -> Result<Vec<Route>, ApplyError> {
        let filter = Filter { ipv6: false, table: Some(MAIN_TABLE), dest: None };
        self.routes(&filter).map_err(ApplyError::observing)
    }
}
