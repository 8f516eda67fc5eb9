//! What the ledger has of routes and resolvers, for the status.

use super::Steps;
use crate::{
    plan::{DnsStep, Resolver, Step},
    supervisor::ipc::messages::{Resolvers, Status},
};

/// Routes and resolvers of a tunnel that are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::supervisor) struct InForce {
    pub resolvers: Option<Resolvers>,
    pub routes: Vec<String>,
    /// Routes that are left out.
    pub more_routes: u64,
}

impl Steps {
    /// Returns the routes into the tunnel and the resolvers, as the ledger has them now.
    pub fn in_force(&self) -> InForce {
        self.changes.as_ref().map_or_else(InForce::default, |changes| InForce::of(changes.steps()))
    }
}

impl InForce {
    fn of<'a>(steps: impl Iterator<Item = &'a Step>) -> Self {
        let mut found = Self::default();
        let mut count = 0_usize;
        let mut has_default = false;
        for step in steps {
            match step {
                Step::Route(step) => {
                    let is_default = step.dest.prefix_len() == 0 && step.dest.addr().is_ipv4();
                    // The kill switch has a second one, in its own table.
                    if is_default && std::mem::replace(&mut has_default, true) {
                        continue;
                    }
                    count += 1;
                    if is_default {
                        found.routes.insert(0, "default".to_owned());
                    } else if found.routes.len() < Status::MOST_ROUTES {
                        found.routes.push(step.dest.to_string());
                    }
                }
                Step::Dns(step) => found.resolvers = resolvers(step),
                _ => {}
            }
        }
        found.routes.truncate(Status::MOST_ROUTES);
        found.more_routes = u64::try_from(count - found.routes.len()).unwrap_or(u64::MAX);
        found
    }
}

/// Returns the resolvers that a step has set; `None` if the server has named none.
fn resolvers(step: &DnsStep) -> Option<Resolvers> {
    let servers = step.servers.known()?.clone();
    if servers.is_empty() {
        return None;
    }
    let by = match step.resolver.known()? {
        Resolver::File => step.file.display().to_string(),
        service => service.to_string(),
    };
    let domains = step.domains.iter().take(Status::MOST_ROUTES).cloned().collect();
    Some(Resolvers { by, servers, domains })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        plan::{self, Facts},
        platform::Platform,
        profile::Profiles,
    };

    fn in_force(keys: &str) -> InForce {
        let text = format!("[profile.x]\nserver = '192.0.2.1'\nuser = 'u'\npassword.fd = 3\n{keys}");
        let profiles = Profiles::from_text_for(Path::new("x"), &text, true, Platform::Linux);
        let profile = profiles.get("x").unwrap();
        let facts = Facts {
            tun: Some("tun0".to_owned()),
            dns: Some(vec!["10.0.0.53".parse().unwrap()]),
            resolver: Some(Resolver::File),
            ..Facts::default()
        };
        let plan = plan::network(profile, Platform::Linux, Path::new("/run")).resolve(&facts);
        InForce::of(plan.steps.iter())
    }

    #[test]
    fn routes_and_resolvers_of_the_plan_are_listed() {
        let found = in_force("routes = ['10.42.0.0/16', '10.43.0.0/16']\ndns.servers = 'peer'");
        assert_eq!(
            (found.routes, found.more_routes),
            (vec!["10.42.0.0/16".into(), "10.43.0.0/16".into()], 0)
        );
        let resolvers = found.resolvers.unwrap();
        assert_eq!((resolvers.by.as_str(), resolvers.servers.len()), ("/etc/resolv.conf", 1));
        let found = in_force("default = true\nleak = 'block'\nroutes = ['10.42.0.0/16']");
        assert_eq!(found.routes, ["default", "10.42.0.0/16"]);
        assert_eq!(found.resolvers, None);
    }

    #[test]
    fn list_of_routes_is_bounded() {
        let routes: Vec<String> = (0..100).map(|number| format!("'10.{number}.0.0/16'")).collect();
        let found = in_force(&format!("default = true\nroutes = [{}]", routes.join(", ")));
        assert_eq!((found.routes.len(), found.more_routes), (Status::MOST_ROUTES, 37));
        assert_eq!(found.routes.first().map(String::as_str), Some("default"));
    }
}
