//! Every program that the scripts, the tests and the code run by name is in `contrib/packages.txt`, so that
//! `contrib/test` installs it on a fresh machine. A program that was installed by hand hides a missing line until the
//! tests run on another machine.
//!
//! A name that is computed, or that stands where `rust.rs` does not look, is not seen here. `contrib/test` finds it: the
//! `PATH` of the tests has the programs of the list, and of the packages that they depend on, and no others.

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

/// Programs, and a place that runs each: a path from the top of the repository, with the line.
type Places = BTreeMap<String, String>;

const LIST: &str = "contrib/packages.txt";

#[test]
fn every_program_run_by_name_is_in_the_package_list() {
    let Some(run) = programs_run_by_name() else { return };
    let listed = listed_programs();
    let missing: Vec<String> = run
        .iter()
        .filter(|(program, _)| !listed.contains(*program))
        .map(|(program, place)| format!("{place}: {program} is in no line of {LIST}"))
        .collect();
    assert!(
        missing.is_empty(),
        "\n{}\nadd the program to the line of its Debian package",
        missing.join("\n")
    );
}

#[test]
fn the_package_list_has_no_program_that_nothing_runs() {
    let Some(run) = programs_run_by_name() else { return };
    let unused: Vec<String> =
        listed_programs().into_iter().filter(|program| !run.contains_key(program)).collect();
    assert!(unused.is_empty(), "{LIST}: nothing runs {unused:?}");
}

/// Asked of dpkg(1), for the packages that are installed. In CI all must be that `contrib/test` installs on this system
/// before its first layer.
#[test]
fn every_program_belongs_to_the_package_of_its_line() {
    if !have("dpkg-query", "dpkg") {
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
            Some(there) => {
                let lack = programs.iter().filter(|program| !there.contains(*program));
                wrong.extend(lack.map(|program| format!("{package} has no {program}")));
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

/// A line of the list.
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
        // Some have a path.
        let programs = words.map(|program| program.rsplit('/').next().unwrap().to_owned()).collect();
        Line { sets, package, programs }
    });
    lines.collect()
}

fn listed_programs() -> BTreeSet<String> {
    package_list().into_iter().flat_map(|line| line.programs).collect()
}

/// Those of all scripts and Rust files; `None` where shfmt(1) is missing and may be.
fn programs_run_by_name() -> Option<&'static Places> {
    static FOUND: OnceLock<Option<Places>> = OnceLock::new();
    FOUND.get_or_init(|| have("shfmt", "shfmt").then(find_programs_run_by_name)).as_ref()
}

fn find_programs_run_by_name() -> Places {
    let mut found = Places::new();
    for file in [".ci", "contrib", "tests", "benches", "src"]
        .iter()
        .flat_map(|place| files_below(&root().join(place)))
    {
        let path = file.strip_prefix(root()).unwrap();
        let Ok(mut text) = fs::read_to_string(&file) else { continue };
        if path.starts_with("tests/programs") {
            // The examples at the end name programs that nothing runs.
            text.truncate(text.find("#[test]").unwrap_or(text.len()));
        }
        let place = |line: usize| format!("{}:{line}", path.display());
        if path.extension().is_some_and(|extension| extension == "rs") {
            rust::collect(&text, &place, &mut found);
        } else if script::is_one(path, &text) {
            script::collect(&text, &place, &mut found);
        }
    }
    found
}

/// Whether a program is there. In CI it must be.
fn have(program: &str, package: &str) -> bool {
    let there =
        env::split_paths(&env::var_os("PATH").unwrap()).any(|directory| directory.join(program).exists());
    assert!(there || !in_ci(), "{program} is missing: the Debian package {package}");
    if !there {
        println!("skipped: {program} is missing (Debian package {package})");
    }
    there
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
