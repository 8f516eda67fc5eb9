//! The exact diagnostics of profiles: `NAME.out` has the expected output for each
//! `tests/profile_cases/NAME.toml`. After an intended change run with `UPDATE_CASES=1` and review the
//! difference.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use pptpctl::testing::{
    platform::Platform,
    profile::{Profiles, Style},
};

/// `link.rdomain` and `link.fib` are rejected on other systems; on their own system, conflicting keys are
/// rejected.
#[test]
fn routing_domain_and_fib_are_limited_to_one_system() {
    let titles = |keys: &str, platform: Platform| -> Vec<String> {
        let profile = format!(
            "[profile.a]\nserver='a.example'\nuser='u'\npassword.fd=3\nroutes=['10.0.0.0/8']\n{keys}\n"
        );
        let profiles = Profiles::from_text_for(Path::new("f"), &profile, true, platform);
        assert_eq!(profiles.get("a").is_ok(), profiles.report().errors.is_empty());
        profiles.report().errors.iter().map(|error| error.title.clone()).collect()
    };
    for platform in Platform::ALL {
        let assert_limited_to = |key: &str, only: Platform, refusal: &str| {
            let wanted: Vec<&str> = if platform == only { Vec::new() } else { vec![refusal] };
            assert_eq!(titles(&format!("link.{key} = 3"), platform), wanted, "{platform:?}");
        };
        assert_limited_to(
            "rdomain",
            Platform::OpenBsd,
            "routing domains exist on OpenBSD only: `link.rdomain`",
        );
        assert_limited_to("fib", Platform::FreeBsd, "FIBs exist on FreeBSD only: `link.fib`");
    }
    assert_eq!(titles("link.rdomain = 254", Platform::OpenBsd), ["`link.rdomain` = 254"]);
    let both = "link.fib = 3\nleak = 'block'\nexclude = ['10.1.0.0/16']";
    assert_eq!(titles(both, Platform::FreeBsd), ["`leak` beside `link.fib`", "`exclude` beside `link.fib`"]);
    assert_eq!(
        titles("link.fib = 3\nppp.backend = 'ppp'", Platform::FreeBsd),
        ["`link.fib` needs the builtin PPP"]
    );
}

#[test]
fn netbsd_has_one_routing_table() {
    let profile = "[profile.a]\nserver='a.example'\nuser='u'\npassword.fd=3\n\
                   routes=[{ to = '10.0.0.0/8', table = 5 }]\n";
    for platform in Platform::ALL {
        let profiles = Profiles::from_text_for(Path::new("f"), profile, true, platform);
        let errors = &profiles.report().errors;
        let titles: Vec<&str> = errors.iter().map(|error| error.title.as_str()).collect();
        let refused = ["`routes.table` is not supported on NetBSD"];
        assert_eq!(
            titles,
            if platform == Platform::NetBsd { refused.as_slice() } else { &[] },
            "{platform:?}"
        );
    }
}

#[test]
fn route_labels_are_limited_to_openbsd() {
    let titles = |keys: &str, platform: Platform| -> Vec<String> {
        let profile = format!("[profile.a]\nserver='a.example'\nuser='u'\npassword.fd=3\n{keys}\n");
        let profiles = Profiles::from_text_for(Path::new("f"), &profile, true, platform);
        let report = profiles.report();
        report.errors.iter().chain(&report.warnings).map(|message| message.title.clone()).collect()
    };
    let labels = "link.rtlabel = 'vpn'\nroutes = ['10.0.0.0/8', { to = '192.0.2.0/24', label = 'branch' }]";
    assert_eq!(titles(labels, Platform::OpenBsd), [""; 0]);
    for platform in [Platform::Linux, Platform::FreeBsd, Platform::NetBsd] {
        let refused = ["link.rtlabel", "routes.label"]
            .map(|key| format!("labels of routes exist on OpenBSD only: `{key}`"));
        assert_eq!(titles(labels, platform), refused, "{platform:?}");
    }
    assert_eq!(titles("link.rtlabel = 'vpn'", Platform::OpenBsd), ["a label without a route"]);
    assert_eq!(titles("link.rtlabel = 'vpn'\npeer-routes = true", Platform::OpenBsd), [""; 0]);
}

#[test]
fn cases_match_expected_output() {
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(cases.len() >= 8, "{cases:?}");
    for case in cases {
        let text = fs::read_to_string(&case).unwrap();
        let name = case.file_name().unwrap();
        let profiles = Profiles::from_text(Path::new(name), &text, true);
        let usable = profiles.iter().filter(|(_, profile)| profile.is_some()).map(|(name, _)| name.as_str());
        let usable = usable.collect::<Vec<_>>().join(" ");
        let output = format!("{}\n\nusable: {usable}\n", profiles.report().render(Style::Plain));
        let expected = case.with_extension("out");
        if std::env::var_os("UPDATE_CASES").is_some() {
            fs::write(&expected, &output).unwrap();
        }
        if fs::read_to_string(&expected).unwrap_or_default() != output {
            wrong.push(format!("{}:\n{output}", expected.display()));
        }
        assert!(!output.contains("hunter2"), "{output}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn colours_appear_only_in_colour_style() {
    let profiles = Profiles::from_text(Path::new("f"), "x = 1", true);
    assert!(!profiles.report().render(Style::Plain).contains('\u{1b}'));
    assert!(profiles.report().render(Style::Terminal { is_colour: true, columns: None }).contains('\u{1b}'));
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let text =
        "[profile.\"a\u{1b}[2J\"]\n\"\\u001b[31mkey\" = \"\u{202e}x\"\n[profile.b]\nuser = \"\\u001b[2J\"\n";
    let rendered = Profiles::from_text(Path::new("f\u{1b}[2J"), text, true).report().render(Style::Plain);
    assert!(!rendered.contains('\u{1b}') && !rendered.contains('\u{202e}'), "{rendered:?}");
}

#[test]
fn columns_count_characters() {
    let profiles =
        Profiles::from_text(Path::new("f"), "[profile.a]\nuser = \"ü\"\nserver = [\"ä\"]\r\n", true);
    let at = profiles
        .report()
        .errors
        .iter()
        .filter_map(|finding| finding.at.clone())
        .find(|at| at.line == 3)
        .unwrap();
    assert_eq!(at.origin().to_string(), "f:3:11");
}

#[test]
fn lookup_error_suggests_name_or_lists_errors() {
    let text = "[profile.office]\nserver = 1\nuser = 'u'\npassword.fd = 3\n\
                [profile.home]\nserver = 'a.example'\nuser = 'u'\npassword.fd = 3\n";
    let profiles = Profiles::from_text(Path::new("f"), text, true);
    assert_eq!(profiles.get("home").unwrap().user, "u");
    assert_eq!(
        profiles.get("hoem").unwrap_err().to_string(),
        "error: there is no profile `hoem`\n |\n = help: did you mean `home`?"
    );
    let broken = profiles.get("office").unwrap_err().to_string();
    assert!(broken.contains("bad value for `server`") && broken.contains("f:2:10"), "{broken}");
    let unknown = Profiles::from_text(Path::new("f"), "[", true).get("x").unwrap_err().to_string();
    assert!(unknown.contains("there is no profile `x`") && unknown.contains("this is not TOML"), "{unknown}");
}

fn cases() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/profile_cases");
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    paths.sort();
    paths
}
