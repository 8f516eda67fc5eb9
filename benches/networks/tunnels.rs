//! Many tunnels at a time: memory, idle CPU, wake-ups, and the time until all are up.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    far_end::processes,
    lab::{CONFIG, Lab},
    picture::Spread,
};

/// How long the tunnels are idle: four LCP echoes.
const IDLE: Duration = Duration::from_secs(60);
/// Time after the last tunnel is up until the measurement.
const SETTLE: Duration = Duration::from_secs(10);
/// The processes of a tunnel, by their titles.
const ROLES: [&str; 3] = ["supervisor", "launcher", "engine"];

#[derive(Clone, Copy, Default)]
struct Usage {
    processes: usize,
    /// Proportional set size in KiB.
    pss: u64,
    /// Pages that no other process shares, in KiB.
    private: u64,
    /// CPU time in nanoseconds.
    cpu: u64,
    wake_ups: u64,
}

type Usages = BTreeMap<&'static str, Usage>;

pub fn run(program: &Path, rounds: usize, counts: Option<&str>) {
    let lab = Lab::new(program, Path::new(env!("CARGO_BIN_EXE_pptpctl")));
    let counts = counts.unwrap_or("1,10,100,500").split(',').map(|count| count.parse::<u32>().unwrap());
    for count in counts {
        let names = (0..count).map(|number| (format!("t{number}"), 100 + number, "require-128", true));
        lab.profiles(&names.collect::<Vec<_>>());
        let (mut ups, mut downs, mut samples) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            ups.push(lab.run(&["up", "--autostart"]));
            thread::sleep(SETTLE);
            let (before, begin) = (usages(), Instant::now());
            thread::sleep(IDLE);
            samples.push((before, usages(), begin.elapsed()));
            downs.push(lab.run(&["down", "--autostart"]));
        }
        let seconds = |times: &[Duration]| Spread::of(times.iter().map(Duration::as_secs_f64)).show(2);
        println!("{count} tunnels: up in {} s, down in {} s", seconds(&ups), seconds(&downs));
        let each = |value: &dyn Fn(&Usage, &Usage, f64) -> f64, role: Option<&str>| {
            let all = samples.iter().map(|(before, after, time)| {
                let roles = ROLES.iter().filter(|name| role.is_none_or(|role| role == **name));
                roles.map(|name| value(&before[name], &after[name], time.as_secs_f64())).sum::<f64>()
            });
            Spread::of(all.map(|sum| sum / f64::from(count)))
        };
        for role in ROLES.map(Some).into_iter().chain([None]) {
            println!(
                "  {:10} for each tunnel: PSS {} KiB, private {} KiB, wake-ups a minute {}, CPU {} ms a minute",
                role.unwrap_or("all"),
                each(&|_, after, _| after.pss as f64, role).show(0),
                each(&|_, after, _| after.private as f64, role).show(0),
                each(&|before, after, time| (after.wake_ups - before.wake_ups) as f64 * 60.0 / time, role)
                    .show(1),
                each(&|before, after, time| (after.cpu - before.cpu) as f64 / 1e6 * 60.0 / time, role)
                    .show(2),
            );
        }
        let total = Spread::of(
            samples.iter().map(|(_, after, _)| after.values().map(|usage| usage.pss).sum::<u64>() as f64),
        );
        println!(
            "  all of them: PSS {} MiB",
            Spread::of([total.low / 1024.0, total.median / 1024.0, total.high / 1024.0]).show(2)
        );
    }
}

/// Returns what the processes of all tunnels use.
fn usages() -> Usages {
    let mut usages: Usages = ROLES.map(|role| (role, Usage::default())).into();
    for role in ROLES {
        // The supervisor keeps the command line of `up`.
        let words =
            if role == "supervisor" { format!("--config {CONFIG} ") } else { format!("pptpctl: {role} ") };
        let usage = usages.get_mut(role).unwrap();
        for pid in processes(&words) {
            let Some(one) = usage_of(pid) else { continue };
            usage.processes += 1;
            usage.pss += one.pss;
            usage.private += one.private;
            usage.cpu += one.cpu;
            usage.wake_ups += one.wake_ups;
        }
    }
    usages
}

fn usage_of(pid: u32) -> Option<Usage> {
    let number = |text: &str, name: &str| -> u64 {
        let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        lines.map(|rest| rest.split_whitespace().next().unwrap().parse::<u64>().unwrap()).sum()
    };
    let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let schedule = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    Some(Usage {
        processes: 1,
        pss: number(&memory, "Pss"),
        private: number(&memory, "Private_Clean") + number(&memory, "Private_Dirty"),
        cpu: schedule.split_whitespace().next()?.parse().ok()?,
        wake_ups: number(&status, "voluntary_ctxt_switches"),
    })
}
