//! Compares the manual page, its examples and the example file with the reader.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

use std::{fs, io::ErrorKind, path::Path, process::Command, time::Duration};

use pptpctl::testing::{
    plan::{self, Facts, Ipv6, NextHop, Plan, Resolver},
    platform::Platform,
    profile::{
        Profiles, Style,
        schema::{self, Absent, Kind},
    },
};

#[test]
fn example_is_valid() {
    let profiles =
        Profiles::from_text(Path::new("profiles.example.toml"), &file("profiles.example.toml"), false);
    assert!(profiles.report().errors.is_empty(), "{}", profiles.report());
    let warnings: Vec<_> = profiles.report().warnings.iter().map(|warning| warning.title.as_str()).collect();
    assert_eq!(warnings, ["no encryption"], "warnings of profiles other than the old modem's");
    let names: Vec<_> = profiles.names().map(|name| name.as_str()).collect();
    assert_eq!(names, ["bezeq", "branch", "office", "reference", "vpn"]);
}

/// The profiles in the guides have no errors, and no warnings.
#[test]
fn profiles_of_the_guides_are_valid() {
    let mut found = 0;
    for document in ["README.md", "docs/LAPTOP.md", "docs/ROUTER.md", "docs/TUNNELS.md", "docs/CONTAINERS.md"]
    {
        let text = file(document);
        for block in text.split("```toml\n").skip(1).filter_map(|block| block.split("```").next()) {
            if block.contains("[profile.") {
                let report = Profiles::from_text(Path::new(document), block, false).report().clone();
                assert!(report.errors.is_empty() && report.warnings.is_empty(), "{document}: {report}");
                found += 1;
            }
        }
    }
    assert!(found >= 3, "{found} profiles");
}

/// Plans every profile of the example for every system: once the facts are known, no symbol is open, and
/// there are no more undo lines than steps.
#[test]
fn example_profiles_can_be_planned() {
    let profiles = Profiles::from_text(Path::new("x"), &file("profiles.example.toml"), false);
    let mut planned = 0;
    for (name, profile) in profiles.iter() {
        let profile = profile.unwrap();
        for platform in [Platform::Linux, Platform::FreeBsd, Platform::OpenBsd, Platform::NetBsd] {
            let transport = plan::transport(profile, platform);
            let network = plan::network(profile, platform, Path::new(platform.run_dir()));
            for plan in [&transport, &network] {
                let outside = profile.exclude.iter().map(|prefix| (*prefix, facts().next_hop)).collect();
                let resolved = plan.resolve(&Facts { outside, ..facts() });
                assert_eq!(resolved.open(), [], "{name} on {}:\n{resolved}", platform.name());
                let steps = resolved.steps.len();
                assert!(steps > 0 && resolved.undo_lines().count() <= steps, "{name}:\n{resolved}");
            }
            assert!(has(&transport, "tun"), "{name}:\n{transport}");
            // The plan has a route for each prefix of the profile.
            let prefixes = profile.routes.iter().map(|route| route.prefix.to_string());
            for prefix in prefixes.chain(profile.default_route.map(|_| "tun".to_owned())) {
                assert!(has(&network, &prefix), "{name} lacks {prefix}:\n{network}");
            }
            planned += 1;
        }
    }
    assert_eq!(planned, 5 * 4);
}

fn has(plan: &Plan, word: &str) -> bool {
    plan.lines().any(|line| line.contains(word))
}

/// Returns the facts of a host with one gateway and a peer with IPv6.
fn facts() -> Facts {
    Facts {
        server: Some("203.0.113.9".parse().unwrap()),
        next_hop: Some(NextHop::By {
            gateway: Some("192.0.2.1".parse().unwrap()),
            dev: "eth0".to_owned(),
            source: Some("192.0.2.2".parse().unwrap()),
        }),
        tun: Some("tun0".to_owned()),
        mtu: Some(1396),
        local: Some("10.77.10.100".parse().unwrap()),
        peer: Some("10.77.10.1".parse().unwrap()),
        ipv6: Ipv6::from_identifiers(2, 1),
        pid: Some(4711),
        dns: Some(vec!["10.77.10.53".parse().unwrap()]),
        resolver: Some(Resolver::Resolved),
        table: Some(plan::FIRST_TABLE),
        ..Facts::default()
    }
}

