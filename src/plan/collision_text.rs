//! The sentences about collisions: why `up` refuses, the ways out, and what is unreachable meanwhile.

use std::{fmt, net::IpAddr};

use super::collision::{Collision, Collisions, Obstacle};

/// The most collisions that one message describes.
const MAX_NAMED: usize = 3;

impl fmt::Display for Collision {
    /// Writes what performing the route would do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let route = self.route;
        match &self.with {
            Obstacle::Network { network, dev, hosts } => {
                let part = if *network == route { "" } else { "part of " };
                write!(
                    f,
                    "the route to {route} would take over {part}{network} on {dev}, a network of this host"
                )?;
                match hosts.as_slice() {
                    [] => Ok(()),
                    hosts => write!(f, ", with its gateway or resolver {}", list(hosts)),
                }
            }
            Obstacle::Resolver(address) => {
                write!(f, "the route to {route} would lead to {address}, a resolver of this host")
            }
            Obstacle::Tunnel(profile) => {
                write!(f, "the route to {route} is that of the tunnel {profile}, which is up")
            }
        }
    }
}

impl Collision {
    /// Returns a sentence that says what is not reached, and what ends that.
    #[must_use]
    pub fn warning(&self) -> String {
        let route = self.route;
        match &self.with {
            Obstacle::Network { network, dev, .. } if self.cuts_lan => format!(
                "{network} on {dev}, a network of this host, is not reached: it has public addresses, so leak = \"block\" \
                 sends packets for it into the tunnel, to {route} as the profile says; exclude = [\"{network}\"] if {dev} \
                 is meant"
            ),
            Obstacle::Network { network, dev, .. } => format!(
                "{route} is not reached through the tunnel: this host is connected to {network} on {dev}; the \
                 route returns when the host leaves that network"
            ),
            Obstacle::Resolver(address) => format!(
                "{route} is not reached through the tunnel: it covers {address}, a resolver of this host; the route \
                 returns when that resolver is no longer used"
            ),
            Obstacle::Tunnel(profile) => {
                format!("{route} is not reached through the tunnel: the tunnel {profile} has the route")
            }
        }
    }
}

impl Collisions {
    /// Returns the warning of each collision.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.found.iter().map(Collision::warning).collect()
    }

    /// Returns why `up` refuses: every collision in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let named: Vec<String> = self.found.iter().take(MAX_NAMED).map(ToString::to_string).collect();
        match self.found.len().saturating_sub(MAX_NAMED) {
            0 => named.join("; "),
            more => format!("{}; and {more} more", named.join("; ")),
        }
    }

    /// Returns the ways out, each a sentence.
    #[must_use]
    pub fn ways_out(&self) -> Vec<String> {
        let mut ways = Vec::new();
        for collision in self.found.iter().take(MAX_NAMED) {
            for way in ways_out_of(collision) {
                if !ways.contains(&way) {
                    ways.push(way);
                }
            }
        }
        ways
    }
}

fn ways_out_of(collision: &Collision) -> Vec<String> {
    let route = collision.route;
    let namespace =
        "link.netns = \"NAME\" keeps the tunnel apart from this host's networks (Linux)".to_owned();
    match &collision.with {
        Obstacle::Network { network, dev, .. } => {
            let mut ways = vec![if collision.cuts_lan {
                format!(
                    "collision = \"keep-lan\" brings the tunnel up; {network} has public addresses, so leak = \"block\" sends \
                     packets for it into the tunnel, and {dev} reaches it no longer"
                )
            } else {
                format!(
                    "collision = \"keep-lan\" brings the tunnel up without this route; {dev} keeps {network}"
                )
            }];
            if *network == route {
                ways.push(format!(
                    "for single hosts behind the tunnel: routes to them instead of {route}, and collision = \"tunnel\""
                ));
                ways.push(format!(
                    "if {dev} is always meant: take the route out, or `exclude` a prefix that contains {network}"
                ));
            } else {
                ways.push(format!(
                    "collision = \"tunnel\" sends {route} through the tunnel, except gateway, resolvers and server"
                ));
                ways.push(format!("exclude = [\"{network}\"] if {dev} is always meant"));
            }
            ways.push(namespace);
            ways.push(format!(
                "or renumber one of the two networks: {network} on {dev} is usually the easier one"
            ));
            ways
        }
        Obstacle::Resolver(address) => vec![
            "collision = \"tunnel\" keeps the resolvers of this host outside the tunnel, and the route in it"
                .to_owned(),
            format!("exclude = [\"{address}\"] does so for this one, on every network"),
            format!("dns.servers = [\"{address}\"] if it is meant to be asked through the tunnel"),
            "collision = \"keep-lan\" brings the tunnel up without this route".to_owned(),
            namespace,
        ],
        Obstacle::Tunnel(profile) => vec![
            format!("`pptpctl down {profile}` frees the route"),
            "a route with another metric can stand beside it: { to = …, metric = … }".to_owned(),
        ],
    }
}

/// Formats addresses for a message.
fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
