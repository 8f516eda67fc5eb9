//! Finds the programs that a shell script runs, by the syntax tree from shfmt(1).

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{Locations, has_program, root};

/// Builtin commands of the shell.
const BUILTIN: &[&str] = &[
    ".", ":", "[", "break", "cd", "command", "compgen", "continue", "echo", "eval", "exec", "exit", "export",
    "false", "getopts", "kill", "local", "mapfile", "printf", "pwd", "read", "return", "set", "shift",
    "shopt", "source", "test", "trap", "true", "type", "ulimit", "umask", "unset", "wait",
];

/// Programs that run another program: the name, its options with a value, and the number of words between the
/// options and the other program.
const RUNNERS: &[(&str, &[&str], usize)] = &[
    ("command", &[], 0),
    ("env", &["-u"], 0),
    ("exec", &["-a"], 0),
    ("flock", &[], 1),
    ("nice", &["-n"], 0),
    ("nohup", &[], 0),
    ("nsenter", &["-t"], 0),
    ("setpriv", &["--pdeathsig"], 0),
    ("timeout", &["-k", "-s"], 1),
    ("unshare", &["--propagation"], 0),
    ("xargs", &["-n", "-I"], 0),
];

/// Program directories of Debian and the BSDs.
const DIRECTORIES: &[&str] = &["/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/lib/", "/lib/"];

/// A library of functions that scripts source.
const LIBRARY: &str = "tests/lab/guest-lib";

/// The names of a script's functions.
type Functions = BTreeSet<String>;

/// A word of a command.
#[derive(Debug)]
pub enum Word {
    /// A word without expansions.
    Literal(String),
    /// A word with expansions, as written, without the outer quotes.
    Expanded(String),
}

impl Word {
    fn text(&self) -> &str {
        let (Self::Literal(text) | Self::Expanded(text)) = self;
        text
    }
}

/// Returns whether a file is a script (by its first line) or the library.
pub fn is_script(path: &Path, text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    path == Path::new(LIBRARY)
        || first.starts_with("#!") && (first.contains("/sh") || first.contains("/bash"))
}

/// Adds the programs of a script. `location` returns the location of a line of the script.
pub fn collect(script: &str, location: &dyn Fn(usize) -> String, found: &mut Locations) {
    collect_script(script, &BTreeSet::new(), location, found);
}

/// Adds the programs of a command. `location` returns the location of a line of the command.
pub fn collect_command(words: &[Word], location: &dyn Fn(usize) -> String, found: &mut Locations) {
    if let Some(Word::Literal(path)) = words.first() {
        add(path, location, found); // Also if it has the name of a builtin command.
    }
    collect_program(words, &BTreeSet::new(), location, found);
}

fn collect_script(
    script: &str,
    outer: &Functions,
    location: &dyn Fn(usize) -> String,
    found: &mut Locations,
) {
    let tree = syntax_tree(script, &location(1));
    let mut functions = functions_of(&tree);
    functions.extend(outer.iter().cloned());
    if script.contains(LIBRARY.rsplit('/').next().unwrap()) {
        let library = fs::read_to_string(root().join(LIBRARY)).unwrap();
        functions.append(&mut functions_of(&syntax_tree(&library, LIBRARY)));
    }
    walk(&tree, &mut |node| {
        if node["Type"] == "CallExpr"
            && let Some(words) = node["Args"].as_array()
        {
            let words: Vec<Word> = words.iter().map(|word| word_of(word, script)).collect();
            let line = number(node, "/Pos/Line");
            collect_program(&words, &functions, &|inner| location(line + inner - 1), found);
        }
    });
}

