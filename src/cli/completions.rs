//! `completions`: scripts with which a shell completes the command lines of both programs.

use std::iter::once;

use clap::{Arg, ArgAction, Command, CommandFactory, builder::PossibleValue};
use clap_complete::{
    Generator,
    aot::{Bash, Fish, Zsh},
};

use super::{
    args::{Args, Program, Shell},
    exit::{self, Code},
    output::{error, text},
};
use crate::{dropin, platform::Platform};

/// Stands for the names of the profiles in the scripts of clap_complete.
const NAME: &str = "NAME_OF_A_PROFILE";

/// The command that prints the names of the profiles. One that fails completes nothing.
const NAMES: &str = "pptpctl list --names 2>/dev/null";

pub fn main(shell: Shell, program: Program) -> Code {
    match script(shell, program) {
        Ok(script) => {
            text(script);
            exit::OK
        }
        Err(wrong) => {
            error(wrong);
            exit::INTERNAL
        }
    }
}

/// Returns the script of a shell for a program.
fn script(shell: Shell, program: Program) -> Result<String, String> {
    let mut command = match program {
        Program::Pptpctl => pptpctl(),
        Program::Pptp => pptp(),
    };
    command.build();
    match shell {
        Shell::Bash => generate(Bash, &command).map(|script| script.replace(NAME, &format!("$({NAMES})"))),
        Shell::Zsh => generate(Zsh, &command).map(|script| zsh_with_names(&script)),
        Shell::Fish => generate(Fish, &command).map(|script| script + &fish_values(&command)),
    }
}

/// Returns the command line of `pptpctl`, with the values of its arguments.
fn pptpctl() -> Command {
    let platforms = Platform::ALL.map(Platform::name);
    Args::command().mut_subcommands(|one| {
        one.mut_args(|argument| match argument.get_id().as_str() {
            "name" if argument.is_positional() => argument.value_parser([NAME]),
            "platform" => argument.value_parser(platforms),
            _ => argument,
        })
    })
}

fn generate(shell: impl Generator, command: &Command) -> Result<String, String> {
    let mut bytes = Vec::new();
    let named = command.clone().bin_name(command.get_name().to_owned());
    shell.try_generate(&named, &mut bytes).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

/// Returns the command line of `pptp`, which has a parser of its own.
fn pptp() -> Command {
    let options = dropin::options::rows().map(|(name, argument, help)| {
        let option = Arg::new(name).long(name).help(help);
        match argument {
            Some(argument) => option.value_name(argument).action(ArgAction::Set),
            None => option.action(ArgAction::SetTrue),
        }
    });
    Command::new("pptp")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(options)
        .arg(Arg::new("hostname").value_hint(clap::ValueHint::Hostname))
}

/// Puts a function that adds the names in the place of their stand-in.
fn zsh_with_names(script: &str) -> String {
    let function = format!(
        "(( $+functions[_pptpctl_names] )) ||\n_pptpctl_names() {{\n    local -a names\n    \
         names=(${{(f)\"$({NAMES})\"}})\n    compadd -a names\n}}\n\n_pptpctl() {{"
    );
    script.replacen("_pptpctl() {", &function, 1).replace(&format!("({NAME})"), "_pptpctl_names")
}

/// Returns lines for the arguments that are no options, which clap_complete leaves out.
fn fish_values(command: &Command) -> String {
    let mut lines = String::new();
    for one in command.get_subcommands() {
        let words: Vec<&str> = once(one.get_name()).chain(one.get_visible_aliases()).collect();
        for argument in one.get_positionals() {
            let values = argument.get_possible_values();
            let values: Vec<&str> = values.iter().map(PossibleValue::get_name).collect();
            let values = values.join(" ").replace(NAME, &format!("({NAMES})"));
            if !values.is_empty() {
                let condition = format!("__fish_pptpctl_using_subcommand {}", words.join(" "));
                lines += &format!("complete -c pptpctl -n \"{condition}\" -f -a \"{values}\"\n");
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_of_pptpctl_ask_for_names_where_a_command_has_one() {
        let count = |shell, text: &str| script(shell, Program::Pptpctl).unwrap().matches(text).count();
        let command = Args::command();
        let has_name =
            |one: &&Command| one.get_arguments().any(|it| it.get_id() == "name" && it.is_positional());
        let with_name: Vec<_> = command.get_subcommands().filter(has_name).collect();
        let aliases = with_name.iter().map(|one| one.get_visible_aliases().count()).sum::<usize>();
        let commands = with_name.len();
        assert!(commands >= 7 && aliases >= 2, "{commands} {aliases}");
        assert_eq!(count(Shell::Bash, NAMES), commands);
        assert_eq!(count(Shell::Zsh, ":_pptpctl_names'"), commands + aliases);
        assert_eq!(count(Shell::Zsh, NAMES), 1);
        assert_eq!(count(Shell::Fish, NAMES), commands);
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            assert_eq!(count(shell, NAME), 0);
            assert!(count(shell, "openbsd") >= 2);
        }
    }

    #[test]
    fn scripts_of_pptp_have_every_option() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell, Program::Pptp).unwrap();
            for (name, ..) in dropin::options::rows() {
                assert!(script.contains(name), "{shell:?}: {name}");
            }
        }
    }
}
