//! Writes metrics in the OpenMetrics text format 1.0, or in the text format of Prometheus that node_exporter reads from
//! files.

use std::fmt::Write;

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Info,
    StateSet,
}

/// The text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    OpenMetrics,
    /// The older one: no units, no end mark, counters under the names of their samples.
    Prometheus,
}

/// A metric with its samples.
#[derive(Clone, Debug)]
pub struct Family {
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    help: &'static str,
    /// The labels as text, and the value.
    samples: Vec<(String, String)>,
}

impl Family {
    /// Returns a family without samples. `unit` is the end of the name, or empty.
    pub const fn new(name: &'static str, kind: Kind, unit: &'static str, help: &'static str) -> Self {
        Self { name, kind, unit, help, samples: Vec::new() }
    }

    /// Adds the sample of a tunnel.
    pub fn add(&mut self, tunnel: &str, labels: &[(&str, &str)], value: u64) {
        self.sample(tunnel, labels, value.to_string());
    }

    /// Adds the sample of a tunnel in seconds, from a value in microseconds.
    pub fn add_micros(&mut self, tunnel: &str, labels: &[(&str, &str)], micros: u64) {
        self.sample(tunnel, labels, format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000));
    }

    fn sample(&mut self, tunnel: &str, labels: &[(&str, &str)], value: String) {
        let all = [("tunnel", tunnel)].into_iter().chain(labels.iter().copied());
        let all: Vec<_> = all.map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        self.samples.push((all.join(","), value));
    }

    /// Returns the name of the samples.
    fn sample_name(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.name),
            Kind::Info => format!("{}_info", self.name),
            Kind::Gauge | Kind::StateSet => self.name.to_owned(),
        }
    }
}

/// Returns the text of all families that have samples.
pub fn render(families: &[Family], format: Format) -> String {
    let mut text = String::new();
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        let sample = family.sample_name();
        let (name, kind) = match (format, family.kind) {
            (Format::OpenMetrics, Kind::Counter) => (family.name, "counter"),
            (Format::OpenMetrics, Kind::Info) => (family.name, "info"),
            (Format::OpenMetrics, Kind::StateSet) => (family.name, "stateset"),
            (Format::Prometheus, Kind::Counter) => (sample.as_str(), "counter"),
            (_, Kind::Gauge | Kind::Info | Kind::StateSet) => (sample.as_str(), "gauge"),
        };
        let mut head = format!("# TYPE {name} {kind}\n");
        if format == Format::OpenMetrics && !family.unit.is_empty() {
            head += &format!("# UNIT {name} {}\n", family.unit);
        }
        text += &head;
        // Writing to a string does not fail.
        let _written = writeln!(text, "# HELP {name} {}", family.help);
        for (labels, value) in &family.samples {
            let _written = writeln!(text, "{sample}{{{labels}}} {value}");
        }
    }
    if format == Format::OpenMetrics {
        text += "# EOF\n";
    }
    text
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Checks the rules of the format: the order of lines, names, units, labels and values.
#[cfg(test)]
pub fn check(text: &str, format: Format) {
    use std::collections::BTreeSet;
    let is_name =
        |name: &str| name.starts_with("pptpctl_") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let mut seen = BTreeSet::new();
    let mut series = BTreeSet::new();
    let (mut name, mut kind, mut samples) = (String::new(), String::new(), 1);
    let body = match format {
        Format::OpenMetrics => text.strip_suffix("# EOF\n").expect("no end mark"),
        Format::Prometheus => text,
    };
    for line in body.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "TYPE", family, of] => {
                assert!(is_name(family) && seen.insert((*family).to_owned()), "{line}");
                assert!(samples > 0, "{name} has no samples");
                (name, kind, samples) = ((*family).to_owned(), (*of).to_owned(), 0);
                let counts = family.ends_with("_total");
                assert_eq!(counts, format == Format::Prometheus && *of == "counter", "{line}");
            }
            ["#", "UNIT", family, unit] => {
                assert_eq!((family, format), (&name.as_str(), Format::OpenMetrics));
                assert!(family.ends_with(&format!("_{unit}")), "{line}");
            }
            ["#", "HELP", family, help] => {
                assert_eq!(*family, name);
                assert!(help.ends_with('.') && !help.contains(['\\', '"']), "{line}");
            }
            _ => {
                samples += 1;
                let (head, value) = line.rsplit_once(' ').unwrap();
                let (sample, labels) = head.strip_suffix('}').unwrap().split_once('{').unwrap();
                let suffix = match kind.as_str() {
                    "counter" if format == Format::OpenMetrics => "_total",
                    "info" => "_info",
                    _ => "",
                };
                assert_eq!(sample, format!("{name}{suffix}"));
                assert!(labels.starts_with("tunnel=\"") && labels.ends_with('"'), "{line}");
                assert!(kind != "stateset" || labels.contains(&format!(",{name}=\"")), "{line}");
                assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{line}");
                assert!(series.insert(head.to_owned()), "twice: {line}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_differ_in_units_counters_and_end() {
        let mut bytes = Family::new("pptpctl_sent_bytes", Kind::Counter, "bytes", "Bytes.");
        bytes.add("a\"b\\c\nd", &[("mode", "x")], u64::MAX);
        let empty = Family::new("pptpctl_up", Kind::Gauge, "", "Up.");
        let both = [bytes, empty];
        let sample = "pptpctl_sent_bytes_total{tunnel=\"a\\\"b\\\\c\\nd\",mode=\"x\"} 18446744073709551615\n";
        assert_eq!(
            render(&both, Format::OpenMetrics),
            format!(
                "# TYPE pptpctl_sent_bytes counter\n# UNIT pptpctl_sent_bytes bytes\n# HELP pptpctl_sent_bytes Bytes.\n\
                 {sample}# EOF\n"
            )
        );
        assert_eq!(
            render(&both, Format::Prometheus),
            format!(
                "# TYPE pptpctl_sent_bytes_total counter\n# HELP pptpctl_sent_bytes_total Bytes.\n{sample}"
            )
        );
    }
}
