//! Runs the cases one after the other under libtest-mimic: arguments and output are those of libtest.

use std::{
    cell::{OnceCell, RefCell},
    env, fmt, fs,
    os::unix::process::CommandExt,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::lab::Lab;

/// One case: `module::name`, and the function that fails by panicking.
pub type Case = (&'static str, fn(&Lab));

thread_local! {
    static LAB: OnceCell<Lab> = const { OnceCell::new() };
    static TRANSCRIPT: RefCell<String> = const { RefCell::new(String::new()) };
    static REPORT: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Adds a line to the text that is printed when the present case fails.
pub fn note(text: impl fmt::Display) {
    TRANSCRIPT.with_borrow_mut(|transcript| transcript.push_str(&format!("{text}\n")));
}

/// Adds a figure to the closing report. Figures never decide whether a case passes.
pub fn report(line: impl fmt::Display) {
    REPORT.with_borrow_mut(|report| report.push(line.to_string()));
}

/// The directory in which a failed case leaves its captures and logs.
pub fn artifacts() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop")
}

/// Runs the cases that the arguments select.
pub fn main(cases: &[Case]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The cases share one lab, and the thread that owns it.
    arguments.test_threads = Some(1);
    let is_selected =
        |name: &str| arguments.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
    let mut ignored = false;
    if !arguments.list && cases.iter().any(|(name, _)| is_selected(name)) {
        if env::var_os("LAB").is_none() {
            let reason = enter_lab();
            let required = env::var("CI").is_ok_and(|ci| ci == "true");
            println!("{}: {reason}", if required { "cannot run" } else { "skipping all tests" });
            if required {
                return ExitCode::FAILURE;
            }
            ignored = true;
        } else {
            let _stale = fs::remove_dir_all(artifacts());
            LAB.with(|lab| assert!(lab.set(Lab::open()).is_ok()));
            // The message of a panic is printed once, with the transcript of its case.
            panic::set_hook(Box::new(|panic| note(format_args!("{panic}"))));
        }
    }
    let trial = |(name, case): &Case| {
        let (name, case) = (*name, *case);
        Trial::test(name, move || run(name, case)).with_ignored_flag(ignored)
    };
    let conclusion = libtest_mimic::run(&arguments, cases.iter().map(trial).collect());
    REPORT.with_borrow(|report| {
        if !report.is_empty() {
            println!("\nfor information:");
            report.iter().for_each(|line| println!("    {line}"));
            println!();
        }
    });
    conclusion.exit_code()
}

fn run(name: &str, case: fn(&Lab)) -> Result<(), Failed> {
    LAB.with(|lab| {
        let lab = lab.get().unwrap();
        TRANSCRIPT.take();
        lab.begin(name);
        let started = Instant::now();
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| case(lab)));
        if outcome.is_ok() {
            return Ok(());
        }
        let evidence = artifacts().join(name.replace("::", "-"));
        lab.keep_evidence(&evidence);
        lab.clean_up_after_failure();
        let took = started.elapsed().as_secs_f32();
        Err(format!("{}after {took:.1} s; evidence in {}", TRANSCRIPT.take(), evidence.display()).into())
    })
}

/// Executes `lab run` with this program, which does not return, or returns why that is impossible.
fn enter_lab() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/lab");
    let missing = Command::new(&script).arg("missing").output().unwrap();
    let missing = String::from_utf8_lossy(&missing.stdout).trim().to_owned();
    if !nix::unistd::geteuid().is_root() {
        return "root is needed".to_owned();
    }
    if !missing.is_empty() {
        return format!("missing: {missing} (contrib/test installs them)");
    }
    let mut lab = Command::new(script);
    lab.arg("run").arg(env::current_exe().unwrap()).args(env::args_os().skip(1));
    format!("the lab does not start: {}", lab.exec())
}
