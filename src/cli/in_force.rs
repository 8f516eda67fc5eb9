//! Words for the routes and resolvers of a tunnel that are in force, in `status` and `watch`.

use ipnet::Ipv4Net;

use crate::supervisor::Status;

/// Returns the destinations that lead into the tunnel, at most so many; `None` while it is not up and has none.
pub fn routes(status: &Status, most: usize) -> Option<String> {
    if status.routes.is_empty() {
        return (status.state == "up").then(|| "none lead into the tunnel".to_owned());
    }
    let mut words = status.routes.iter().take(most).cloned().collect::<Vec<_>>().join(", ");
    let hidden = u64::try_from(status.routes.len().saturating_sub(most)).unwrap_or(0);
    match hidden.saturating_add(status.more_routes) {
        0 => {}
        more => words += &format!(" and {more} more"),
    }
    Some(if is_everything(&status.routes) { format!("all IPv4 traffic ({words})") } else { words })
}

/// Returns whether these destinations are all IPv4 addresses, as two halves or more parts are, too.
fn is_everything(routes: &[String]) -> bool {
    let parsed = |route: &String| match route.as_str() {
        "default" => Some(Ipv4Net::default()),
        prefix => prefix.parse().ok(),
    };
    let prefixes: Vec<Ipv4Net> = routes.iter().filter_map(parsed).collect();
    Ipv4Net::aggregate(&prefixes).iter().any(|prefix| prefix.prefix_len() == 0)
}

/// Returns the resolvers that are asked because of the tunnel, and for which names; `None` if it has nothing to do with
/// resolvers.
pub fn resolvers(status: &Status) -> Option<String> {
    let Some(set) = &status.resolvers else {
        let named: Vec<_> = status.dns.iter().map(ToString::to_string).collect();
        return (!named.is_empty()).then(|| format!("not changed; the server names {}", named.join(", ")));
    };
    let servers: Vec<_> = set.servers.iter().map(ToString::to_string).collect();
    let names = match set.domains.as_slice() {
        [] => "all names".to_owned(),
        domains => domains.join(", "),
    };
    Some(format!("{} for {names}, by {}", servers.join(", "), set.by))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::ipc::messages::Resolvers;

    #[test]
    fn routes_are_listed_up_to_a_number() {
        let words = |routes: &[&str], more_routes, most| {
            let routes = routes.iter().map(|route| (*route).to_owned()).collect();
            super::routes(&Status { routes, more_routes, ..Status::default() }, most)
        };
        assert_eq!(words(&[], 0, 9), None);
        let up = Status { state: "up".to_owned(), ..Status::default() };
        assert_eq!(super::routes(&up, 9).as_deref(), Some("none lead into the tunnel"));
        assert_eq!(words(&["10.1.0.0/16", "10.2.0.0/16"], 0, 9).unwrap(), "10.1.0.0/16, 10.2.0.0/16");
        assert_eq!(words(&["10.1.0.0/16", "10.2.0.0/16"], 7, 1).unwrap(), "10.1.0.0/16 and 8 more");
        assert_eq!(words(&["default"], 0, 9).unwrap(), "all IPv4 traffic (default)");
        let halves = words(&["0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/8"], 0, 2).unwrap();
        assert_eq!(halves, "all IPv4 traffic (0.0.0.0/1, 128.0.0.0/1 and 1 more)");
        assert_eq!(words(&["0.0.0.0/1", "::/1"], 0, 9).unwrap(), "0.0.0.0/1, ::/1");
    }

    #[test]
    fn resolvers_are_named_with_their_domains() {
        let mut status = Status { dns: vec!["10.0.0.53".parse().unwrap()], ..Status::default() };
        assert_eq!(resolvers(&Status::default()), None);
        assert_eq!(resolvers(&status).unwrap(), "not changed; the server names 10.0.0.53");
        let mut set = Resolvers {
            by: "systemd-resolved".to_owned(),
            servers: vec!["10.0.0.53".parse().unwrap(), "10.0.0.54".parse().unwrap()],
            domains: Vec::new(),
        };
        status.resolvers = Some(set.clone());
        assert_eq!(resolvers(&status).unwrap(), "10.0.0.53, 10.0.0.54 for all names, by systemd-resolved");
        set.domains = vec!["corp.example".to_owned(), "lab.example".to_owned()];
        status.resolvers = Some(set);
        assert!(resolvers(&status).unwrap().contains(" for corp.example, lab.example, by "));
    }
}
