//! Finds the programs that Rust code runs by a literal name, by the text before the literal.

use crate::{
    Locations, has_program,
    script::{self, Word},
};

/// Text before a literal that names a program; later literals in the same expression are its arguments.
const BEFORE_A_PROGRAM: &[&str] = &[
    "Command::new(",
    "Program::find(",
    "Program::at(",
    "PROGRAM: &str =",
    "CLASSIC: &str =",
    ".exec(&[",
    "on_laptop(&[",
    "on_wire(&[",
    ".wire(&[",
    ".spawn(&[",
    "\n    &[",
    "run(inside, &[",
];

/// Text before a literal that is a script.
const BEFORE_A_SCRIPT: &[&str] = &[
    "shell(",
    "shell(&format!(",
    "laptop(",
    "laptop(&format!(",
    ".guest(",
    ".guest(&format!(",
    "let script =",
    "let script = format!(",
    "let setup = format!(",
    "let networkd = format!(",
];

/// Adds the programs that code runs. `location` returns the location of a line of the code.
pub fn collect(code: &str, location: &dyn Fn(usize) -> String, found: &mut Locations) {
    let literals = string_literals(code);
    for (index, literal) in literals.iter().enumerate() {
        let before = code.get(..literal.start).unwrap();
        let line = before.lines().count().max(1);
        let location = |inner: usize| location(line + inner - 1);
        let follows = |anchor: &&str| before.trim_end_matches(['&', '\n', ' ']).ends_with(anchor.trim_end());
        if BEFORE_A_PROGRAM.iter().any(follows) {
            script::collect_command(&command(code, literals.get(index..).unwrap()), &location, found);
        } else if BEFORE_A_SCRIPT.iter().any(follows) {
            script::collect(&literal.text, &location, found);
        }
    }
}

/// Returns the words of a command whose program is the first literal. Each argument that is not a literal
/// becomes one unknown word.
fn command(code: &str, literals: &[Literal]) -> Vec<Word> {
    let mut words = Vec::new();
    let mut end = None;
    for literal in literals {
        if let Some(end) = end {
            let between = code.get(end..literal.start).unwrap();
            if between.contains([';', '{', '}', '|']) {
                break;
            }
            let pieces =
                between.split(',').map(|piece| piece.replace([' ', '\n', '&', '[', ']', '(', ')'], ""));
            let unknown =
                pieces.filter(|piece| !["", ".args", ".arg", ".argformat!"].contains(&piece.as_str()));
            words.extend(unknown.map(|_| Word::Expanded("$unknown".to_owned())));
        }
        words.push(Word::Literal(literal.text.clone()));
        end = Some(literal.end);
    }
    words
}

struct Literal {
    start: usize,
    /// Byte offset after the closing quote.
    end: usize,
    /// The text with escapes resolved.
    text: String,
}

/// Returns the string literals of code, except those in comments.
fn string_literals(code: &str) -> Vec<Literal> {
    let mut literals = Vec::new();
    let mut start = 0;
    while let Some(rest) = code.get(start..).filter(|rest| !rest.is_empty()) {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("'\"'") {
            3
        } else if rest.starts_with("'\\\"'") {
            4
        } else if let Some((text, length)) = raw_string(rest).or_else(|| string(rest)) {
            literals.push(Literal { start, end: start + length, text });
            length
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
        start += length;
    }
    literals
}

/// Parses a raw string literal at the start of `rest`: its text, and the length of the whole literal in
/// bytes.
fn raw_string(rest: &str) -> Option<(String, usize)> {
    let hashes: String = rest.strip_prefix('r')?.chars().take_while(|character| *character == '#').collect();
    let body = rest.get(1 + hashes.len()..)?.strip_prefix('"')?;
    let length = body.find(&format!("\"{hashes}"))?;
    Some((body.get(..length)?.to_owned(), length + 3 + 2 * hashes.len()))
}

/// Parses a string literal with escapes, like [`raw_string`].
fn string(rest: &str) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut characters = rest.strip_prefix('"')?.char_indices().peekable();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((text, index + 2)),
            '\\' => match characters.next()?.1 {
                'n' => text.push('\n'),
                // An escaped newline and the indentation of the next line are not part of the string.
                '\n' => while characters.next_if(|(_, next)| next.is_whitespace()).is_some() {},
                escaped => text.push(escaped),
            },
            other => text.push(other),
        }
    }
    None
}

#[test]
fn programs_in_rust_are_found_by_constructor() {
    if !has_program("shfmt", "shfmt") {
        return;
    }
    let code = r##"
        // Command::new("commented")
        Command::new("sh").args(["-c", "one; two"]); said("three"); Program::find("four", &[]);
        world.shell(&format!("five {x} \"six\" | seven")); world.shell(r#"eight "nine""#);
        const PROGRAM: &str = "/usr/sbin/ten"; let c = '"'; Program::at("/no/such/eleven", &[]); Command::new(
            "twelve",
        ); Command::new("ip").args(["netns", "exec", &room.name, "thirteen", "-c", "fourteen"]).output();
        Command::new("nsenter").arg(format!("--net={x}")).args(["fifteen", "sixteen"]);
    "##;
    let mut found = Locations::new();
    collect(code, &|line| line.to_string(), &mut found);
    let found: Vec<String> = found.into_iter().map(|(program, line)| format!("{program}:{line}")).collect();
    assert_eq!(
        found.join(" "),
        "eight:4 fifteen:8 five:4 four:3 ip:7 nsenter:8 one:3 seven:4 sh:3 ten:5 thirteen:7 twelve:6 two:3"
    );
}
