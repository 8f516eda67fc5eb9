//! Failures whose cause is the server or the network before it: each is named with what was seen.

use std::fs;

use pptpctl::testing::{
    demo::{
        config::{Fault, ServerConfig, Service},
        impairment::ImpairmentConfig,
    },
    ppp::{
        auth::AuthProtocol,
        mppe::{Policy, Strength},
    },
};

use super::{
    faulty_server, no_mppe, working_server,
    world::{in_world, text, timeouts},
};

/// Every GRE packet of the client is lost on its way; those of the server arrive.
#[test]
fn gre_dropped_towards_the_server_is_an_outbound_block() {
    let inbound = ImpairmentConfig { loss: 1000, ..ImpairmentConfig::default() };
    in_world(ServerConfig { inbound, ..working_server() }, |world| {
        world.profile(&timeouts(&[("lcp", "4s")]));
        let words = [
            "GRE, IP protocol 47, is filtered",
            "the server does not hear our GRE",
            "acknowledges none of the ",
            "the block is outbound",
            "try another network",
        ];
        world.assert_up_fails(17, "lcp", &words, 7.0);
    });
}

#[test]
fn call_that_ends_before_any_ppp_is_the_servers_fault() {
    in_world(faulty_server(Fault::EndsCallAtOnce), |world| {
        world.profile("");
        let words = [
            "the server closed the call",
            "before it sent any PPP",
            "no GRE packet of it came",
            "probably its PPP daemon failed to start",
            "nothing to change on this host",
        ];
        world.assert_up_fails(26, "lcp", &words, 3.0);
    });
}

#[test]
fn other_services_are_named_and_quoted() {
    let cases: [(Service, &[&str]); 4] = [
        (Service::Http, &["it sends \"HTTP/1.1 302 Found\"", "a web server answers: a captive portal"]),
        (
            Service::Tls,
            &["it sends 15 03 03 00 02 02 46", "a TLS server answers: a web server, a captive portal"],
        ),
        (Service::Ssh, &["it sends \"SSH-2.0-OpenSSH_9.2p1\"", "an SSH server answers"]),
        (Service::Unknown, &["it sends 1b 5d 30 3b", "another service answers on this port"]),
    ];
    for (service, words) in cases {
        in_world(faulty_server(Fault::OtherService(service)), move |world| {
            world.profile("");
            world.assert_up_fails(14, "control", words, 3.0);
            let stderr = text(&world.run(&["up", "vpn"]).stderr);
            assert!(!stderr.contains("may be full") && !stderr.contains("phone"), "{stderr}");
        });
    }
}

#[test]
fn server_with_only_another_authentication_needs_both_keys() {
    let cases = [
        (
            AuthProtocol::Pap,
            "need both auth = [\"pap\"] and mppe = \"off\"",
            "the password crosses the network in clear",
        ),
        (
            AuthProtocol::ChapMd5,
            "need both auth = [\"chap\"] and mppe = \"off\"",
            "nothing in the tunnel is encrypted",
        ),
    ];
    for (auth, keys, cost) in cases {
        in_world(ServerConfig { auth: vec![auth], mppe: no_mppe(), ..working_server() }, move |world| {
            world.profile("");
            let offered = format!("the peer offered {auth}");
            let only = format!("the server offers {auth} only");
            world.assert_up_fails(
                19,
                "lcp",
                &["no authentication protocol in common", &offered, &only, keys, cost],
                4.0,
            );
            // Both keys at once are enough.
            world.profile("auth = [\"pap\", \"chap\"]\nmppe = \"off\"");
            let before = world.state();
            world.up();
            world.down(&before);
        });
    }
}

#[test]
fn each_refusal_of_encryption_has_its_own_message() {
    in_world(ServerConfig { mppe: no_mppe(), ..working_server() }, |world| {
        world.profile("");
        let words =
            ["it rejects CCP as a whole (LCP Protocol-Reject of 80FD)", "no MPPE at all", "mppe = \"off\""];
        world.assert_up_fails(20, "encryption", &words, 4.0);
        let stderr = text(&world.run(&["up", "vpn"]).stderr);
        assert!(!stderr.contains("40"), "{stderr}");
    });
    let weak = Policy { min: Strength::Bits40, max: Strength::Bits40, ..working_server().mppe };
    in_world(ServerConfig { mppe: weak, ..working_server() }, |world| {
        world.profile("");
        let words = [
            "the peer offers MPPE-40, not the required MPPE-128",
            "mppe = \"require-40\"",
            "40 bits can be broken",
        ];
        world.assert_up_fails(20, "encryption", &words, 4.0);
    });
}

/// The first GRE packets arrive before the call reply: they are kept, and `up` does not wait for more.
#[test]
fn gre_before_the_call_reply_is_used() {
    in_world(faulty_server(Fault::GreBeforeReply), |world| {
        world.profile("");
        let before = world.state();
        world.up();
        let log = fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap();
        assert!(log.contains("GRE packets came before the call reply"), "{log}");
        world.down(&before);
    });
}

/// A host that translates its IPv4 to IPv6 (464XLAT): TCP arrives, and GRE does not.
#[test]
fn gre_lost_behind_nat64_is_told() {
    in_world(faulty_server(Fault::DropGre), |world| {
        // As its translator, which takes packets with this source address.
        world.shell(
            "ip address add 192.0.0.4/32 dev lo; nft add table ip clat; \
             nft 'add chain ip clat out { type nat hook postrouting priority 100; }'; \
             nft add rule ip clat out ip saddr 192.0.0.4 snat to 192.0.2.2",
        );
        world.profile(&(timeouts(&[("gre", "1s")]) + "localbind = \"192.0.0.4\"\n"));
        let words = ["GRE, IP protocol 47, is filtered", "192.0.0.4 belongs to 464XLAT", "no GRE (RFC 6146)"];
        world.assert_up_fails(17, "lcp", &words, 4.0);
    });
}
