//! Prints the results.

use crate::{
    load::{Cell, Sample},
    spread::spread,
    tunnels::World,
};

/// The tunnels that the others are compared with.
const REFERENCES: [&str; 3] = ["null", "wireguard-go", "openvpn"];

/// Returns a line for each tunnel.
pub fn rows(world: &World, cell: Cell, samples: &[Vec<Sample>]) -> String {
    let mut text = format!("{cell}\n");
    let place = |name: &str| world.tunnels.iter().position(|tunnel| tunnel.name == name);
    for (at, tunnel) in world.tunnels.iter().enumerate() {
        let all = |value: &dyn Fn(&Sample) -> f64| spread(samples.iter().map(|round| value(&round[at])));
        let ([low, rate, high], [_, cpu, _]) = (all(&|s| s.rate), all(&|s| s.cpu));
        text +=
            &format!("  {:13} {rate:7.0} Mbit/s ({low:.0} to {high:.0})  CPU {cpu:5.2} s/Gbit", tunnel.name);
        for name in REFERENCES {
            let Some(reference) = place(name).filter(|reference| *reference != at) else { continue };
            let ratio = |value: &dyn Fn(&Sample) -> f64| {
                spread(samples.iter().map(|round| value(&round[at]) / value(&round[reference]).max(1e-9)))
            };
            let ([low, middle, high], [_, cpu, _]) = (ratio(&|s| s.rate), ratio(&|s| s.cpu));
            text += &format!("  | {middle:.2} of {name} ({low:.2} to {high:.2})");
            if !tunnel.processes.is_empty() {
                text += &format!(", CPU {cpu:.2}");
            }
        }
        text.push('\n');
    }
    text
}
