//! Kills the real program with SIGKILL at every point of `up`, `down` and `recover`, and then runs `recover`:
//! routes, rules, addresses, nftables, kernel settings, resolvers, run and state directory are byte for byte
//! as before.
//!
//! The points are those of src/os/crash.rs. Needs root, /dev/net/tun, ip(8), nft(8); fails if they are
//! missing.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helpers fail the test")]
#![expect(clippy::print_stdout, reason = "the number of points is a result")]

mod host_state;
mod points;
#[path = "../lab/script.rs"]
mod script;
#[path = "../lab/shown.rs"]
mod shown;

#[expect(dead_code, reason = "shared with tests/phases, which uses more of it")]
#[path = "../phases/world.rs"]
mod world;

use std::{fs, path::Path};

use points::{
    Device, kill_reconnect_at_every_point, kill_recover_at_every_point, kill_up_and_down_at_every_point,
};

/// Everything that a profile can change on this host, except the mode of the default route.
const FULL_PROFILE: &str = "routes = [\"192.168.77.0/24\", \"10.42.0.0/16\", { to = \"10.43.0.0/16\", metric = 10 }, \
                           { to = \"10.44.0.0/16\", table = 4400 }, \"2001:db8:42::/48\"]\n\
    exclude = [\"10.42.7.0/24\", \"198.18.0.0/15\", \"2001:db8:99::/48\"]\n\
    leak = \"block\"\n\
    ppp.ipv6 = true\n\
    nftables.file = \"/etc/nftables.vpn\"\n\
    nat = true\n\
    mss = 1300\n\
    dns = { servers = [\"10.42.0.53\"], search = [\"corp.example\"], backend = \"file\" }\n\
    hooks = { up = [\"/etc/pptpctl/hook\", \"up\"], down = [\"/etc/pptpctl/hook\", \"down\"] }\n";

/// A network namespace for the tunnel needs neither exclusions nor a kill switch.
const NETNS_PROFILE: &str = "link.netns = \"inner\"\ndefault = true\ncontrol.group = \"daemon\"\n\
    routes = [\"192.168.77.0/24\", \"10.42.0.0/16\"]\n\
    nftables.file = \"/etc/nftables.vpn\"\n\
    nat = true\n\
    mss = 1300\n\
    hooks = { up = [\"/etc/pptpctl/hook\", \"up\"], down = [\"/etc/pptpctl/hook\", \"down\"] }\n";

fn full_profile(mode: &str) -> String {
    format!("default = {{ mode = \"{mode}\" }}\n{FULL_PROFILE}")
}

#[test]
fn up_and_down_recover_with_policy_routing() {
    kill_up_and_down_at_every_point("policy", &full_profile("policy"));
}

#[test]
fn up_and_down_recover_with_halved_default_route() {
    kill_up_and_down_at_every_point("halves", &full_profile("halves"));
}

#[test]
fn up_and_down_recover_with_replaced_default_route() {
    kill_up_and_down_at_every_point("replace", &full_profile("replace"));
}

#[test]
fn up_and_down_recover_in_a_network_namespace() {
    kill_up_and_down_at_every_point("netns", NETNS_PROFILE);
}

/// The tunnel is lost and dialled again, with its routes withdrawn meanwhile.
#[test]
fn loss_recovers_with_withdrawn_routes() {
    let profile = full_profile("replace").replace("leak = \"block\"\n", "");
    kill_reconnect_at_every_point(
        "withdrawn routes",
        &format!("{profile}retry = {{ first = \"100ms\", keep-routes = false }}\n"),
    );
}

#[test]
fn recover_can_be_killed_and_rerun() {
    for (name, profile) in [
        ("policy", full_profile("policy")),
        ("replace", full_profile("replace")),
        ("netns", NETNS_PROFILE.to_owned()),
    ] {
        kill_recover_at_every_point(name, Device::Gone, &profile);
    }
}

/// Then there is more to undo, as the kernel has deleted no route yet.
#[test]
fn recover_can_be_rerun_while_the_device_is_held() {
    for (name, profile) in [("halves", full_profile("halves")), ("netns", NETNS_PROFILE.to_owned())] {
        kill_recover_at_every_point(name, Device::Held, &profile);
    }
}

/// A released program must not be able to kill itself on request: release builds have no points.
#[test]
fn release_build_has_no_crash_points() {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/os/crash.rs")).unwrap();
    let (outside, inside) =
        source.split_once("#[cfg(debug_assertions)]\nmod armed {").expect("no module `armed`");
    let code = |line: &&str| !line.trim_start().starts_with("//");
    assert!(!outside.lines().filter(code).any(|line| line.contains("PPTPCTL_TEST") || line.contains("kill")));
    assert!(inside.contains("PPTPCTL_TEST_DIE_AT") && inside.trim_end().ends_with("\n}"));
    let program = fs::read(env!("CARGO_BIN_EXE_pptpctl")).unwrap();
    let has = |word: &[u8]| program.windows(word.len()).any(|bytes| bytes == word);
    assert_eq!(has(b"PPTPCTL_TEST_DIE_AT"), cfg!(debug_assertions));
}
