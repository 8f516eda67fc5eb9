//! Prints the results.

use crate::{
    load::{Cell, Sample},
    picture::{Bar, Spread},
    tunnels::World,
};

/// The tunnels that the others are compared with.
const REFERENCES: [&str; 3] = ["null", "wireguard-go", "openvpn"];

/// Returns a line for each tunnel.
pub fn rows(world: &World, cell: Cell, samples: &[Vec<Sample>]) -> String {
    let mut text = format!("{cell}\n");
    let place = |name: &str| world.tunnels.iter().position(|tunnel| tunnel.name == name);
    for (at, tunnel) in world.tunnels.iter().enumerate() {
        let all = |value: &dyn Fn(&Sample) -> f64| Spread::of(samples.iter().map(|round| value(&round[at])));
        let (rate, cpu) = (all(&|s| s.rate), all(&|s| s.cpu));
        text += &format!("  {:13} {} Mbit/s  CPU {:.2} s/Gbit", tunnel.name, rate.show(0), cpu.median);
        for name in REFERENCES {
            let Some(reference) = place(name).filter(|reference| *reference != at) else { continue };
            let ratio = |value: &dyn Fn(&Sample) -> f64| {
                Spread::of(samples.iter().map(|round| value(&round[at]) / value(&round[reference]).max(1e-9)))
            };
            text += &format!("  | {} of {name}", ratio(&|s| s.rate).show(2));
            if !tunnel.processes.is_empty() {
                text += &format!(", CPU {:.2}", ratio(&|s| s.cpu).median);
            }
        }
        text.push('\n');
    }
    text
}

/// Returns the throughput of each tunnel for a picture, relative to the null forwarder; none if that does not run.
pub fn bars(world: &World, samples: &[Vec<Sample>]) -> Vec<Bar> {
    let place = |name: &str| world.tunnels.iter().position(|tunnel| tunnel.name == name);
    let Some(null) = place("null") else { return Vec::new() };
    let tunnels =
        world.tunnels.iter().enumerate().filter(|(at, tunnel)| *at != null && tunnel.name != "veth");
    tunnels
        .map(|(at, tunnel)| {
            let ratios = samples.iter().map(|round| round[at].rate / round[null].rate.max(1e-9));
            (tunnel.name.to_owned(), Spread::of(ratios))
        })
        .collect()
}
