//! Checks documents against the code: README, ARCHITECTURE and others, the manual page and the systemd unit.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a document that can't be read fails the test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use clap::CommandFactory;
use pptpctl::testing::{
    cli::{args::Args, exit},
    engine::statistics,
    failure::{FailureKind, Remedy},
    profile::schema,
};

const DOCUMENTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "contrib/README.md",
    "docs/ADDING.md",
    "docs/ATTACKS.md",
    "docs/BENCHMARKS.md",
    "docs/CONTAINERS.md",
    "docs/CONTROL.md",
    "docs/LAPTOP.md",
    "docs/MIGRATING.md",
    "docs/MUTANTS.md",
    "docs/PLATFORMS.md",
    "docs/REFERENCE.md",
    "docs/RELEASING.md",
    "docs/ROUTER.md",
    "docs/TROUBLESHOOTING.md",
    "docs/TUNNELS.md",
];

/// Prefixes that identify a path in a document.
const PATH_PREFIXES: &[&str] = &["src/", "tests/", "man/", "contrib/", "fuzz/", ".ci/", "docs/"];

#[test]
fn module_table_matches_the_import_test() {
    let text = read("ARCHITECTURE.md");
    let mut documented = BTreeMap::new();
    for row in table_below(&text, "## Modules") {
        let [module, _, uses] = row.as_slice() else { panic!("a row with other than three cells: {row:?}") };
        documented.insert(code_spans(module).concat(), code_spans(uses).into_iter().collect::<BTreeSet<_>>());
    }
    assert_eq!(documented, allowed_imports());
}

/// ARCHITECTURE.md has at most 250 lines of at most 110 columns, so that it can be read at once.
#[test]
fn architecture_stays_short() {
    let text = read("ARCHITECTURE.md");
    assert!(text.lines().count() <= 250, "{} lines", text.lines().count());
    for (number, line) in text.lines().enumerate() {
        assert!(line.chars().count() <= 110, "ARCHITECTURE.md:{}: longer than 110 columns", number + 1);
    }
}