/// Adds the program of a command, unless it is a builtin command or a function, and the programs that it runs
/// by its arguments.
fn collect_program(
    words: &[Word],
    functions: &Functions,
    location: &dyn Fn(usize) -> String,
    found: &mut Locations,
) {
    let Some((first, mut rest)) = words.split_first() else { return };
    let Word::Literal(path) = first else { return };
    if !functions.contains(path) && !BUILTIN.contains(&path.as_str()) {
        add(path, location, found);
    }
    let name = base_name(path);
    let words_before = match name.as_str() {
        "trap" | "eval" => {
            let script = rest.first().map_or("", Word::text);
            return collect_script(script.trim_start_matches('-'), functions, location, found);
        }
        "sh" | "bash" => {
            let at = rest.iter().position(|word| word.text().starts_with('-') && word.text().ends_with('c'));
            let script = at.and_then(|at| rest.get(at + 1)).map_or("", Word::text);
            return collect_script(script, &BTreeSet::new(), location, found);
        }
        "ip" => match rest.iter().position(|word| word.text() == "exec") {
            Some(exec) => exec + 2,
            None => return,
        },
        _ => {
            let Some((_, with_value, before)) = RUNNERS.iter().find(|(runner, ..)| *runner == name) else {
                return;
            };
            while let Some((word, after)) = rest.split_first() {
                let word = word.text();
                if name == "command" && word == "-v" {
                    return; // Only tests whether the program exists.
                } else if with_value.contains(&word) {
                    rest = after.get(1..).unwrap_or_default();
                } else if word.starts_with('-') || (name == "env" && word.contains('=')) {
                    rest = after;
                } else {
                    break;
                }
            }
            *before
        }
    };
    collect_program(rest.get(words_before..).unwrap_or_default(), functions, location, found);
}

/// Adds a program, unless its path is outside the program directories, such as a script of this repository.
fn add(path: &str, location: &dyn Fn(usize) -> String, found: &mut Locations) {
    if !path.contains('/') || DIRECTORIES.iter().any(|directory| path.starts_with(directory)) {
        found.entry(base_name(path)).or_insert_with(|| location(1));
    }
}

fn functions_of(tree: &Value) -> Functions {
    let mut functions = BTreeSet::new();
    walk(tree, &mut |node| {
        if node["Type"] == "FuncDecl" {
            functions.insert(node.pointer("/Name/Value").unwrap().as_str().unwrap().to_owned());
        }
    });
    functions
}

fn syntax_tree(script: &str, location: &str) -> Value {
    let mut child = Command::new("shfmt")
        .args(["--to-json", "--language-dialect", "bash"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{location}: shfmt(1) cannot parse this:\n{script}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn word_of(word: &Value, script: &str) -> Word {
    let literal: Option<String> = word["Parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| match (part["Type"].as_str(), part["Parts"].as_array().map(Vec::as_slice)) {
            (Some("Lit" | "SglQuoted"), _) => part["Value"].as_str(),
            (Some("DblQuoted"), Some([inner])) if inner["Type"] == "Lit" => inner["Value"].as_str(),
            _ => None,
        })
        .collect();
    match literal {
        // In a script from a Rust literal, braces are placeholders of format!.
        Some(text) if !text.contains('{') => Word::Literal(text),
        Some(text) => Word::Expanded(text),
        None => Word::Expanded(
            script
                .get(number(word, "/Pos/Offset")..number(word, "/End/Offset"))
                .unwrap()
                .trim_matches('"')
                .to_owned(),
        ),
    }
}

fn number(node: &Value, pointer: &str) -> usize {
    usize::try_from(node.pointer(pointer).unwrap().as_u64().unwrap()).unwrap()
}

fn walk(node: &Value, visit: &mut dyn FnMut(&Value)) {
    visit(node);
    match node {
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        Value::Object(fields) => fields.values().for_each(|field| walk(field, visit)),
        _ => {}
    }
}

fn base_name(path: &str) -> String {
    Path::new(path).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

#[test]
fn script_is_parsed_as_shell() {
    if !has_program("shfmt", "shfmt") {
        return;
    }
    let script = r#"
        # commented out
        own() { one "$@"; }
        own two; x=1 three | four && ! five <<END || $6 six
seven
END
        case $x in eight) nine;; esac; [ -e ten ] && command -v eleven; x=$(twelve)
        ip netns exec c timeout -k 5 300 /usr/bin/thirteen fourteen; ip -n c link set up; /etc/fifteen; ./sixteen
        unshare --mount --propagation private -- bash -euc 'seventeen "$1"; exec eighteen' x
        trap 'eval "twenty-four"' EXIT
        env -u A B=c nineteen; in="$(twenty "21 $(twenty-two)")"; exec 9<>"$file"; {up} twenty-three
    "#;
    let mut found = Locations::new();
    collect(script, &|line| line.to_string(), &mut found);
    let found: Vec<String> = found.into_iter().map(|(program, line)| format!("{program}:{line}")).collect();
    assert_eq!(
        found.join(" "),
        "bash:9 eighteen:9 env:11 five:4 four:4 ip:8 nine:7 nineteen:11 one:3 seventeen:9 thirteen:8 three:4 timeout:8 \
         twelve:7 twenty:11 twenty-four:10 twenty-two:11 unshare:9"
    );
}
