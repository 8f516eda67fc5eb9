//! Hints about the routers between this host and the server. No I/O.

/// The hint for GRE that is lost between the server and this host.
pub const PASSTHROUGH: &str = "on the path: the router must pass PPTP (\"PPTP passthrough\"); many guest networks do not: try another network";

/// Returns the hint about a router that carries one PPTP tunnel to a server only: it cannot tell the GRE packets
/// of two clients apart.
#[must_use]
pub fn another_client(server: &str) -> String {
    format!(
        "another device behind the same router with a tunnel to {server}? Many routers carry one at a time; to tell: end that one, \
         wait a minute and try again, or try from another network"
    )
}
