//! How ppp(8) is started: its command line in an rc file, or the variables of FreeBSD's rc.conf(5).

use super::{draft::Origin, sources::Source, words};

/// A start of ppp(8).
pub struct Start {
    /// The labels.
    pub labels: Vec<String>,
    /// The mode, such as `ddial`.
    pub mode: Option<String>,
    /// The number of the tun device.
    pub unit: Option<u32>,
    /// Whether it translates addresses.
    pub nat: bool,
    /// The line that starts it.
    pub origin: Origin,
}

const MODES: [&str; 7] = ["auto", "background", "ddial", "dedicated", "direct", "foreground", "interactive"];

/// Reads an rc file.
#[must_use]
pub fn read(source: &Source) -> Vec<Start> {
    let mut starts = rc_conf(source);
    for (line, number) in source.text.lines().zip(1..) {
        let all = words::line(line);
        let Some(at) = all.iter().position(|word| words::base(word) == "ppp") else { continue };
        let mut start = Start {
            labels: Vec::new(),
            mode: None,
            unit: None,
            nat: false,
            origin: Origin::new(&source.path, number),
        };
        for word in all.iter().skip(at + 1).take_while(|word| !words::needs_shell(word)) {
            match word.strip_prefix('-') {
                None => start.labels.push(word.trim_end_matches(';').to_owned()),
                Some("nat" | "alias") => start.nat = true,
                Some(mode) if MODES.contains(&mode) => start.mode = Some(mode.to_owned()),
                Some(option) => {
                    start.unit =
                        option.strip_prefix("unit").and_then(|unit| unit.parse().ok()).or(start.unit);
                }
            }
        }
        if !start.labels.is_empty() {
            starts.push(start);
        }
    }
    starts
}

/// Reads `ppp_profile`, `ppp_mode`, `ppp_nat`, `ppp_unit`, and the same for one profile (`ppp_NAME_mode`).
fn rc_conf(source: &Source) -> Vec<Start> {
    let mut values: Vec<(String, String, usize)> = Vec::new();
    for (line, number) in source.text.lines().zip(1..) {
        let Some((name, value)) = line.trim().split_once('=') else { continue };
        if name.starts_with("ppp_") {
            values.push((name.to_owned(), words::line(value).join(" "), number));
        }
    }
    let get =
        |name: &str| values.iter().rev().find(|(is, ..)| is == name).map(|(_, value, line)| (value, *line));
    let Some((profiles, line)) = get("ppp_profile") else { return Vec::new() };
    let one = |label: &str| {
        // A name's characters that a variable cannot have are underscores there.
        let plain: String = label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let either = |what: &str| get(&format!("ppp_{plain}_{what}")).or_else(|| get(&format!("ppp_{what}")));
        Start {
            labels: vec![label.to_owned()],
            mode: Some(either("mode").map_or_else(|| "auto".to_owned(), |(mode, _)| mode.clone())),
            unit: either("unit").and_then(|(unit, _)| unit.parse().ok()),
            nat: either("nat").is_none_or(|(nat, _)| nat.eq_ignore_ascii_case("yes")),
            origin: Origin::new(&source.path, line),
        }
    };
    profiles.split_whitespace().map(one).collect()
}

/// Returns whether a file starts ppp(8).
#[must_use]
pub fn is_start(source: &Source) -> bool {
    !read(source).is_empty()
}
