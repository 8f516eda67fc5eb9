//! GRE of the server that its tunnel does not get, as a server with several addresses or a router on the way sends it:
//! nftables rewrites the packets of the real GRE socket in the server's namespace.

use pptpctl::testing::demo::config::ServerConfig;

use super::{
    working_server,
    world::{World, in_world, text, timeouts},
};

/// Runs `test` in a world whose server has this rule for the GRE packets that it sends.
fn with_rule(server: ServerConfig, rule: &'static str, test: impl FnOnce(&World) + Send + 'static) {
    in_world(server, move |world| {
        world.profile(&timeouts(&[("gre", "2s")]));
        let table = format!(
            "table ip lab {{\n chain out {{\n type filter hook output priority 0\n ip protocol gre {rule}\n }}\n}}"
        );
        world.shell(&format!("nsenter -t 1 -n nft '{table}'"));
        test(world);
    });
}

/// `up` and `doctor --dial` name the same.
#[track_caller]
fn assert_both_say(world: &World, code: i32, words: &[&str]) {
    world.assert_up_fails(code, "lcp", words, 5.0);
    let before = world.state();
    let doctor = world.run(&["doctor", "--dial", "--json", "vpn"]);
    let report = text(&doctor.stdout);
    assert_eq!(doctor.status.code(), Some(code), "{report}");
    let report = report.replace("\\\"", "\"");
    assert!(words.iter().all(|word| report.contains(word)), "{words:?}: {report}");
    world.assert_state(&before);
}

#[test]
fn gre_from_another_address_is_named() {
    with_rule(working_server(), "ip saddr set 192.0.2.9", |world| {
        let words = [
            "GRE packets for this call come from 192.0.2.9, not from the dialled 192.0.2.1",
            "server = \"192.0.2.9\" in the profile",
        ];
        assert_both_say(world, 18, &words);
    });
}

#[test]
fn private_sender_means_a_router_before_the_server() {
    with_rule(working_server(), "ip saddr set 10.1.2.3", |world| {
        let words =
            ["come from 10.1.2.3, not from", "a router in front of the server translates TCP, but not GRE"];
        assert_both_say(world, 18, &words);
    });
}

#[test]
fn gre_with_another_call_id_is_named() {
    with_rule(working_server(), "@th,48,16 set 4242", |world| {
        let words =
            ["GRE from the server carries call id 4242, not ", "another device behind the same router"];
        assert_both_say(world, 18, &words);
    });
}
