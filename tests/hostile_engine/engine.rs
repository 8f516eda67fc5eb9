//! The malicious engine.

use std::{
    io::{self, Write},
    thread,
    time::Duration,
};

use pptpctl::testing::os::channel::Channel;
use serde_json::{Value, json};

/// Plays the part that the user name of the spec names, until the supervisor ends this process.
pub fn main() {
    let channel = Channel::to_parent().unwrap();
    let start = channel.receive(true).unwrap().unwrap();
    let spec: Value = serde_json::from_slice(&start.bytes).unwrap();
    let part = spec.pointer("/start/user").and_then(Value::as_str).unwrap().to_owned();
    let _password = channel.receive(true).unwrap();
    match part.as_str() {
        "silent" => {}
        "patient" => answer(&channel),
        claim if claim.starts_with("claims ") => {
            send(&channel, &json!({ "up": link(claim.trim_start_matches("claims ")) }));
            answer(&channel);
        }
        "invisible" => {
            let detail = "call \u{202e}dekcah\u{2066}\u{200b}\u{feff}\u{e0041} ok";
            send(&channel, &json!({ "phase": { "phase": "lcp", "detail": detail } }));
            let failure =
                json!({ "phase": "lcp", "kind": "lcp-failed", "detail": detail, "hints": [detail] });
            send(&channel, &json!({ "down": failure }));
        }
        "flood" => {
            send(&channel, &json!({ "phase": { "phase": "control", "detail": "before the flood" } }));
            thread::sleep(Duration::from_millis(300));
            let line = format!("ERROR {}\n", "x".repeat(500));
            // More than the log and its predecessor hold.
            for _ in 0..20_000 {
                if io::stderr().write_all(line.as_bytes()).is_err() {
                    return;
                }
            }
            answer(&channel);
        }
        "up-then-silent" => send(&channel, &json!({ "up": link("192.168.77.2") })),
        "descriptor" => {
            let alive = serde_json::to_vec(&json!("alive")).unwrap();
            let stdin = io::stdin();
            let sent = channel.send(&alive, &[std::os::fd::AsFd::as_fd(&stdin)]);
            sent.unwrap();
        }
        "unknown-message" => send(&channel, &json!({ "run": "sh" })),
        "endless" => loop {
            send(&channel, &json!("alive"));
        },
        other => {
            let _shown = writeln!(io::stderr(), "ERROR no such part: {other}");
            return;
        }
    }
    // Until it is killed.
    loop {
        thread::sleep(Duration::from_secs(600));
    }
}

/// Answers each question, and does nothing else.
fn answer(channel: &Channel) {
    while let Ok(Some(_)) = channel.receive(true) {
        send(channel, &json!("alive"));
    }
}

fn send(channel: &Channel, message: &Value) {
    if channel.send(&serde_json::to_vec(message).unwrap(), &[]).is_err() {
        std::process::exit(0);
    }
}

/// Returns a link with this address of ours.
fn link(local: &str) -> Value {
    json!({
        "local": local, "peer": "192.168.77.1", "dns": [], "wins": [], "ipv6": null, "mtu": 1400,
        "encryption": "MPPE 128-bit stateless", "authentication": "MS-CHAPv2", "routes": null,
    })
}
