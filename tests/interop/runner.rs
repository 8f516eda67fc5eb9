//! Runs cases one after the other, in the manner of libtest: same arguments, same closing line.

use std::{
    cell::RefCell,
    env, fmt, fs,
    os::unix::process::CommandExt,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use crate::lab::Lab;

/// One case: `module::name`, and what it does. It fails by panicking.
pub type Case = (&'static str, fn(&Lab));

thread_local! {
    static TRANSCRIPT: RefCell<String> = const { RefCell::new(String::new()) };
    static REPORT: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Adds to what is shown when the present case fails.
pub fn note(text: impl fmt::Display) {
    TRANSCRIPT.with_borrow_mut(|transcript| transcript.push_str(&format!("{text}\n")));
}

/// Adds a figure to the closing report; figures never decide.
pub fn report(line: impl fmt::Display) {
    REPORT.with_borrow_mut(|report| report.push(line.to_string()));
}

/// Where a failed case leaves its captures and logs.
pub fn artifacts() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop")
}

/// Picks, runs and counts.
pub fn main(cases: &[Case]) -> ExitCode {
    let choice = Choice::from_args();
    let chosen: Vec<Case> = cases.iter().filter(|(name, _)| choice.takes(name)).copied().collect();
    if choice.list {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if chosen.is_empty() {
        return summary(0, &[], cases.len());
    }
    if env::var_os("LAB").is_none() {
        return enter_lab(chosen.len());
    }
    let _stale = fs::remove_dir_all(artifacts());
    let lab = Lab::open();
    // Said once, under the case that it belongs to.
    panic::set_hook(Box::new(|panic| note(format_args!("{panic}"))));
    println!("\nrunning {} tests", chosen.len());
    let failed: Vec<&str> = chosen.iter().filter(|case| !run(&lab, case)).map(|(name, _)| *name).collect();
    REPORT.with_borrow(|report| {
        if !report.is_empty() {
            println!("\nfor information:");
            report.iter().for_each(|line| println!("    {line}"));
        }
    });
    summary(chosen.len(), &failed, cases.len() - chosen.len())
}

fn run(lab: &Lab, (name, case): &Case) -> bool {
    TRANSCRIPT.take();
    lab.begin(name);
    let started = Instant::now();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| case(lab)));
    let took = started.elapsed().as_secs_f32();
    println!("test {name} ... {} ({took:.1} s)", if outcome.is_ok() { "ok" } else { "FAILED" });
    if outcome.is_err() {
        println!("---- {name}\n{}", TRANSCRIPT.take());
        lab.keep_evidence(&artifacts().join(name.replace("::", "-")));
        lab.clean_up_after_failure();
    }
    outcome.is_ok()
}

fn summary(ran: usize, failed: &[&str], filtered: usize) -> ExitCode {
    if !failed.is_empty() {
        println!("\nfailures (evidence in {}):", artifacts().display());
        failed.iter().for_each(|name| println!("    {name}"));
    }
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    let passed = ran - failed.len();
    println!(
        "\ntest result: {word}. {passed} passed; {} failed; 0 ignored; 0 measured; {filtered} filtered out\n",
        failed.len()
    );
    ExitCode::from(u8::from(!failed.is_empty()))
}

/// Becomes `lab run` of this program, or says what is missing.
fn enter_lab(cases: usize) -> ExitCode {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/lab");
    let missing = Command::new(&script).arg("missing").output().unwrap();
    let missing = String::from_utf8_lossy(&missing.stdout).trim().to_owned();
    let lack = if !nix::unistd::geteuid().is_root() {
        "root is needed".to_owned()
    } else if !missing.is_empty() {
        format!("missing: {missing} (contrib/test installs them)")
    } else {
        let error = Command::new(script)
            .arg("run")
            .arg(env::current_exe().unwrap())
            .args(env::args_os().skip(1))
            .exec();
        format!("the lab does not start: {error}")
    };
    let must = env::var("CI").is_ok_and(|ci| ci == "true");
    println!("\n{} {cases} interoperability tests: {lack}", if must { "cannot run" } else { "skipping" });
    println!(
        "\ntest result: {}. 0 passed; 0 failed; {cases} ignored; 0 measured; 0 filtered out\n",
        if must { "FAILED" } else { "ok" }
    );
    ExitCode::from(u8::from(must))
}

/// The part of libtest's command line that means something here; the rest is accepted and ignored.
struct Choice {
    filters: Vec<String>,
    skip: Vec<String>,
    exact: bool,
    list: bool,
}

impl Choice {
    fn from_args() -> Self {
        let mut choice = Self { filters: Vec::new(), skip: Vec::new(), exact: false, list: false };
        let mut args = env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--list" => choice.list = true,
                "--exact" => choice.exact = true,
                "--skip" => choice.skip.extend(args.next()),
                "--format" | "--test-threads" | "--color" | "-Z" => drop(args.next()),
                flag if flag.starts_with('-') => {}
                filter => choice.filters.push(filter.to_owned()),
            }
        }
        choice
    }

    fn takes(&self, name: &str) -> bool {
        let matches =
            |filter: &String| if self.exact { name == filter } else { name.contains(filter.as_str()) };
        (self.filters.is_empty() || self.filters.iter().any(matches)) && !self.skip.iter().any(matches)
    }
}
