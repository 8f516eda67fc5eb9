//! Styled text of a screen, and its escape sequences.

/// Size and abilities of the terminal.
#[derive(Clone, Copy, Debug)]
pub struct Canvas {
    pub width: usize,
    pub height: usize,
    /// Whether it shows more than ASCII.
    pub unicode: bool,
}

/// How a piece of text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Dim,
    Bold,
    /// Exchanged colours.
    Chosen,
    Good,
    /// Beside what is good.
    Second,
    Warning,
    Bad,
}

/// One line: pieces of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(pub Vec<(Tone, String)>);

impl Line {
    /// Returns a line of one piece.
    pub fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self(vec![(tone, text.into())])
    }

    /// Adds a piece.
    #[must_use]
    pub fn with(mut self, tone: Tone, text: impl Into<String>) -> Self {
        self.0.push((tone, text.into()));
        self
    }

    /// Returns the number of columns.
    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// Cuts the line to a number of columns.
    #[must_use]
    pub fn cut(self, width: usize) -> Self {
        let mut left = width;
        let pieces = self.0.into_iter().filter_map(|(tone, text)| {
            let text: String = text.chars().take(left).collect();
            left = left.saturating_sub(text.chars().count());
            (!text.is_empty()).then_some((tone, text))
        });
        Self(pieces.collect())
    }

    /// Returns the text alone.
    #[cfg(test)]
    pub fn plain(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }
}

/// Returns the bytes that write a screen: each line whole, so that nothing flickers.
pub fn picture(lines: &[Line], colour: bool) -> String {
    let mut all = String::from("\x1b[H");
    for (row, line) in lines.iter().enumerate() {
        if row > 0 {
            all.push_str("\r\n");
        }
        // First: after the last column it would erase that.
        all.push_str("\x1b[2K");
        for (tone, text) in &line.0 {
            let code = match tone {
                Tone::Plain => "",
                Tone::Dim => "2",
                Tone::Bold => "1",
                Tone::Chosen => "7",
                Tone::Good if colour => "32",
                Tone::Second if colour => "36",
                // Not yellow, which nobody can read on white.
                Tone::Warning if colour => "35",
                Tone::Bad if colour => "31",
                Tone::Good | Tone::Second => "",
                Tone::Warning | Tone::Bad => "1",
            };
            match code {
                "" => all.push_str(text),
                code => all.push_str(&format!("\x1b[{code}m{text}\x1b[0m")),
            }
        }
    }
    all
}

/// Returns a text that is cut, visibly, to a number of columns.
pub fn shortened(text: String, width: usize, unicode: bool) -> String {
    let end = if unicode { "…" } else { "..." };
    if text.chars().count() <= width {
        return text;
    }
    text.chars().take(width.saturating_sub(end.chars().count())).chain(end.chars()).collect()
}

/// Returns the lowest row of a graph with a mark where it is empty, so that the graph's extent is seen.
pub fn grounded(row: &str, tone: Tone, unicode: bool) -> Line {
    let ground = if unicode { '·' } else { '_' };
    let mut line = Line::default();
    for cell in row.chars() {
        let (tone, cell) = if cell == ' ' { (Tone::Dim, ground) } else { (tone, cell) };
        match line.0.last_mut() {
            Some((last, text)) if *last == tone => text.push(cell),
            _ => line.0.push((tone, cell.to_string())),
        }
    }
    line
}

/// Returns a graph of `values`, the last at the right, as lines from the top; `highest` fills it.
pub fn graph(values: &[u64], highest: u64, width: usize, height: usize, unicode: bool) -> Vec<String> {
    let levels: &[char] = match unicode {
        true => &[' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
        false => &[' ', '.', ':', '|', '#'],
    };
    let steps = u64::try_from(levels.len().saturating_sub(1)).unwrap_or(1);
    let rows = u64::try_from(height).unwrap_or(1);
    let skipped = values.len().saturating_sub(width);
    let shown = values.get(skipped..).unwrap_or_default();
    let filled = |value: u64| {
        let full = u128::from(steps) * u128::from(rows);
        let part = u128::from(value.min(highest)) * full / u128::from(highest.max(1));
        // A value above zero has at least the lowest step.
        u64::try_from(part).unwrap_or(u64::MAX).max(u64::from(value > 0))
    };
    (0..rows)
        .rev()
        .map(|row| {
            let cells = shown.iter().map(|value| {
                let level = filled(*value).saturating_sub(row * steps).min(steps);
                usize::try_from(level).ok().and_then(|level| levels.get(level)).copied().unwrap_or(' ')
            });
            let empty = " ".repeat(width.saturating_sub(shown.len()));
            empty + &cells.collect::<String>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graph_has_the_last_values_at_the_right() {
        let drawn = graph(&[9, 0, 4, 8], 8, 3, 2, true);
        assert_eq!(drawn, ["  █", " ██"]);
        assert_eq!(graph(&[1, 8], 8, 4, 1, false), ["  .#"]);
        assert_eq!(graph(&[1], u64::MAX, 1, 1, true), ["▁"], "not nothing");
        assert_eq!(graph(&[], 0, 2, 1, true), ["  "]);
        assert_eq!(graph(&[0, 5], 0, 2, 1, true), [" ▁"]);
        assert_eq!(graph(&[5], 5, 0, 2, true), ["", ""]);
    }

    #[test]
    fn empty_cells_of_the_lowest_row_are_marked() {
        let line = grounded("  █▁ █", Tone::Good, true);
        let pieces = [(Tone::Dim, "··"), (Tone::Good, "█▁"), (Tone::Dim, "·"), (Tone::Good, "█")];
        assert_eq!(line.0, pieces.map(|(tone, text)| (tone, text.to_owned())));
        assert_eq!(grounded(" #", Tone::Good, false).plain(), "_#");
    }

    #[test]
    fn long_texts_are_cut_visibly() {
        let short = |width, unicode| shortened("abcdef".to_owned(), width, unicode);
        assert_eq!([short(6, true), short(5, true), short(5, false)], ["abcdef", "abcd…", "ab..."]);
    }

    #[test]
    fn lines_are_cut_and_coloured() {
        let line = Line::new(Tone::Bad, "abc").with(Tone::Plain, "def");
        assert_eq!((line.width(), line.clone().cut(4).plain().as_str()), (6, "abcd"));
        assert_eq!(line.clone().cut(2).0.len(), 1);
        assert_eq!(picture(std::slice::from_ref(&line), true), "\x1b[H\x1b[2K\x1b[31mabc\x1b[0mdef");
        let plain = picture(&[line.clone(), line], false);
        assert_eq!(plain, "\x1b[H\x1b[2K\x1b[1mabc\x1b[0mdef\r\n\x1b[2K\x1b[1mabc\x1b[0mdef");
    }
}
