//! Checks that every program which scripts, tests and code run by name is in `contrib/packages.txt`, so that
//! `contrib/test` installs it on a fresh machine. Otherwise a manually installed program hides a missing line
//! until the tests run on another machine.
//!
//! Computed names, and names in expressions that `rust.rs` does not recognise, are not found here. They fail
//! in `contrib/test`: its `PATH` contains only the programs of the listed packages and of their dependencies.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a file of this repository that cannot be read fails the test; what is skipped is printed"
)]

mod debian;
mod rust;
mod script;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// Programs, each with one location that runs it (path relative to the repository, and line).
type Locations = BTreeMap<String, String>;

const LIST: &str = "contrib/packages.txt";

#[test]
fn every_program_run_by_name_is_in_the_package_list() {
    let Some(run) = programs_run_by_name() else { return };
    let listed = listed_programs();
    let missing: Vec<String> = run
        .iter()
        .filter(|(program, _)| !listed.contains(*program))
        .map(|(program, location)| format!("{location}: {program} is in no line of {LIST}"))
        .collect();
    assert!(
        missing.is_empty(),
        "\n{}\nadd the program to the line of its Debian package",
        missing.join("\n")
    );
}

#[test]
fn package_list_has_no_unused_program() {
    let Some(run) = programs_run_by_name() else { return };
    let unused: Vec<String> =
        listed_programs().into_iter().filter(|program| !run.contains_key(program)).collect();
    assert!(unused.is_empty(), "{LIST}: nothing runs {unused:?}");
}

/// Checks the installed packages by dpkg(1). In CI every package must be installed that `contrib/test`
/// installs before its first layer.
#[test]
fn every_program_belongs_to_the_package_of_its_line() {
    if !has_program("dpkg-query", "dpkg") {
        return;
    }
    let essential = debian::essential_packages();
    let mut wrong = Vec::new();
    for Line { sets, package, programs } in package_list().into_iter().filter(|line| line.package != "-") {
        let base = sets.iter().any(|set| set == "base");
        if base && (sets.len() > 1 || !essential.contains(&package)) {
            wrong.push(format!("{package} is not essential, and no essential package depends on it"));
        }
        match debian::programs_of(&package) {
            Some(installed) => {
                let missing = programs.iter().filter(|program| !installed.contains(*program));
                wrong.extend(missing.map(|program| format!("{package} has no {program}")));
            }
            None if in_ci()
                && sets
                    .iter()
                    .any(|set| ["base", "unit", "namespaces", "interop"].contains(&set.as_str())) =>
            {
                wrong.push(format!("{package} is not installed"));
            }
            None => {}
        }
    }
    assert!(wrong.is_empty(), "{LIST}:\n{}", wrong.join("\n"));
}

/// A line of the package list.
struct Line {
    sets: Vec<String>,
    package: String,
    programs: Vec<String>,
}

fn package_list() -> Vec<Line> {
    let text = fs::read_to_string(root().join(LIST)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let lines = lines.map(|line| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let sets = words.next().unwrap().split(',').map(str::to_owned).collect();
        let package = words.next().unwrap();
        // Programs may have a path.
        let programs = words.map(|program| program.rsplit('/').next().unwrap().to_owned()).collect();
        Line { sets, package, programs }
    });
    lines.collect()
}

fn listed_programs() -> BTreeSet<String> {
    package_list().into_iter().flat_map(|line| line.programs).collect()
}

/// Returns the programs run by all scripts and Rust files; `None` if shfmt(1) is missing outside CI.
fn programs_run_by_name() -> Option<&'static Locations> {
    static FOUND: OnceLock<Option<Locations>> = OnceLock::new();
    FOUND.get_or_init(|| has_program("shfmt", "shfmt").then(find_programs_run_by_name)).as_ref()
}

fn find_programs_run_by_name() -> Locations {
    let mut found = Locations::new();
    for file in [".ci", "contrib", "tests", "benches", "src"]
        .iter()
        .flat_map(|directory| files_below(&root().join(directory)))
    {
        let path = file.strip_prefix(root()).unwrap();
        let Ok(mut text) = fs::read_to_string(&file) else { continue };
        if path.starts_with("tests/programs") {
            // The tests at the end of the file contain fictitious program names.
            text.truncate(text.find("#[test]").unwrap_or(text.len()));
        }
        let location = |line: usize| format!("{}:{line}", path.display());
        if path.extension().is_some_and(|extension| extension == "rs") {
            rust::collect(&text, &location, &mut found);
        } else if script::is_script(path, &text) {
            script::collect(&text, &location, &mut found);
        }
    }
    found
}

/// Returns whether a program is in `PATH`. In CI it must be.
fn has_program(program: &str, package: &str) -> bool {
    let is_installed =
        env::split_paths(&env::var_os("PATH").unwrap()).any(|directory| directory.join(program).exists());
    assert!(is_installed || !in_ci(), "{program} is missing: the Debian package {package}");
    if !is_installed {
        println!("skipped: {program} is missing (Debian package {package})");
    }
    is_installed
}

fn in_ci() -> bool {
    env::var_os("CI").is_some()
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
