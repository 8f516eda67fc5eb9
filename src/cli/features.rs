//! The features of this build: `--version` lists them, and a command that the build leaves out is refused by its name.

use std::sync::LazyLock;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// A cargo feature that a build may leave out.
struct Feature {
    name: &'static str,
    is_in: bool,
    commands: &'static [&'static str],
}

/// The features that users notice. Cargo.toml describes them.
const FEATURES: &[Feature] = &[
    Feature { name: "capture", is_in: cfg!(feature = "capture"), commands: &["capture"] },
    Feature { name: "completions", is_in: cfg!(feature = "completions"), commands: &["completions"] },
    Feature { name: "demo", is_in: cfg!(feature = "demo"), commands: &["demo"] },
    Feature { name: "doctor", is_in: cfg!(feature = "doctor"), commands: &["doctor"] },
    Feature { name: "drop-in", is_in: cfg!(feature = "drop-in"), commands: &[] },
    Feature { name: "fuller-help", is_in: cfg!(feature = "fuller-help"), commands: &[] },
    Feature { name: "metrics", is_in: cfg!(feature = "metrics"), commands: &["metrics"] },
    Feature { name: "pppd", is_in: cfg!(feature = "pppd"), commands: &[] },
    Feature { name: "report", is_in: cfg!(feature = "report"), commands: &["report"] },
    Feature { name: "setup", is_in: cfg!(feature = "setup"), commands: &["init", "edit", "import"] },
    Feature { name: "watch", is_in: cfg!(feature = "watch"), commands: &["watch"] },
];

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let names =
        |is_in| FEATURES.iter().filter(move |feature| feature.is_in == is_in).map(|feature| feature.name);
    let mut text = env!("CARGO_PKG_VERSION").to_owned();
    for (label, is_in) in [("with", true), ("without", false)] {
        let names: Vec<_> = names(is_in).collect();
        if !names.is_empty() {
            text += &format!("\n{label} {}", names.join(", "));
        }
    }
    text
});

/// Returns the version and the features of this build.
pub fn version() -> &'static str {
    &VERSION
}

/// Returns what to print if the command line is wrong because its command is not in this build.
pub fn lacking(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(command)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    (error.kind() == ErrorKind::InvalidSubcommand).then(|| refusal(FEATURES, command)).flatten()
}

fn refusal(features: &[Feature], command: &str) -> Option<String> {
    let left_out = |feature: &&Feature| !feature.is_in && feature.commands.contains(&command);
    let feature = features.iter().find(left_out)?;
    Some(format!(
        "this build has no command `{command}`: it was made without the feature `{}`\n  \
         - `pptpctl --version` lists the features; a build with all of them has the command",
        feature.name
    ))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::args::Args;

    #[test]
    fn commands_of_a_feature_are_there_if_it_is() {
        let line = Args::command();
        for feature in FEATURES {
            for command in feature.commands {
                assert_eq!(line.find_subcommand(command).is_some(), feature.is_in, "{command}");
                let tried = Args::try_parse_from(["pptpctl", command, "--help"]).unwrap_err();
                assert_eq!(lacking(&tried).is_none(), feature.is_in, "{command}");
            }
        }
        let unknown = Args::try_parse_from(["pptpctl", "frobnicate"]).unwrap_err();
        assert_eq!(lacking(&unknown), None);
    }

    #[test]
    fn refusal_names_command_and_feature() {
        let left_out = [Feature { name: "setup", is_in: false, commands: &["init", "edit"] }];
        let text = refusal(&left_out, "edit").unwrap();
        assert!(text.contains("no command `edit`") && text.contains("feature `setup`"), "{text}");
        assert_eq!(refusal(&left_out, "demo"), None);
        assert_eq!(refusal(FEATURES, "up"), None);
    }

    #[test]
    fn features_are_those_of_the_manifest() {
        let manifest = include_str!("../../Cargo.toml");
        let (_, features) = manifest.split_once("\n[features]\n").unwrap();
        let (features, _) = features.split_once("\n[").unwrap();
        let mut named: Vec<_> =
            features.lines().filter_map(|line| line.split_once(" = [")).map(|(name, _)| name).collect();
        named.retain(|name| !["default", "fuzzing", "router"].contains(name));
        assert_eq!(FEATURES.iter().map(|feature| feature.name).collect::<Vec<_>>(), named);
        for feature in FEATURES {
            let word = if feature.is_in { "with" } else { "without" };
            let line = version().lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
            assert!(
                line.is_some_and(|line| line.split(", ").any(|name| name == feature.name)),
                "{}",
                version()
            );
        }
    }
}
