//! Log-ins without a verdict, counted over restarts: a service manager must not lock an account.

use std::{fs, process::Stdio};

use pptpctl::testing::demo::config::Fault;

use super::{
    faulty_server,
    world::{in_world, text, timeouts},
};

const RECORD: &str = "/var/lib/pptpctl/vpn.logins";

#[test]
fn restarts_do_not_add_up_to_more_logins_than_one_supervisor_makes() {
    in_world(faulty_server(Fault::DeafAuth), |world| {
        world.profile(&timeouts(&[("auth", "1s")]));
        let before = world.state();
        // A supervisor that is killed before the server has answered has logged in, too.
        let mut up = world.spawn(world.command(&["up", "--foreground", "vpn"]).stderr(Stdio::null()));
        world.wait_for(|| fs::exists(RECORD).unwrap());
        up.kill().unwrap();
        up.wait().unwrap();
        assert!(world.run(&["recover"]).status.success());

        let second = world.run(&["up", "vpn"]);
        let stderr = text(&second.stderr);
        assert_eq!(second.status.code(), Some(19), "{stderr}");
        assert!(stderr.contains("during authentication"), "{stderr}");
        for _ in 0..2 {
            let refused = world.run(&["up", "vpn"]);
            let stderr = text(&refused.stderr);
            assert_eq!(refused.status.code(), Some(19), "{stderr}");
            assert!(stderr.contains("not tried: the last 2 log-ins ended without a verdict"), "{stderr}");
            assert!(stderr.contains("allowed in 30 min") || stderr.contains("allowed in 29 min"), "{stderr}");
            assert!(stderr.contains(&format!("rm {RECORD}")), "{stderr}");
            assert!(!text(&refused.stdout).contains("connect"), "{}", text(&refused.stdout));
        }
        world.assert_state(&before);
        // The way out that the message names.
        fs::remove_file(RECORD).unwrap();
        let allowed = world.run(&["up", "vpn"]);
        assert!(text(&allowed.stderr).contains("during authentication"), "{}", text(&allowed.stderr));
    });
}

#[test]
fn accepted_login_leaves_no_record() {
    in_world(super::working_server(), |world| {
        world.profile("");
        let before = world.state();
        fs::create_dir_all("/var/lib/pptpctl").unwrap();
        world.up();
        assert!(!fs::exists(RECORD).unwrap());
        world.down(&before);
        // A record of an earlier supervisor goes with the next log-in that is accepted.
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let record =
            format!(r#"{{"undecided":2,"how":"unanswered","boot":"{}","uptime":0,"unix":0}}"#, boot.trim());
        fs::write(RECORD, record.replace("\"uptime\":0", "\"uptime\":1")).unwrap();
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        if uptime.split('.').next().unwrap().parse::<u64>().unwrap() > 1801 {
            world.up();
            assert!(!fs::exists(RECORD).unwrap());
            world.down(&before);
        }
    });
}

#[test]
fn tunnel_that_is_tried_from_the_start_waits_for_the_end_of_the_pause() {
    in_world(super::working_server(), |world| {
        world.profile("retry.from-start = true");
        let before = world.state();
        fs::create_dir_all("/var/lib/pptpctl").unwrap();
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let record =
            format!(r#"{{"undecided":2,"how":"unanswered","boot":"","uptime":0,"unix":{}}}"#, unix - 60);
        fs::write(RECORD, record).unwrap();
        let up = world.run(&["up", "vpn"]);
        let words = format!("{}{}", text(&up.stdout), text(&up.stderr));
        assert_eq!(up.status.code(), Some(0), "{words}");
        assert!(words.contains("not tried: the last 2 log-ins ended without a verdict"), "{words}");
        let status = world.run(&["status", "vpn"]);
        assert!(text(&status.stdout).contains("waiting"), "{}", text(&status.stdout));
        world.down(&before);
    });
}
