//! Collects the counters of all state machines, with the prefixes `control.…`, `gre.…`, `ppp.…`, `drop.…`,
//! `ignored.…`, `mss.…`, `pty.…`; the session adds those of [`super::inform`].

use crate::{
    ppp::{link, mss, stream::PppCounters},
    pptp::{control, flow},
};

/// Returns every counter with its name; those of the call only while there is one.
#[must_use]
pub fn counters(
    control: &control::ControlCounters,
    flow: Option<&flow::FlowCounters>,
    link: Option<&link::LinkCounters>,
    pty: Option<&PppCounters>,
    mss: mss::ClampCounters,
) -> Vec<(String, u64)> {
    let mut all: Vec<(String, u64)> = Vec::new();
    let mut add = |room: &str, name: &str, value: u64| all.push((format!("{room}.{name}"), value));
    add("control", "messages", control.stream.messages);
    add("control", "skipped_bytes", control.stream.skipped_bytes);
    add("control", "unexpected", control.unexpected);
    add("control", "unknown_call", control.unknown_call);
    add("control", "ignored", control.ignored);
    add("control", "echo_requests_sent", control.echo_requests_sent);
    add("control", "echo_requests_answered", control.echo_requests_answered);
    add("control", "echo_replies_mismatched", control.echo_replies_mismatched);
    if let Some(flow) = flow {
        for (name, value) in flow.named() {
            add("gre", name, value);
        }
    }
    if let Some(link) = link {
        add("ppp", "received_packets", link.received_packets);
        add("ppp", "received_bytes", link.received_bytes);
        add("ppp", "sent_packets", link.sent_packets);
        add("ppp", "sent_bytes", link.sent_bytes);
        add("ppp", "received_control", link.received_control);
        add("ppp", "sent_control", link.sent_control);
        add("ppp", "echoes_sent", link.echoes_sent);
        add("ppp", "echoes_answered", link.echoes_answered);
        add("ppp", "renegotiations", link.renegotiations);
        add("ppp", "resets_sent", link.resets_sent);
        for (reason, value) in link.drops() {
            add(if reason.is_harmless() { "ignored" } else { "drop" }, reason.label(), value);
        }
        add("mss", "lowered_in", mss.lowered_in);
        add("mss", "lowered_out", mss.lowered_out);
    }
    if let Some(pty) = pty {
        for (name, value) in pty.named() {
            add("pty", name, value);
        }
    }
    all
}

/// Returns the names of all counters: those of [`counters`], and those that the session and the engine's process
/// add. `pptpctl(8)` describes each.
#[must_use]
pub fn names() -> Vec<String> {
    let all = counters(
        &control::ControlCounters::default(),
        Some(&flow::FlowCounters::default()),
        Some(&link::LinkCounters::default()),
        Some(&PppCounters::default()),
        mss::ClampCounters::default(),
    );
    let added = ["drop.loop", "inform.sent", "inform.ignored", "inform.routes_refused"];
    let io = ["io.gre_receive_errors", "io.gre_send_errors", "io.not_ipv4", "io.tun_refused"];
    let added = added.into_iter().chain(io).map(str::to_owned);
    all.into_iter().map(|(name, _)| name).chain(added).collect()
}
