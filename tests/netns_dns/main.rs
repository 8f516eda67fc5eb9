//! Resolvers and hooks on a real host: a plain resolv.conf, Debian's resolvconf, openresolv and
//! systemd-resolved. Each test has its own namespaces and /etc, brings a tunnel up and down, and resolves
//! names through the C library.
//!
//! Needs root, /dev/net/tun, ip(8), dbus-daemon(1) and Debian's packages, which `tests/netns_dns/packages`
//! unpacks without installing them; fails where they are missing.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]
#![expect(clippy::print_stdout, reason = "the output of `up` shows the cause of a failure")]

mod autostart;
mod crash;
mod examples;
mod files;
mod hooks;
mod inside;
mod invoker;
mod managers;
mod resolver_world;
mod responder;
#[path = "../lab/script.rs"]
mod script;
#[path = "../lab/shown.rs"]
mod shown;
mod verdicts;

#[path = "../netns_apply/crashing_host.rs"]
mod crashing_host;
#[expect(dead_code, reason = "shared with tests/netns_apply, which uses more of it")]
#[path = "../netns_apply/namespace.rs"]
mod namespace;
#[expect(dead_code, reason = "shared with tests/phases, which uses more of it")]
#[path = "../phases/world.rs"]
mod world;
