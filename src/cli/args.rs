//! Command line arguments.

use std::{net::IpAddr, path::PathBuf};

#[cfg(feature = "completions")]
use clap::ValueEnum;
use clap::{Parser, Subcommand};

#[cfg(feature = "capture")]
use super::capture::Capture;
#[cfg(feature = "setup")]
use super::import::Import;
use super::{features, pause};
use crate::platform::Platform;

/// PPTP tunnels by name: brings them up, keeps them up, restores the host.
#[derive(Debug, Parser)]
#[command(name = "pptpctl", version, long_version = features::version(), max_term_width = 100, disable_help_subcommand = true)]
#[cfg_attr(
    feature = "demo",
    command(
        after_help = "`pptpctl demo` needs no server and changes nothing on this host. Profiles: pptpctl.toml(5); \
                        files and exit statuses: pptpctl(8)."
    )
)]
#[cfg_attr(
    not(feature = "demo"),
    command(after_help = "Profiles: pptpctl.toml(5); files and exit statuses: pptpctl(8).")
)]
pub struct Args {
    /// Read profiles from FILE and profiles.d beside it (default: /etc/pptpctl for root, ~/.config/pptpctl)
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a profile and the file of its password: asks for what they need, shows the plan, and connects
    #[cfg(feature = "setup")]
    Init(Init),
    /// Open the file of a profile in $VISUAL or $EDITOR, check it, and replace it
    #[cfg(feature = "setup")]
    Edit {
        /// The profile
        name: String,
    },
    /// Bring a tunnel up; return when it carries packets, or print which phase failed and why
    #[command(visible_alias = "start")]
    Up(Up),
    /// Take a tunnel down and restore the host
    #[command(visible_alias = "stop")]
    Down {
        /// The profile
        #[arg(required_unless_present = "autostart")]
        name: Option<String>,
        /// Every profile with autostart = true, the last first, several at the same time
        #[arg(long, conflicts_with = "name")]
        autostart: bool,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Take a tunnel down, if it is up, and bring it up again with its profile as it is now
    Restart(Restart),
    /// Read the profile of a tunnel again, and apply what can change while the tunnel is up
    Reload(Reload),
    /// Dial a tunnel again at once; its routes and its kill switch stay
    Redial {
        /// The profile
        name: String,
        /// Wait until the tunnel is up again
        #[arg(long)]
        wait: bool,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// With leak = "block": let the login page of a captive portal through for a bounded time
    Pause {
        /// The profile
        name: String,
        /// Length of the pause, such as 10m or 90s, at most 30m
        #[arg(long = "for", value_name = "TIME", default_value = "5m", value_parser = pause::seconds)]
        length: u32,
        /// End the pause now
        #[arg(long, conflicts_with = "length")]
        end: bool,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Print the state of all tunnels, or the details of one
    Status {
        /// The profile
        name: Option<String>,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Print what happens to a tunnel, or to all, as JSON lines until it ends
    Events {
        /// The profile
        name: Option<String>,
        /// Seconds from one line with the counters to the next (default: 10)
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3600))]
        interval: Option<u32>,
    },
    /// Show all tunnels, or one, on the whole screen, with what changes
    #[cfg(feature = "watch")]
    Watch {
        /// The profile
        name: Option<String>,
    },
    /// Print states and counters of all tunnels in the OpenMetrics format, for Prometheus
    #[cfg(feature = "metrics")]
    Metrics {
        /// Write them to FILE, for the textfile collector of node_exporter: FILE is replaced as a whole
        #[arg(long, value_name = "FILE")]
        textfile: Option<PathBuf>,
    },
    /// Print where packets are sent while a tunnel is up, and why
    Routes {
        /// The profile
        name: String,
        /// Destination addresses; without any, print all routes and rules of the tunnel
        #[arg(value_name = "DEST")]
        destinations: Vec<IpAddr>,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// List the profiles and their states
    List {
        /// Only the names, one per line
        #[arg(long)]
        names: bool,
        /// As JSON, for programs
        #[arg(long, conflicts_with = "names")]
        json: bool,
    },
    /// Check all profiles for errors and doubtful settings
    Check {
        /// As profiles for another system: linux, freebsd, openbsd or netbsd
        #[arg(long, value_name = "SYSTEM", value_parser = platform)]
        platform: Option<Platform>,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Check this host and a profile step by step, and say what to do next
    #[cfg(feature = "doctor")]
    Doctor {
        /// The profile; without it, this host and every profile if there are few
        name: Option<String>,
        /// Also dial: log in to the server, and close the connection before its addresses are used
        #[arg(long, requires = "name")]
        dial: bool,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Print the log of a tunnel
    Logs {
        /// The profile
        name: String,
        /// Continue to print new lines
        #[arg(long, short)]
        follow: bool,
        /// Print JSON lines for programs
        #[arg(long)]
        json: bool,
    },
    /// Write what passes between this host and the server to a pcapng file
    #[cfg(feature = "capture")]
    Capture(Capture),
    /// Write a file for a bug report about a tunnel, without passwords, with names and addresses replaced
    #[cfg(feature = "report")]
    Report {
        /// The profile
        name: String,
        /// Write it to FILE, which must not exist (default: pptpctl-report-TIME.txt in this directory)
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Write profiles from the configuration of another PPTP client
    #[cfg(feature = "setup")]
    Import(Import),
    /// Undo the changes that killed supervisors left on the host
    Recover {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Bring up a tunnel between two temporary network namespaces
    #[cfg(feature = "demo")]
    Demo,
    /// Print a script with which a shell completes commands, options and profile names
    #[cfg(feature = "completions")]
    Completions {
        /// bash, zsh or fish
        #[arg(hide_possible_values = true)]
        shell: Shell,
        /// The program whose command line it completes: pptpctl or pptp
        #[arg(default_value = "pptpctl", hide_possible_values = true)]
        program: Program,
    },
}

/// A shell with completions.
#[cfg(feature = "completions")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash(1)
    Bash,
    /// zsh(1)
    Zsh,
    /// fish(1)
    Fish,
}

/// A program with completions.
#[cfg(feature = "completions")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Program {
    /// pptpctl(8)
    Pptpctl,
    /// pptp(8)
    Pptp,
}

/// Arguments of `init`.
#[cfg(feature = "setup")]
#[derive(Debug, clap::Args)]
pub struct Init {
    /// The new profile
    #[arg(value_name = "NAME")]
    pub new: String,
    /// Name or address of the server, or HOST:PORT
    #[arg(long, value_name = "HOST")]
    pub server: Option<String>,
    /// User on the server, or DOMAIN\name
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Domain of the user
    #[arg(long, value_name = "DOMAIN")]
    pub domain: Option<String>,
    /// Use the password in this file, which stays where it is
    #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
    pub password_file: Option<PathBuf>,
    /// Store the password that is the first line of standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// A network that is reached through the tunnel; may be repeated
    #[arg(long, value_name = "PREFIX", value_delimiter = ',')]
    pub route: Vec<String>,
    /// All traffic goes through the tunnel
    #[arg(long, conflicts_with = "route")]
    pub default: bool,
    /// Ask nothing: what is not given has its default; do not connect
    #[arg(long)]
    pub yes: bool,
    /// With --yes: as JSON, for programs
    #[arg(long, requires = "yes")]
    pub json: bool,
}

/// Arguments of `restart`.
#[derive(Debug, clap::Args)]
pub struct Restart {
    /// The profile
    #[arg(required_unless_present = "autostart")]
    pub name: Option<String>,
    /// Every profile with autostart = true, one after the other
    #[arg(long, conflicts_with = "name")]
    pub autostart: bool,
    /// As with `up`
    #[arg(long)]
    pub wait: bool,
    /// Print JSON for programs: what `down --json` prints, then the lines of `up --json`
    #[arg(long, conflicts_with = "autostart")]
    pub json: bool,
}

/// Arguments of `reload`.
#[derive(Debug, clap::Args)]
pub struct Reload {
    /// The profile
    pub name: String,
    /// Also apply the keys that need another dial, and dial again
    #[arg(long)]
    pub redial: bool,
    /// Only print the difference
    #[arg(long)]
    pub dry_run: bool,
    /// As JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `up`.
#[derive(Debug, Default, clap::Args)]
pub struct Up {
    /// The profile
    #[arg(required_unless_present = "autostart")]
    pub name: Option<String>,
    /// Every profile with autostart = true, several at the same time
    #[arg(long, conflicts_with_all = ["name", "foreground"])]
    pub autostart: bool,
    /// Wait until the tunnel is up or has failed for good, also if retry.from-start is set or another `up` has begun
    #[arg(long, conflicts_with_all = ["foreground", "dry_run"])]
    pub wait: bool,
    /// Keep trying from the first attempt, as with retry.from-start = true in the profile: for service managers
    #[arg(long, conflicts_with = "dry_run")]
    pub from_start: bool,
    /// Stay in the foreground until the tunnel ends; notify systemd when it is up
    #[arg(long)]
    pub foreground: bool,
    /// Print the steps that would be performed on this host, and how they are undone
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: the steps for another system: linux, freebsd, openbsd or netbsd
    #[arg(long, requires = "dry_run", value_name = "SYSTEM", value_parser = platform)]
    pub platform: Option<Platform>,
    /// What is printed.
    #[command(flatten)]
    pub progress: Progress,
}

/// What `up` prints while the tunnel comes up.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Progress {
    /// Print failures only
    #[arg(long, short, conflicts_with_all = ["verbose", "json", "dry_run"])]
    pub quiet: bool,
    /// Also print the beginning and the time limit of each phase
    #[arg(long, short, conflicts_with_all = ["json", "dry_run"])]
    pub verbose: bool,
    /// Print JSON lines for programs, as `pptpctl events` does
    #[arg(long, conflicts_with_all = ["autostart", "dry_run"])]
    pub json: bool,
}

fn platform(name: &str) -> Result<Platform, String> {
    let known = Platform::ALL.into_iter().find(|platform| platform.name() == name);
    known.ok_or_else(|| "one of linux, freebsd, openbsd and netbsd".to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;

    /// Commands with an output that is for programs anyway, or that is a screen, an editor or a demonstration.
    const WITHOUT_JSON: [&str; 6] = ["edit", "events", "watch", "metrics", "demo", "completions"];

    #[test]
    fn each_command_with_a_result_has_json() {
        let all = Args::command();
        let lacking = all
            .get_subcommands()
            .filter(|command| !command.get_arguments().any(|argument| argument.get_long() == Some("json")));
        let lacking: BTreeSet<&str> = lacking.map(clap::Command::get_name).collect();
        assert!(lacking.iter().all(|name| WITHOUT_JSON.contains(name)), "{lacking:?}");
    }
}
