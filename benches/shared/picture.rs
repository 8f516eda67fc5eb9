//! Medians, their spread, and a picture.

use std::fmt::Write;

use crate::spread::spread;

/// The smallest value, the median and the largest.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let [low, median, high] = spread(values);
        Self { low, median, high }
    }

    /// Returns the median and, in brackets, the smallest and the largest value.
    pub fn show(&self, digits: usize) -> String {
        let Self { low, median, high } = self;
        format!("{median:.digits$} ({low:.digits$} to {high:.digits$})")
    }
}

/// Returns the machine's load: the average of the last minute.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap();
    text.split_whitespace().next().unwrap().to_owned()
}

/// One bar of a picture: its text, and its value with the spread.
pub type Bar = (String, Spread);

/// The colours of the bars of a group, in order.
const COLOURS: [&str; 6] = ["#4a7ebb", "#bb6a4a", "#5a9a5a", "#8a6aad", "#b5962f", "#7a8288"];

/// Returns a picture (SVG) of bars in groups; the line at 1 is what they are compared with.
pub fn svg(title: &str, groups: &[(String, Vec<Bar>)]) -> String {
    const WIDTH: usize = 640;
    const LEFT: usize = 200;
    /// Of the longest line.
    const LENGTH: f64 = 380.0;
    const ROW: usize = 22;
    let rows: usize = groups.iter().map(|(_, bars)| bars.len() + 1).sum();
    let height = 60 + rows * ROW;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<title>{title}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"24\" font-size=\"14\">{title}</text>\n"
    );
    let all = groups.iter().flat_map(|(_, bars)| bars).map(|(_, value)| value.high);
    let scale = LENGTH / all.fold(1.0, f64::max);
    let x = |value: f64| LEFT as f64 + scale * value.max(0.0);
    let mut y = 40;
    for (name, bars) in groups {
        writeln!(text, "<text x=\"10\" y=\"{}\" font-weight=\"bold\">{name}</text>", y + 15).unwrap();
        y += ROW;
        for (number, (name, Spread { low, median, high })) in bars.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            writeln!(
                text,
                "<text x=\"30\" y=\"{}\">{name}</text><rect x=\"{LEFT}\" y=\"{}\" width=\"{:.0}\" height=\"14\" \
                 fill=\"{colour}\"/><path d=\"M{:.0} {}H{:.0}\" stroke=\"#222\"/><text x=\"{:.0}\" y=\"{}\">{median:.2}\
                 </text>",
                y + 13,
                y + 2,
                x(*median) - LEFT as f64,
                x(*low),
                y + 9,
                x(*high),
                x(*high) + 6.0,
                y + 13,
            )
            .unwrap();
            y += ROW;
        }
    }
    let one = x(1.0);
    writeln!(text, "<path d=\"M{one:.0} 36V{y}\" stroke=\"#888\" stroke-dasharray=\"4 3\"/>\n</svg>")
        .unwrap();
    text
}
