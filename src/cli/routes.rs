//! `routes`: shows where packets go while a tunnel is there, and why; as text or JSON.

use std::net::IpAddr;

use super::{
    exit::{self, Code},
    output::{self, data, error, line},
};
use crate::{
    profile::ProfileName,
    supervisor::{
        ClientError,
        ipc::client,
        routes::{Routes, Trace, routes},
    },
};

pub fn main(config: Option<&std::path::Path>, name: &str, destinations: &[IpAddr], json: bool) -> Code {
    if let Err(wrong) = ProfileName::new(name) {
        error(wrong);
        return exit::PROFILE;
    }
    if let Err(code) = output::need_root("routes", "the records of changes to this host are for root only") {
        return code;
    }
    let (state, server, resolvers) = match client::status(name) {
        Ok(status) => (status.state, status.server, status.dns),
        Err(ClientError::Died) => ("died".to_owned(), None, Vec::new()),
        Err(ClientError::NotUp) => {
            if let Err(code) = output::is_known(config, name) {
                return code;
            }
            if json {
                data(serde_json::json!({ "name": name, "state": "down" }));
            } else {
                line(format_args!("{name}: down"));
            }
            return exit::NOT_UP;
        }
        Err(wrong) => {
            error(format_args!("{name}: {wrong}"));
            return exit::INTERNAL;
        }
    };
    // Without destinations, trace the peer's resolvers: users ask about them most.
    let asked: Vec<IpAddr> = match destinations {
        [] => resolvers.into_iter().map(IpAddr::V4).collect(),
        some => some.to_vec(),
    };
    let routes = match routes(name, &asked) {
        Ok(Some(routes)) => routes,
        Ok(None) => {
            error(format_args!("{name}: no changes to this host yet ({state})"));
            return exit::NOT_UP;
        }
        Err(wrong) => {
            error(format_args!("{name}: {wrong}"));
            return exit::INTERNAL;
        }
    };
    if json {
        data(to_json(name, &state, server.as_deref(), &routes));
    } else {
        show(name, &state, server.as_deref(), &routes, destinations.is_empty());
    }
    if state == "died" { exit::NOT_UP } else { exit::OK }
}

fn show(name: &str, state: &str, server: Option<&str>, routes: &Routes, all: bool) {
    if all {
        let device = routes.device.as_ref().map_or(String::new(), |device| format!(" on {device}"));
        let server = server.map_or(String::new(), |server| format!(", server {server}"));
        line(format_args!("{name}: {state}{device}{server}"));
        if routes.steps.is_empty() {
            line("  no routes and no rules");
        }
        for step in &routes.steps {
            line(format_args!("  {step}"));
        }
    }
    for trace in &routes.traces {
        line(format_args!("{}: {}{}", trace.to, trace.disposition.word(), way(trace)));
        line(format_args!("  {}", trace.why));
        if let Some(route) = &trace.route {
            line(format_args!("  route {route}"));
        }
        if let Some(rule) = &trace.rule {
            line(format_args!("  rule {rule}"));
        }
    }
}

fn way(trace: &Trace) -> String {
    let dev = trace.dev.as_ref().map_or(String::new(), |dev| format!(", by {dev}"));
    let via = trace.via.map_or(String::new(), |via| format!(" via {via}"));
    format!("{dev}{via}")
}

fn to_json(name: &str, state: &str, server: Option<&str>, routes: &Routes) -> serde_json::Value {
    let traces = routes.traces.iter().map(|trace| {
        serde_json::json!({
            "to": trace.to,
            "goes": trace.disposition.word(),
            "dev": trace.dev,
            "via": trace.via,
            "route": trace.route,
            "rule": trace.rule,
            "why": trace.why,
        })
    });
    serde_json::json!({
        "name": name,
        "state": state,
        "server": server,
        "device": routes.device,
        "steps": routes.steps,
        "ways": traces.collect::<Vec<_>>(),
    })
}