#[test]
fn every_path_in_the_documents_exists() {
    let mut missing = Vec::new();
    for document in DOCUMENTS {
        let text = read(document);
        let named =
            code_spans(&text).into_iter().filter(|span| PATH_PREFIXES.iter().any(|p| span.starts_with(p)));
        let linked = links(&text).into_iter().map(|link| match Path::new(document).parent() {
            Some(parent) => parent.join(link).to_string_lossy().into_owned(),
            None => link,
        });
        for path in named.chain(linked) {
            // For a command, check the first word; for a pattern, its directory.
            let path = path.split(' ').next().unwrap_or_default();
            let path = match path.split_once('*') {
                Some((before, _)) => before.rsplit_once('/').map_or(".", |(directory, _)| directory),
                None => path,
            };
            if !root().join(path).exists() {
                missing.push(format!("{document}: {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn table_of_readme_names_existing_paths() {
    let text = read("README.md");
    for row in table_below(&text, "## Where things are") {
        for path in code_spans(row.first().map_or("", String::as_str)) {
            assert!(root().join(&path).exists(), "README.md: {path}");
        }
    }
}

#[test]
fn documents_mention_only_existing_commands() {
    let command = Args::command();
    let known: BTreeSet<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for document in DOCUMENTS {
        let text = code_of(&read(document));
        for (_, line) in text.match_indices("pptpctl ").map(|(at, _)| (at, &text[at + 8..])) {
            let line = line.lines().next().unwrap_or_default();
            let line = line.split(['#', '|', ';', '`']).next().unwrap_or_default();
            let Some(word) = line.split_whitespace().next() else { continue };
            if !word.chars().all(|c| c.is_ascii_lowercase()) {
                continue;
            }
            assert!(known.contains(word), "{document}: pptpctl {word}");
            let subcommand = command.find_subcommand(word).unwrap();
            for option in line.split_whitespace().filter_map(|word| word.strip_prefix("--")) {
                let all = long_options(subcommand).into_iter().chain(long_options(&command));
                assert!(
                    all.collect::<Vec<_>>().contains(&option.to_owned()),
                    "{document}: {word} --{option}"
                );
            }
        }
    }
}

#[test]
fn every_key_in_the_documents_is_in_the_schema() {
    let tables: BTreeSet<&str> =
        schema::KEYS.iter().filter_map(|key| Some(key.path.split_once('.')?.0)).collect();
    let is_key = |word: &str| word.split_once('.').is_some_and(|(table, _)| tables.contains(table));
    for document in DOCUMENTS {
        for span in code_spans(&read(document)) {
            let key = span.split([' ', '=']).next().unwrap_or_default();
            // A file name such as `pf.conf` would be taken for a key if a table had that name.
            assert!(!is_key(key) || schema::find(key).is_some(), "{document}: `{key}`");
        }
    }
    let page = read("man/pptpctl.8");
    for key in page.lines().filter_map(|line| line.strip_prefix(".Ic ")) {
        let key = key.split(' ').next().unwrap_or_default();
        let known = schema::find(key).is_some() || tables.contains(key);
        assert!(known, "man/pptpctl.8: .Ic {key}");
    }
}

#[test]
fn manual_page_has_every_command_and_option() {
    let page = read("man/pptpctl.8");
    let command = Args::command();
    for subcommand in command.get_subcommands() {
        let name = subcommand.get_name();
        let entry = entry_of(&page, &format!(".It Cm {name}"));
        for long in long_options(subcommand) {
            assert!(entry.contains(&format!("Fl -{long}")), "man/pptpctl.8: {name} --{long}");
        }
        assert!(page.contains(&format!("\n.Cm {name}\n")), "man/pptpctl.8, SYNOPSIS: {name}");
    }
    for long in long_options(&command).into_iter().chain(["help".to_owned(), "version".to_owned()]) {
        assert!(page.contains(&format!("\n.It Fl -{long}")), "man/pptpctl.8: --{long}");
    }
    // Conversely, every documented command must exist.
    let known: BTreeSet<_> = command.get_subcommands().map(|c| c.get_name()).collect();
    for line in page.lines().filter_map(|line| line.strip_prefix(".It Cm ")) {
        let name = line.split(' ').next().unwrap_or_default();
        assert!(known.contains(name), "man/pptpctl.8: there is no command {name}");
    }
}

#[test]
fn manual_page_has_every_exit_status() {
    let page = read("man/pptpctl.8");
    let section = page.split(".Sh EXIT STATUS").nth(1).and_then(|rest| rest.split("\n.Sh ").next()).unwrap();
    let mut rows = BTreeMap::new();
    for item in section.split("\n.It ").skip(1) {
        let (number, words) = item.split_once('\n').unwrap();
        let words = words.replace('\n', " ");
        assert!(
            rows.insert(number.parse::<u8>().unwrap(), words).is_none(),
            "exit status {number} is listed twice"
        );
    }
    for kind in FailureKind::ALL {
        let code = kind.exit_code();
        let row = rows.get(&code).unwrap_or_else(|| panic!("no row for {code}, {kind:?}"));
        assert!(row.contains(kind.words()), "{code}: {row:?} does not contain {:?}", kind.words());
    }
    let cli_codes = [
        exit::OK,
        exit::USAGE,
        exit::PROFILE,
        exit::NOT_ROOT,
        exit::ALREADY_UP,
        exit::NOT_UP,
        exit::NO_NAMESPACES,
    ];
    let mut codes: BTreeSet<u8> = FailureKind::ALL.iter().map(|kind| kind.exit_code()).collect();
    codes.extend(cli_codes.map(|code| code.number()));
    assert_eq!(rows.keys().copied().collect::<BTreeSet<_>>(), codes);
    assert_eq!(
        (exit::INTERNAL.number(), exit::NOT_UNDONE.number()),
        (1, 23),
        "the manual page states these two numbers"
    );
}

/// Each failure has an entry under its own words, with its status, and no entry is left over.
#[test]
fn troubleshooting_has_every_failure() {
    let text = read("docs/TROUBLESHOOTING.md");
    let mut entries: BTreeMap<&str, &str> =
        text.split("\n### ").skip(1).map(|entry| entry.split_once('\n').unwrap_or((entry, ""))).collect();
    for kind in FailureKind::ALL {
        let entry = entries.remove(kind.words()).unwrap_or_else(|| panic!("no entry: {}", kind.words()));
        let status = format!("Status {}", kind.exit_code());
        let rest = entry.trim_start().strip_prefix(&status);
        assert!(rest.is_some_and(|rest| rest.starts_with([',', '.'])), "{}: no {status}", kind.words());
    }
    assert!(entries.is_empty(), "{:?}", entries.keys());
}

#[test]
fn manual_page_has_every_counter() {
    let page = read("man/pptpctl.8");
    let section = page.split(".Sh COUNTERS").nth(1).and_then(|rest| rest.split("\n.Sh ").next()).unwrap();
    let rows: Vec<_> = section.split("\n.It Li ").skip(1).map(|row| row.split_once('\n').unwrap()).collect();
    assert!(rows.iter().all(|(_, words)| words.len() > 10), "a counter without a description");
    let documented: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
    let names = statistics::names();
    let missing: Vec<_> = names.iter().filter(|name| !documented.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "man/pptpctl.8, COUNTERS, has no {missing:?}");
    assert_eq!(
        documented.len(),
        names.len(),
        "man/pptpctl.8 has a counter twice, or one that does not exist"
    );
}

#[test]
fn manual_pages_pass_mandoc_lint() {
    let pages: Vec<PathBuf> = fs::read_dir(root().join("man"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e.len() == 1))
        .collect();
    assert!(!pages.is_empty());
    // The style level warns about references to pages that are not installed.
    let checked = Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).args(&pages).output();
    match checked {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        Err(error) if std::env::var_os("CI").is_none() => println!("not checked: mandoc: {error}"),
        Err(error) => panic!("mandoc: {error}"),
    }
}

/// A service is started again after exactly those failures that a new attempt may overcome.
#[test]
fn systemd_units_prevent_restarts_after_final_failures_only() {
    let cli = [exit::USAGE, exit::PROFILE, exit::NOT_ROOT, exit::ALREADY_UP, exit::NOT_UP];
    let cli = cli.into_iter().chain([exit::NO_NAMESPACES]);
    let finals: BTreeSet<u8> =
        cli.filter(|code| code.is_final()).map(exit::Code::number).chain(final_kinds()).collect();
    // runit and s6 have the list in a script.
    for script in ["contrib/runit/finish", "contrib/s6/finish"] {
        let text = read(script);
        let list = text
            .lines()
            .find_map(|line| line.split_once(')').filter(|_| line.contains(" | 19 | ")))
            .unwrap()
            .0;
        let list: BTreeSet<u8> = list.split(" | ").map(|code| code.parse().unwrap()).collect();
        assert_eq!(list, finals, "{script}");
    }
    for (name, starts) in
        [("pptpctl@", "\nType=notify\n"), ("pptpctl-autostart", "/pptpctl up --autostart --from-start\n")]
    {
        let unit = read(&format!("contrib/systemd/{name}.service"));
        let list = |key: &str| -> BTreeSet<u8> {
            let value = unit.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            value.split_whitespace().map(|code| code.parse().unwrap()).collect()
        };
        assert_eq!(list("RestartPreventExitStatus="), finals, "{name}");
        let success =
            if name == "pptpctl@" { vec![FailureKind::Interrupted.exit_code()] } else { Vec::new() };
        assert_eq!(list("SuccessExitStatus="), success.into_iter().collect(), "{name}");
        assert!(unit.contains(starts) && unit.contains("\nRestart=on-failure\n"), "{name}");
    }
    assert!(read("contrib/systemd/pptpctl@.service").contains("/pptpctl up --foreground --from-start %i\n"));
    for kind in FailureKind::ALL {
        assert_eq!(exit::Code::of_kind(kind).is_final(), final_kinds().any(|code| code == kind.exit_code()));
    }
}

fn final_kinds() -> impl Iterator<Item = u8> {
    let is_final = |k: &FailureKind| k.usual_remedy() == Remedy::Nothing && *k != FailureKind::Interrupted;
    FailureKind::ALL.into_iter().filter(is_final).map(FailureKind::exit_code)
}

#[test]
fn documents_name_the_oldest_rust_version() {
    let version = env!("CARGO_PKG_RUST_VERSION");
    assert!(read("README.md").contains(&format!("Rust {version} or newer")));
    assert!(read("contrib/ports/netbsd/net/pptpctl/Makefile").contains(&format!("RUST_REQ=\t{version}.0\n")));
}

#[test]
fn changelog_has_this_version() {
    assert!(read("CHANGELOG.md").contains(&format!("\n## [{}]", env!("CARGO_PKG_VERSION"))));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Parses the constant `ALLOWED` of `tests/imports.rs`, which is another program.
fn allowed_imports() -> BTreeMap<String, BTreeSet<String>> {
    let text = read("tests/imports.rs");
    let start = text.find("const ALLOWED").unwrap();
    let constant = text[start..].split("\n];").next().unwrap();
    let rows = constant.split("\n    (").skip(1);
    rows.map(|row| {
        let mut words = row.split('"').skip(1).step_by(2).map(str::to_owned);
        (words.next().unwrap(), words.collect())
    })
    .collect()
}

/// Returns the cells of the first table below a heading, without the header and delimiter rows.
fn table_below(text: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, rest) = text.split_once(&format!("{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let rows =
        rest.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.skip(2)
        .map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

/// Returns the text between backticks, outside code blocks.
fn code_spans(text: &str) -> Vec<String> {
    let mut spans = Vec::new();
    for (at, part) in text.split("```").enumerate() {
        if at % 2 == 0 {
            spans.extend(part.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " ")));
        }
    }
    spans
}

/// Returns all code blocks, then all code spans.
fn code_of(text: &str) -> String {
    let blocks: Vec<&str> = text.split("```").skip(1).step_by(2).collect();
    format!("{}\n{}", blocks.join("\n"), code_spans(text).join("\n"))
}

/// Returns the targets of links to files of this repository.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

fn long_options(command: &clap::Command) -> Vec<String> {
    command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned).collect()
}

/// Returns the text between this item and the item of the next command.
fn entry_of<'a>(page: &'a str, item: &str) -> &'a str {
    let start = page
        .match_indices(item)
        .find(|(at, _)| page[at + item.len()..].starts_with([' ', '\n']))
        .unwrap_or_else(|| panic!("man/pptpctl.8 has no {item}"))
        .0;
    let rest = &page[start + item.len()..];
    rest.split("\n.It Cm ").next().unwrap_or(rest)
}
