//! `auth` of a profile means one of these protocols, strongest first, or no tunnel.

use pptpctl::testing::{
    demo::config::{Fault, ServerConfig},
    ppp::auth::AuthProtocol,
};

use super::{
    no_mppe, working_server,
    world::{in_world, text},
};

fn server(auth: Vec<AuthProtocol>) -> ServerConfig {
    ServerConfig { auth, mppe: no_mppe(), ..working_server() }
}

#[test]
fn server_that_asks_for_no_authentication_is_refused() {
    in_world(server(Vec::new()), |world| {
        let words = ["the peer asks for no authentication", "add \"none\" to auth", "check server = "];
        for (auth, mppe) in [("mschapv2", "off"), ("pap", "off"), ("mschapv2", "allow")] {
            world.profile(&format!("auth = \"{auth}\"\nmppe = \"{mppe}\""));
            world.assert_up_fails(19, "authentication", &words, 3.0);
        }
        for auth in ["[\"none\"]", "[\"mschapv2\", \"none\"]"] {
            world.profile(&format!("auth = {auth}\nmppe = \"off\""));
            let before = world.state();
            world.up();
            let status = text(&world.run(&["status", "vpn"]).stdout);
            assert!(status.contains("authentication none, encryption none"), "{status}");
            world.down(&before);
        }
    });
}

/// The weaker protocol is used only by a server that has no other, and `up` says that the password went in clear.
#[test]
fn weaker_protocol_is_taken_only_from_a_server_that_insists() {
    use AuthProtocol::{ChapMd5, MsChapV2, Pap};
    let gives_up = |auth| ServerConfig { trouble: Some(Fault::GivesUpAuth), ..server(auth) };
    for (config, used) in [
        (server(vec![Pap, MsChapV2]), MsChapV2),
        (server(vec![Pap]), Pap),
        (gives_up(vec![Pap]), Pap),
        (gives_up(vec![ChapMd5]), ChapMd5),
    ] {
        in_world(config, move |world| {
            world.profile("auth = [\"mschapv2\", \"chap\", \"pap\"]\nmppe = \"off\"");
            let before = world.state();
            let up = world.run(&["up", "vpn"]);
            let shown = format!("{}{}", text(&up.stdout), text(&up.stderr));
            assert!(up.status.success(), "{used}: {shown}");
            let status = text(&world.run(&["status", "vpn"]).stdout);
            assert!(status.contains(&format!("authentication {used}, encryption none")), "{used}: {status}");
            let warns = shown.contains("the password has crossed the network in clear");
            assert_eq!(warns, used == Pap, "{used}: {shown}");
            world.down(&before);
        });
    }
}
