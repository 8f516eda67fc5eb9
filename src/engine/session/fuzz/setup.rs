//! The profile of a fuzzed session and the server that it dials, read from the script.

use std::time::Duration;

use crate::{
    engine::spec::{Limits, Quirks, Remembered, Reorder, Spec},
    ppp::{
        auth::AuthProtocol,
        link::Echo,
        mppe::{Demand, Policy, Strength},
        mss::Mss,
    },
    pptp::fuzzing::Script,
};

/// Both ends of a session.
pub(super) struct Setup {
    pub spec: Spec,
    pub server: ServerSetup,
    /// How often both ends exchange everything before the first operation: up to a link that is up.
    pub rounds: usize,
    pub seed: u8,
}

/// What the server wants.
#[derive(Clone)]
pub(super) struct ServerSetup {
    pub mppe: Policy,
    pub accept: Vec<AuthProtocol>,
    /// It knows the client's password.
    pub password_is_right: bool,
    pub ipv6: bool,
    pub insists: bool,
}

impl Setup {
    /// Reads the first bytes of a script.
    pub fn read(script: &mut Script<'_>) -> Self {
        let [client, options, server, more] = [script.byte(), script.byte(), script.byte(), script.byte()];
        let second = Duration::from_secs(1);
        let spec = Spec {
            name: "fuzz".to_owned(),
            loglevel: 0,
            server: std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(192, 0, 2, 1), 1723),
            call_id: 77,
            limits: limits(),
            quirks: if options & 0xc0 == 0x80 { Quirks::BezeqIsrael } else { Quirks::None },
            phone: (options & 0x80 != 0).then(|| "5551234".to_owned()),
            idle_wait: (options & 4 == 0).then_some(60 * second),
            max_echo_wait: 60 * second,
            reorder: if options & 8 == 0 {
                Reorder::Adaptive { max: Duration::from_millis(300) }
            } else {
                Reorder::Off
            },
            missing_window: (options & 0x10 != 0).then_some(300),
            transmit_window: options & 0x40 != 0,
            user: "alice".to_owned(),
            domain: (options & 0x10 != 0).then(|| "DOMAIN".to_owned()),
            auth: protocols(client >> 3),
            unauthenticated: client & 0x20 != 0,
            prefer_stronger: options & 0x20 == 0,
            mppe: policy(
                client & 4,
                demand([Demand::Require, Demand::Require, Demand::Allow, Demand::Off], client),
                more,
            ),
            lcp_echo: (options & 2 != 0).then_some(Echo { interval: 15 * second, failures: 4 }),
            mru: None,
            mtu_limit: 1460,
            follow_path: options & 0x20 == 0,
            ipv6: client & 0x40 != 0,
            // On a redial; the server may give another address.
            remembered: (options & 1 != 0).then(|| Remembered {
                address: std::net::Ipv4Addr::new(10, 77, 0, 100),
                dns: vec![std::net::Ipv4Addr::new(10, 77, 0, 1)],
                mru: (options & 2 != 0).then_some(1400),
            }),
            want_dns: client & 4 == 0,
            external: options & 0xe0 == 0xe0,
            kernel: false,
            mss: Mss::Auto,
            was_up: options & 1 != 0,
            best_effort: false,
            peer_routes: client & 0x80 != 0,
        };
        let server = ServerSetup {
            mppe: policy(
                server & 4,
                demand([Demand::Allow, Demand::Allow, Demand::Require, Demand::Off], server),
                more >> 2,
            ),
            accept: protocols(if server & 0x18 == 0x18 { more } else { server >> 3 & 1 }),
            password_is_right: server & 0xe0 != 0xe0,
            ipv6: server & 0x40 != 0,
            insists: server & 0x20 != 0,
        };
        // A script of no bytes is the usual session.
        let rounds = [60, 60, 60, 0, 4, 10, 16, 60].get(usize::from(more >> 5)).copied().unwrap_or_default();
        Self { spec, server, rounds, seed: more }
    }
}

/// The time limits of every fuzzed session.
pub(super) const fn limits() -> Limits {
    Limits {
        connect: Duration::from_secs(5),
        control: Duration::from_secs(6),
        call: Duration::from_secs(7),
        gre: Duration::from_secs(8),
        lcp: Duration::from_secs(9),
        auth: Duration::from_secs(9),
        network: Duration::from_secs(9),
        stop: Duration::from_secs(1),
    }
}

fn demand(choices: [Demand; 4], choice: u8) -> Demand {
    choices.get(usize::from(choice & 3)).copied().unwrap_or(Demand::Require)
}

fn policy(stateful: u8, demand: Demand, strengths: u8) -> Policy {
    let (min, max) = match strengths & 3 {
        0 => (Strength::Bits40, Strength::Bits128),
        1 => (Strength::Bits128, Strength::Bits128),
        2 => (Strength::Bits40, Strength::Bits40),
        _ => (Strength::Bits56, Strength::Bits128),
    };
    Policy { demand, min, max, stateful: stateful != 0 }
}

fn protocols(choice: u8) -> Vec<AuthProtocol> {
    match choice & 3 {
        0 => vec![AuthProtocol::MsChapV2],
        1 => vec![AuthProtocol::MsChapV1, AuthProtocol::MsChapV2],
        2 => vec![AuthProtocol::Pap, AuthProtocol::ChapMd5, AuthProtocol::MsChapV2],
        _ => vec![AuthProtocol::Pap],
    }
}
