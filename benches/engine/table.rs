//! Prints the results.

use crate::{
    load::{Cell, Sample},
    spread::spread,
};

/// Goal for user CPU, relative to the classic program.
const USER: f64 = 1.0 / 3.0;
/// Goal for all CPU, relative to the copy loop.
const FLOOR: f64 = 1.2;
/// Deviations up to this are noise.
const NOISE: f64 = 0.02;

type Samples = [[Sample; 3]];

pub fn head() -> String {
    [
        "                 |  packets/s, thousands     ours/  |  user CPU, ns/packet      ours/  |  all CPU, ns/packet         ours/    ours/",
        "cell             |   ours classic   floor classic   |   ours classic   floor classic   |   ours classic   floor   classic    floor",
    ]
    .join("\n")
}

pub fn row(cell: &Cell, samples: &Samples) -> String {
    let all = |value: &dyn Fn(&Sample) -> f64| {
        [0, 1, 2].map(|which| median(samples.iter().map(|s| value(&s[which]))))
    };
    let ratio = |value: &dyn Fn(&Sample) -> f64, to: usize| {
        median(samples.iter().map(|s| value(&s[0]) / value(&s[to])))
    };
    let (rate, user, cpu) = (|s: &Sample| s.rate / 1000.0, |s: &Sample| s.user, |s: &Sample| s.cpu);
    let mark = |value: f64, misses: bool| format!("{value:5.2}{}", if misses { "*" } else { " " });
    let three = |[ours, classic, floor]: [f64; 3], digits: usize| {
        format!("{ours:6.digits$} {classic:7.digits$} {floor:7.digits$}")
    };
    let (rates, users, cpus) = (ratio(&rate, 1), ratio(&user, 1), [ratio(&cpu, 1), ratio(&cpu, 2)]);
    let lost: u64 = samples.iter().flatten().map(|sample| sample.lost).sum();
    format!(
        "{:16} | {} {}  | {} {}  | {} {}  {}{}",
        cell.to_string(),
        three(all(&rate), 1),
        mark(rates, rates < 1.0 - NOISE),
        three(all(&user), 0),
        mark(users, users > USER),
        three(all(&cpu), 0),
        mark(cpus[0], cpus[0] > 1.0 + NOISE),
        mark(cpus[1], cpus[1] > FLOOR),
        if lost > 0 { format!("  lost: {lost}") } else { String::new() },
    )
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let [_, median, _] = spread(values);
    median
}