#[test]
fn reference_profile_shows_defaults() {
    let profiles = Profiles::from_text(Path::new("x"), &file("profiles.example.toml"), false);
    let (reference, plain) = (profiles.get("reference").unwrap(), profiles.get("office").unwrap());
    assert_eq!(reference.timeouts, plain.timeouts);
    assert_eq!(reference.retry, plain.retry);
    assert_eq!((reference.mppe, &reference.auth, reference.mtu), (plain.mppe, &plain.auth, plain.mtu));
    assert_eq!((reference.ppp.echo, reference.ppp.backend), (plain.ppp.echo, plain.ppp.backend));
    assert_eq!((reference.autostart, &reference.hooks), (plain.autostart, &plain.hooks));
    assert_eq!((reference.loglevel, reference.quirks), (plain.loglevel, plain.quirks));
}

#[test]
fn every_key_is_in_the_example() {
    let text = file("profiles.example.toml");
    let unsupported = text.split_once("does not do yet").map_or("", |(_, rest)| rest);
    for key in schema::KEYS.iter().map(|key| key.path) {
        let section = if is_supported(key) { text.as_str() } else { unsupported };
        let last = key.rsplit('.').next().unwrap();
        assert!(
            words(section).any(|word| word == key || word == last),
            "{key} is not in profiles.example.toml"
        );
    }
}

/// Returns whether this version implements the key, at least for some values.
fn is_supported(key: &str) -> bool {
    !schema::GATE.iter().any(|gate| {
        gate.works.is_empty()
            && (gate.key == key || key.strip_prefix(gate.key).is_some_and(|r| r.starts_with('.')))
    })
}

#[test]
fn every_key_is_in_the_manual() {
    let manual = file("man/pptpctl.toml.5");
    for key in schema::KEYS.iter().map(|key| key.path) {
        let item = |line: &str| line.starts_with(".It Ic ") && line.split([' ', ',']).any(|word| word == key);
        assert!(manual.lines().any(item), "no .It Ic {key}");
    }
    for line in manual.lines().filter_map(|line| line.strip_prefix(".It Ic ")) {
        for key in line.split(" , ").filter(|key| !key.contains(' ')) {
            assert!(
                schema::find(key).is_some(),
                "the manual documents {key}, which the reader does not accept"
            );
        }
    }
    // The manual marks each gated key as unsupported, and no other key.
    for gate in schema::GATE {
        let named = |item: &str| {
            item.lines().next().is_some_and(|line| line.split([' ', ',']).any(|word| word == gate.key))
        };
        let item = manual.split(".It Ic ").skip(1).find(|item| named(item)).unwrap();
        assert!(item.replace('\n', " ").to_lowercase().contains("supported yet"), "{}", gate.key);
    }
    let mentions_gates = manual.replace('\n', " ").to_lowercase().contains("supported yet");
    assert!(
        !mentions_gates || !schema::GATE.is_empty(),
        "the manual says \"supported yet\", but no key is refused"
    );
}

/// Returns the text on a key in the manual, on one line and without markup.
fn item(manual: &str, key: &str) -> String {
    let mut items = manual.split("\n.It Ic ").skip(1);
    let named = |item: &&str| item.lines().next().is_some_and(|line| line.split(' ').any(|word| word == key));
    let text = items.find(named).unwrap();
    let words: Vec<_> = text.split(['\n', ' ']).filter(|word| *word != ".Li").collect();
    words.join(" ").replace("\\(dq", "").replace(['[', ']'], "")
}

#[test]
fn manual_states_defaults_and_ranges() {
    let manual = file("man/pptpctl.toml.5");
    for key in schema::KEYS {
        let (path, text) = (key.path, item(&manual, key.path));
        if let Absent::Is(default) = key.absent {
            let forms = ["Default: {}", "{} (the default", "{}, the default"];
            let said = |form: &str| text.to_lowercase().contains(&form.replace("{}", default).to_lowercase());
            assert!(forms.into_iter().any(said), "{path}: {default}: {text}");
        }
        let (min, max) = match key.kind {
            Kind::Number(min, max, _) => (min.to_string(), max.to_string()),
            Kind::Time(min, max, _) => (plain(min), plain(max)),
            Kind::Word(allowed) | Kind::Words(allowed) => {
                for word in allowed {
                    assert!(words(&text).any(|said| said == *word), "{path}: {word}: {text}");
                }
                continue;
            }
            Kind::Flag | Kind::Text | Kind::Texts | Kind::List => continue,
        };
        let forms = [format!("{min} to {max}"), format!("at most {max}"), format!("At least {min}")];
        // The manual gives the limit of most phases once, and no limit where any sensible number fits.
        let elsewhere = path.starts_with("timeouts.") && (min.as_str(), max.as_str()) == ("100ms", "1h");
        let any = ["loglevel", "routes.metric", "routes.table", "retry.attempts"].contains(&path);
        assert!(
            elsewhere || any || forms.iter().any(|form| text.contains(form)),
            "{path}: {forms:?}: {text}"
        );
    }
    assert!(manual.contains("from 100ms to 1h unless stated otherwise"));
}

