//! Programs with one defect each: a wrapper in place of `pptpctl`. The row must fail, with this reason.

use std::{fmt::Write, thread};

use crate::in_world;

/// Worlds that run beside each other.
const WORLDS: usize = 10;

/// Row, wrapper, and a part of the row's first line or of the evidence. `$3` is the command, `$2` the profile file,
/// `$real` the program.
type Defect = (&'static str, &'static str, &'static str);

const DEFECTS: &[Defect] = &[
    ("check", r#"[ "$3" != check ] || exit 0"#, "ended with status 0, not 3"),
    ("check", r#"[ "$3" != check ] || { echo bad; exit 3; }"#, "ended with status 3, not 0"),
    (
        "dry-run",
        r#"case "$*" in *--dry-run*) ip rule add from 198.51.100.7 lookup main ;; esac"#,
        "the dry run has changed",
    ),
    ("doctor", r#"[ "$3" != doctor ] || exit 12"#, "ended with status 12"),
    ("up", r#"[ "$3" != up ] || exit 0"#, "status does not say up"),
    ("up", r#"[ "$3" != up ] || sed -i /^routes/d "$2""#, "the route to 192.168.77.1 is by up1"),
    ("up", r#"[ "$3" != up ] || { $real "$@"; exit 0; }"#, "ended with status 0, not 5"),
    (
        "up",
        r#"[ "$3" != down ] || { $real "$@"; s=$?; echo 1 >/run/tun0.pid; exit $s; }"#,
        "/run/tun0.pid is left",
    ),
    (
        "up",
        r#"[ "$3" != up ] || { $real "$@"; s=$?; echo 1 >/run/tun0.pid; exit $s; }"#,
        "does not hold the pid",
    ),
    ("up", r#"[ "$3" != logs ] || exit 0"#, "not in the output"),
    ("default-halves", r#"[ "$3" != up ] || sed -i /^default/d "$2""#, "the route to 192.168.77.1 is by up1"),
    (
        "default-halves",
        r#"[ "$3" != up ] || { $real "$@"; ip route add 1.0.0.1 via 10.1.0.1; exit 0; }"#,
        "the route to 1.0.0.1",
    ),
    ("default-halves", r#"[ "$3" != up ] || sed -i s/halves/replace/ "$2""#, "the default route is changed"),
    (
        "default-replace",
        r#"[ "$3" != up ] || sed -i s/replace/halves/ "$2""#,
        "the default route is not by tun0",
    ),
    (
        "default-policy",
        r#"[ "$3" != up ] || sed -i s/policy/halves/ "$2""#,
        "has the routes of the mode halves",
    ),
    ("exclude-far", r#"[ "$3" != up ] || sed -i /^exclude/d "$2""#, "the route to 192.0.2.2 is by tun0"),
    (
        "exclude-gateway",
        r#"[ "$3" != up ] || { $real "$@"; ip route add 10.1.0.1 dev tun0; exit 0; }"#,
        "the route to 10.1.0.1",
    ),
    (
        "exclude-host",
        r#"[ "$3" != up ] || { $real "$@"; ip neigh replace 10.1.0.77 lladdr 2:0:0:0:0:1 dev up1; exit 0; }"#,
        "ping 10.1.0.77 is not answered",
    ),
    (
        "exclude-net",
        r#"[ "$3" != up ] || { $real "$@"; ip route add 10.1.0.0/24 via 10.2.0.1 metric 0; ip route add 10.1.0.77 via 10.2.0.1; exit 0; }"#,
        "the route to 10.1.0.77",
    ),
    (
        "server-on-link",
        r#"[ "$3" != up ] || { $real "$@"; ip route replace 10.1.0.9 via 10.1.0.1; exit 0; }"#,
        "the route to 10.1.0.9",
    ),
    (
        "server-gateway",
        r#"[ "$3" != up ] || { $real "$@"; ip route replace 10.1.0.9 via 10.1.0.1; exit 0; }"#,
        "the route to 10.1.0.9",
    ),
    (
        "leak-down",
        r#"[ "$3" != down ] || { $real "$@"; ip route add unreachable 192.0.2.2; exit 0; }"#,
        "ping 192.0.2.2 is not answered",
    ),
    ("leak-kill", r#"[ "$3" != up ] || sed -i /^leak/d "$2""#, "ping 192.0.2.2 is answered after kill -9"),
    ("leak-kill", r#"[ "$3" != recover ] || exit 0"#, "recover leaves a difference"),
    (
        "kill-recover",
        r#"[ "$3" != recover ] || { $real "$@"; s=$?; ip route add 198.51.100.7 via 10.1.0.1; exit $s; }"#,
        "recover leaves a difference",
    ),
    (
        "kill-up",
        r#"[ "$3" != up ] || [ ! -e /run/pptpctl/acceptance.lock ] || exit 23"#,
        "ended with status 23",
    ),
    ("engine-killed", r#"[ "$3" != up ] || sed -i 's/^retry.*/retry.attempts = 0/' "$2""#, "not redialled"),
    (
        "roam",
        r#"case $3 in up) $real "$@"; kill -STOP "$(cat /run/tun0.pid)"; exit 0 ;; down) kill -CONT "$(cat /run/tun0.pid)" ;; status) kill -CONT "$(cat /run/tun0.pid)"; $real "$@"; s=$?; kill -STOP "$(cat /run/tun0.pid)"; exit $s ;; esac"#,
        "not answered",
    ),
    (
        "link-down",
        r#"case $3 in up) $real "$@"; kill -STOP "$(cat /run/tun0.pid)"; exit 0 ;; down) kill -CONT "$(cat /run/tun0.pid)" ;; status) kill -CONT "$(cat /run/tun0.pid)"; $real "$@"; s=$?; kill -STOP "$(cat /run/tun0.pid)"; exit $s ;; esac"#,
        "not answered",
    ),
    (
        "link-moves",
        r#"case $3 in up) $real "$@"; kill -STOP "$(cat /run/tun0.pid)"; exit 0 ;; down) kill -CONT "$(cat /run/tun0.pid)" ;; status) kill -CONT "$(cat /run/tun0.pid)"; $real "$@"; s=$?; kill -STOP "$(cat /run/tun0.pid)"; exit $s ;; esac"#,
        "after the move the route to the server is by tun0",
    ),
    (
        "server-lost",
        r#"[ "$3" != up ] || sed -i 's/lcp-echo-interval = "1s"/lcp-echo-interval = "off"/' "$2""#,
        "after the server's side lost all packets",
    ),
    (
        "remote-ping",
        r#"case $3 in up) echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all ;; down) echo 0 >/proc/sys/net/ipv4/icmp_echo_ignore_all ;; esac"#,
        "packets received",
    ),
    ("nft", r#"[ "$3" != up ] || sed -i '/^nftables/d; /^nat/d' "$2""#, "not in the output"),
    (
        "nft",
        r#"[ "$3" != up ] || { $real "$@"; nft delete set inet acceptance_other s; exit 0; }"#,
        "the table of others is changed",
    ),
    (
        "nft",
        r#"[ "$3" != down ] || { $real "$@"; nft add table inet pptpctl_acceptance; exit 0; }"#,
        "the table is left",
    ),
    ("nft-syntax", r#"[ "$3" != up ] || sed -i /^nftables/d "$2""#, "ended with status 0, not 23"),
    ("dns-file", r#"[ "$3" != up ] || sed -i /^dns/d "$2""#, "the resolver is not in"),
    (
        "dns-file",
        r##"[ "$3" != down ] || { $real "$@"; echo "# left" >>/etc/resolv.conf; exit 0; }"##,
        "is not as before",
    ),
    ("netns", r#"[ "$3" != up ] || sed -i /^link/d "$2""#, "in the namespace is not answered"),
    ("wrong-password", r#"[ "$3" != up ] || exit 0"#, "ended with status 0, not 19"),
    (
        "wrong-password",
        r#"[ "$3" != up ] || { $real "$@"; ip link add left0 type dummy || ip link add left0 type veth; exit 19; }"#,
        "left0",
    ),
    ("demo", r#"[ "$3" != demo ] || exit 1"#, "the demo ended with status 1"),
    (
        "rounds",
        r#"[ "$3" != up ] || { echo >>/etc/acceptance.count; [ "$(grep -c ^ /etc/acceptance.count)" != 3 ] || exit 1; }"#,
        "up of round 3: status 1",
    ),
    (
        "rounds",
        r#"[ "$3" != down ] || { $real "$@"; ip route replace 198.51.100.7 via 10.1.0.1; exit 0; }"#,
        "198.51.100.7",
    ),
    (
        "rounds",
        r#"[ "$3" != down ] || { $real "$@"; ip -6 route replace unreachable 2001:db8::/32; exit 0; }"#,
        "2001:db8::",
    ),
    (
        "rounds",
        r#"[ "$3" != down ] || { $real "$@"; ip rule add from 198.51.100.7 lookup main; exit 0; }"#,
        "from 198.51.100.7",
    ),
    ("rounds", r#"[ "$3" != down ] || { $real "$@"; nft add table inet left; exit 0; }"#, "table inet left"),
    ("rounds", r#"[ "$3" != down ] || { $real "$@"; : >/run/tun0.pid; exit 0; }"#, "/run/tun0.pid"),
    (
        "rounds",
        r#"[ "$3" != down ] || { $real "$@"; : >/var/lib/pptpctl/acceptance.ledger; exit 0; }"#,
        "acceptance.ledger",
    ),
    (
        "rounds",
        r#"[ "$3" != down ] || { $real "$@"; cp /bin/sleep /run/pptpgw; /run/pptpgw 60 >/dev/null 2>&1 & exit 0; }"#,
        "/run/pptpgw 60",
    ),
];

#[test]
fn every_row_finds_a_defect() {
    let worlds: Vec<_> = (0..WORLDS).map(|world| thread::spawn(move || run_every(WORLDS, world))).collect();
    let wrong: Vec<String> = worlds.into_iter().flat_map(|world| world.join().unwrap()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A row for Linux without a defect here could be one that cannot fail.
    for row in super::listed_rows() {
        let not_on_linux = super::NOT_ON_LINUX.iter().any(|(name, _)| *name == row);
        assert!(not_on_linux || DEFECTS.iter().any(|(name, ..)| *name == row), "no defect for the row {row}");
    }
}

/// Runs every n-th defect in one world; returns those that were not found.
fn run_every(n: usize, first: usize) -> Vec<String> {
    let defects: Vec<&Defect> = DEFECTS.iter().skip(first).step_by(n).collect();
    let mut script = "export ACCEPT_PPTPCTL=/run/defect/pptpctl; mkdir /run/defect; sleep 2\n".to_owned();
    for (row, wrapper, _) in &defects {
        write!(
            script,
            "cat >/run/defect/pptpctl <<'WRAPPER'\n#!/bin/sh\nreal=/run/programs/pptpctl\n{wrapper}\nexec $real \"$@\"\nWRAPPER\n\
             chmod 755 /run/defect/pptpctl\n\
             echo '#### defect'; contrib/acceptance --only {row} --rounds 3 --wait 4; echo \"status $?\"\n\
             /run/programs/pptpctl recover >/dev/null\n\
             rm -f /run/tun0.pid /var/lib/pptpctl/acceptance.ledger /run/pptpgw\n\
             ip route del 10.1.0.0/24 via 10.2.0.1 2>/dev/null\n\
             for to in 1.0.0.1 192.0.2.1 192.0.2.2 198.51.100.7 10.1.0.1 10.1.0.9 10.1.0.77; do ip route flush $to; done\n"
        )
        .unwrap();
    }
    let (_, output) = in_world(&script);
    let mut outputs = output.split("#### defect\n").skip(1);
    let found = |defect: &Defect, text: &str| {
        text.contains("FAIL: ") && text.contains(defect.2) && text.contains("status 1\n")
    };
    let wrong = defects.into_iter().filter_map(|defect| {
        let text = outputs.next().unwrap_or("no output");
        (!found(defect, text)).then(|| format!("not found: {defect:?}\n{text}"))
    });
    wrong.collect()
}
