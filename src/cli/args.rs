//! Command line arguments.

use std::{net::IpAddr, path::PathBuf};

use clap::{Parser, Subcommand};

use super::import::Import;
use crate::platform::Platform;

/// PPTP tunnels by name: brings them up, keeps them up, restores the host.
#[derive(Debug, Parser)]
#[command(name = "pptpctl", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(
    after_help = "`pptpctl demo` needs no server and changes nothing on this host. Profiles: pptpctl.toml(5); \
                        files and exit statuses: pptpctl(8)."
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
    /// Bring a tunnel up; return when it carries packets, or print which phase failed and why
    Up(Up),
    /// Take a tunnel down and restore the host
    Down {
        /// The profile
        #[arg(required_unless_present = "autostart")]
        name: Option<String>,
        /// Every profile with autostart = true
        #[arg(long, conflicts_with = "name")]
        autostart: bool,
    },
    /// Print the state of all tunnels, or the details of one
    Status {
        /// The profile
        name: Option<String>,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
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
    },
    /// Check this host and a profile step by step, and say what to do next
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
    },
    /// Write profiles from the configuration of another PPTP client
    Import(Import),
    /// Undo the changes that killed supervisors left on the host
    Recover,
    /// Bring up a tunnel between two temporary network namespaces
    Demo,
}

/// Arguments of `up`.
#[derive(Debug, clap::Args)]
pub struct Up {
    /// The profile
    #[arg(required_unless_present = "autostart")]
    pub name: Option<String>,
    /// Every profile with autostart = true, one after the other
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
}

fn platform(name: &str) -> Result<Platform, String> {
    let known = Platform::ALL.into_iter().find(|platform| platform.name() == name);
    known.ok_or_else(|| "one of linux, freebsd, openbsd and netbsd".to_owned())
}