#[test]
fn example_states_defaults() {
    let text = file("profiles.example.toml");
    let reference = text.split_once("[profile.reference]").unwrap().1;
    for key in schema::KEYS {
        let Absent::Is(default) = key.absent else { continue };
        let start = format!("{} = ", key.path);
        let Some(rest) = reference.lines().find_map(|line| line.strip_prefix(&start)) else { continue };
        let value = rest.split('#').next().unwrap().trim().trim_matches(['[', ']', '"']);
        // `dns` shows a table.
        let said = value == default || rest.contains(&format!("default: {default}"));
        assert!(said || key.path.starts_with("dns"), "{start}{rest}");
    }
}

/// Formats a duration in its largest unit.
fn plain(time: Duration) -> String {
    let units = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let fits = |(_, unit): &(&str, u128)| time.as_millis().is_multiple_of(*unit);
    units.into_iter().find(fits).map(|(name, unit)| format!("{}{name}", time.as_millis() / unit)).unwrap()
}

#[test]
fn examples_in_the_manual_are_valid() {
    let manual = file("man/pptpctl.toml.5");
    let mut examples = 0;
    for part in manual.split(".Bd -literal -offset indent\n").skip(1) {
        let text = part.split(".Ed").next().unwrap();
        let profiles = Profiles::from_text(Path::new("example"), text, false);
        assert!(profiles.report().errors.is_empty(), "{}", profiles.report());
        examples += profiles.iter().count();
    }
    assert_eq!(examples, 6);
}

#[test]
fn manual_is_clean_mdoc() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/pptpctl.toml.5");
    let output = match Command::new("mandoc").args(["-Tlint"]).arg(path).output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return eprintln!("skipped: mandoc is not installed");
        }
        Err(error) => panic!("{error}"),
    };
    let output = String::from_utf8(output.stdout).unwrap();
    // Which other manual pages are installed depends on the host.
    let warnings: Vec<_> =
        output.lines().filter(|line| !line.contains("referenced manual not found")).collect();
    assert!(warnings.is_empty(), "{}", warnings.join("\n"));
}

#[test]
fn gates_reject_unsupported_keys() {
    let text = file("profiles.example.toml");
    let unsupported = text.split_once("are accepted.").map_or("", |(_, rest)| rest);
    // Each document mentions unsupported keys exactly if there are gates.
    for document in ["profiles.example.toml", "README.md", "man/pptpctl.toml.5"] {
        let text_lower = file(document).replace('\n', " ").to_lowercase();
        let mentions_gates =
            text_lower.contains("not supported yet") || text_lower.contains("does not do yet");
        assert_eq!(mentions_gates, !schema::GATE.is_empty(), "{document}");
    }
    let mut refused = 0;
    for line in
        unsupported.lines().filter_map(|line| line.strip_prefix('#')).filter(|line| line.contains(" = "))
    {
        let profile =
            format!("[profile.a]\nserver = 'a.example'\nuser = 'u'\npassword.fd = 3\nroutes = []\n{line}\n");
        let profiles = Profiles::from_text(Path::new("x"), &profile, false);
        let text_lower = profiles.report().render(Style::Plain);
        assert!(
            text_lower.contains("not supported yet") && profiles.get("a").is_err(),
            "{line}\n{text_lower}"
        );
        refused += 1;
    }
    // Compare the gates and the example by top-level key.
    let top = |key: &str| key.split(['.', ' ']).next().unwrap_or_default().to_owned();
    let shown: std::collections::BTreeSet<String> = unsupported
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| line.contains(" = "))
        .map(top)
        .collect();
    let gates: std::collections::BTreeSet<String> = schema::GATE.iter().map(|gate| top(gate.key)).collect();
    assert!(gates.is_subset(&shown) && refused >= gates.len(), "{gates:?} {shown:?}");
}

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && !"-._".contains(c)).map(|word| word.trim_matches('.'))
}
