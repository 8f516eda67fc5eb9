//! `metrics`: the states and counters of all tunnels for Prometheus, in the OpenMetrics text format, or as a file for
//! the textfile collector of node_exporter.

mod exposition;

use std::path::Path;

use self::exposition::{Family, Format, Kind};
use super::{
    counted,
    exit::{self, Code},
    output::{error, text},
    put, status,
};
use crate::supervisor::{Status, ipc::client};

/// All states of a tunnel, those without a supervisor that answers included.
const STATES: [&str; 12] = [
    "configuring",
    "connecting",
    "died",
    "down",
    "no network",
    "resolving",
    "running",
    "starting",
    "stopping",
    "stuck",
    "up",
    "waiting",
];

/// What is known of one tunnel.
enum Known {
    Status(Box<Status>),
    /// Only its state.
    State(&'static str),
}

pub fn main(config: Option<&Path>, textfile: Option<&Path>) -> Code {
    let names = match status::names(config) {
        Ok(names) => names,
        Err(code) => return code,
    };
    let known = |name: String| {
        let known = match client::status(&name) {
            Ok(status) => Known::Status(Box::new(status)),
            Err(why) => Known::State(why.state()),
        };
        (name, known)
    };
    let tunnels: Vec<_> = names.into_iter().map(known).collect();
    let families = families(&tunnels);
    let Some(path) = textfile else {
        text(exposition::render(&families, Format::OpenMetrics));
        return exit::OK;
    };
    let content = exposition::render(&families, Format::Prometheus);
    match put::overwrite(path, content.as_bytes(), 0o644) {
        Ok(()) => exit::OK,
        Err(wrong) => {
            error(format_args!("{}: {wrong}", path.display()));
            exit::INTERNAL
        }
    }
}

/// Returns all families with their samples.
fn families(tunnels: &[(String, Known)]) -> Vec<Family> {
    let mut state =
        Family::new("pptpctl_state", Kind::StateSet, "", "State of the tunnel, as status shows it.");
    let mut up = Family::new("pptpctl_up", Kind::Gauge, "", "Whether the tunnel carries packets.");
    for (name, known) in tunnels {
        let now = match known {
            Known::Status(status) => status.state.as_str(),
            Known::State(state) => state,
        };
        for one in STATES {
            state.add(name, &[("pptpctl_state", one)], u64::from(one == now));
        }
        // A tunnel that may not be asked can be up.
        if now != "running" {
            up.add(name, &[], u64::from(now == "up"));
        }
    }
    let statuses: Vec<(&str, &Status)> = tunnels
        .iter()
        .filter_map(|(name, known)| match known {
            Known::Status(status) => Some((name.as_str(), &**status)),
            Known::State(_) => None,
        })
        .collect();
    let mut all = vec![state, up];
    all.extend(of_tunnels(&statuses));
    all.extend(of_links(&statuses));
    all
}

/// Returns what is known of each tunnel with a supervisor.
fn of_tunnels(statuses: &[(&str, &Status)]) -> Vec<Family> {
    let new = Family::new;
    let mut info = new("pptpctl_tunnel", Kind::Info, "", "Device, server and addresses of the tunnel.");
    let mut since =
        new("pptpctl_up_since_timestamp_seconds", Kind::Gauge, "seconds", "When the tunnel came up.");
    let mut reconnects =
        new("pptpctl_reconnects", Kind::Counter, "", "Times that a lost tunnel came up again.");
    let mut warnings = new("pptpctl_warnings", Kind::Gauge, "", "Warnings in the status of the tunnel.");
    let mut failed = new(
        "pptpctl_last_failure_timestamp_seconds",
        Kind::Gauge,
        "seconds",
        "When the last attempt failed or the tunnel was lost.",
    );
    let mut echo = new(
        "pptpctl_round_trip_seconds",
        Kind::Gauge,
        "seconds",
        "Round trip of the last LCP echo that was timed.",
    );
    let mut cpu = new("pptpctl_engine_cpu_seconds", Kind::Counter, "seconds", "CPU time of the engine.");
    for (name, status) in statuses {
        let text = |value: Option<String>| value.unwrap_or_default();
        let labels = [
            ("device", text(status.tun.clone())),
            ("server", text(status.server.clone())),
            ("local", text(status.local.map(|address| address.to_string()))),
            ("peer", text(status.peer.map(|address| address.to_string()))),
        ];
        info.add(name, &labels.each_ref().map(|(label, value)| (*label, value.as_str())), 1);
        reconnects.add(name, &[], status.reconnects);
        warnings.add(name, &[], u64::try_from(status.warnings.len()).unwrap_or(u64::MAX));
        if let Some(at) = status.since {
            since.add(name, &[], at);
        }
        if let Some(at) = status.last_failure_at {
            failed.add(name, &[], at);
        }
        if let Some(micros) = status.round_trip_micros {
            echo.add_micros(name, &[], micros);
        }
        if let Some((user, system)) = status.engine_cpu_micros {
            cpu.add_micros(name, &[("mode", "user")], user);
            cpu.add_micros(name, &[("mode", "system")], system);
        }
    }
    vec![info, since, reconnects, warnings, failed, echo, cpu]
}

/// Returns the counters of the current links: they begin at 0 with each.
fn of_links(statuses: &[(&str, &Status)]) -> Vec<Family> {
    let counters = [
        (
            "pptpctl_received_bytes",
            "bytes",
            "ppp.received_bytes",
            "Bytes in IP packets received through the tunnel.",
        ),
        ("pptpctl_sent_bytes", "bytes", "ppp.sent_bytes", "Bytes in IP packets sent into the tunnel."),
        ("pptpctl_received_packets", "", "ppp.received_packets", "IP packets received through the tunnel."),
        ("pptpctl_sent_packets", "", "ppp.sent_packets", "IP packets sent into the tunnel."),
        ("pptpctl_lost_packets", "", "gre.rx_lost", "GRE packets of the server that were given up as lost."),
        ("pptpctl_reordered_packets", "", "gre.rx_repaired", "Late GRE packets that were put in order."),
        ("pptpctl_duplicate_packets", "", "gre.rx_duplicate", "GRE packets received more than once."),
        ("pptpctl_lcp_echoes_sent", "", "ppp.echoes_sent", "LCP Echo-Requests sent."),
        ("pptpctl_lcp_echoes_answered", "", "ppp.echoes_answered", "LCP Echo-Replies to them."),
    ];
    let mut all: Vec<Family> = counters
        .into_iter()
        .map(|(family, unit, counter, help)| {
            let mut family = Family::new(family, Kind::Counter, unit, help);
            for (name, status) in statuses {
                // What is not counted is absent, not 0.
                let is_counted = !counter.starts_with("gre.") || counted::has_losses(status);
                if let Some(count) = status.counters.get(counter).filter(|_| is_counted) {
                    family.add(name, &[], *count);
                }
            }
            family
        })
        .collect();
    let mut dropped = Family::new(
        "pptpctl_dropped_packets",
        Kind::Counter,
        "",
        "Packets dropped, by the reason in pptpctl(8).",
    );
    for (name, status) in statuses {
        for (counter, count) in &status.counters {
            if let Some(reason) = counter.strip_prefix("drop.") {
                dropped.add(name, &[("reason", reason)], *count);
            }
        }
    }
    all.push(dropped);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnels() -> Vec<(String, Known)> {
        let counters = [("ppp.received_bytes", 70), ("gre.rx_lost", 3), ("drop.loop", 2)];
        let up = Status {
            name: "office".into(),
            state: "up".into(),
            tun: Some("tun0".into()),
            since: Some(1_764_000_000),
            engine_cpu_micros: Some((1_500_000, 7)),
            round_trip_micros: Some(35_400),
            counters: counters.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
            ..Status::default()
        };
        vec![
            ("office".to_owned(), Known::Status(Box::new(up))),
            ("lab".to_owned(), Known::State("down")),
            ("other".to_owned(), Known::State("running")),
        ]
    }

    #[test]
    fn tunnels_have_their_samples() {
        let text = exposition::render(&families(&tunnels()), Format::OpenMetrics);
        for line in [
            "pptpctl_state{tunnel=\"office\",pptpctl_state=\"up\"} 1",
            "pptpctl_state{tunnel=\"lab\",pptpctl_state=\"down\"} 1",
            "pptpctl_state{tunnel=\"lab\",pptpctl_state=\"up\"} 0",
            "pptpctl_up{tunnel=\"office\"} 1",
            "pptpctl_up{tunnel=\"lab\"} 0",
            "pptpctl_tunnel_info{tunnel=\"office\",device=\"tun0\",server=\"\",local=\"\",peer=\"\"} 1",
            "pptpctl_up_since_timestamp_seconds{tunnel=\"office\"} 1764000000",
            "pptpctl_engine_cpu_seconds_total{tunnel=\"office\",mode=\"user\"} 1.500000",
            "pptpctl_round_trip_seconds{tunnel=\"office\"} 0.035400",
            "pptpctl_received_bytes_total{tunnel=\"office\"} 70",
            "pptpctl_dropped_packets_total{tunnel=\"office\",reason=\"loop\"} 2",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("pptpctl_up{tunnel=\"other\"}"), "it is not known whether it is up");
        assert_eq!(
            text.matches("} 1\n").filter(|_| true).count(),
            5,
            "one state each, up, and the labels\n{text}"
        );
    }

    #[test]
    fn losses_are_absent_where_the_kernel_does_not_count_them() {
        let mut tunnels = tunnels();
        let shown = |tunnels: &[(String, Known)]| exposition::render(&families(tunnels), Format::OpenMetrics);
        let lost = "pptpctl_lost_packets_total{tunnel=\"office\"}";
        assert!(shown(&tunnels).contains(lost));
        if let Some((_, Known::Status(status))) = tunnels.first_mut() {
            status.data_path = Some("kernel".into());
        }
        let shown = shown(&tunnels);
        assert!(!shown.contains(lost) && shown.contains("pptpctl_received_bytes_total{"), "{shown}");
    }

    #[test]
    fn every_family_is_valid_in_both_formats() {
        for tunnels in [tunnels(), Vec::new()] {
            for format in [Format::OpenMetrics, Format::Prometheus] {
                exposition::check(&exposition::render(&families(&tunnels), format), format);
            }
        }
    }
}
