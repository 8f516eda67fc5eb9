//! Command line arguments.

use std::{net::IpAddr, path::PathBuf};

use clap::{Parser, Subcommand};

use crate::platform::Platform;

/// PPTP tunnels by name: brings them up, keeps them up, puts everything back.
#[derive(Debug, Parser)]
#[command(name = "pptpctl", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(
    after_help = "`pptpctl demo` needs no server and touches nothing on this host. How to write a profile: \
                        pptpctl.toml(5); files and exit statuses: pptpctl(8)."
)]
pub struct Args {
    /// Read profiles from FILE and profiles.d beside it (else: /etc/pptpctl for root, ~/.config/pptpctl)
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring a tunnel up; returns when it carries packets, or says which phase failed and why
    Up(Up),
    /// Take a tunnel down and put everything back
    Down {
        /// The profile
        #[arg(required_unless_present = "autostart")]
        name: Option<String>,
        /// Every profile with autostart = true
        #[arg(long, conflicts_with = "name")]
        autostart: bool,
    },
    /// Show where tunnels are: all, or one with its details
    Status {
        /// The profile
        name: Option<String>,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Show which way packets go while a tunnel is there, and why
    Routes {
        /// The profile
        name: String,
        /// Addresses to ask about; without any, all that the tunnel has done
        #[arg(value_name = "DEST")]
        destinations: Vec<IpAddr>,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// List the profiles and their state
    List {
        /// Only the names, one a line
        #[arg(long)]
        names: bool,
        /// As JSON, for programs
        #[arg(long, conflicts_with = "names")]
        json: bool,
    },
    /// Check all profiles: errors and doubtful settings
    Check,
    /// Show the log of a tunnel
    Logs {
        /// The profile
        name: String,
        /// Go on showing what comes
        #[arg(long, short)]
        follow: bool,
    },
    /// Undo what a supervisor that died has left
    Recover,
    /// Show a whole tunnel between two throw-away network namespaces
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
    /// Stay in the foreground until the tunnel ends; tells systemd when it is ready
    #[arg(long)]
    pub foreground: bool,
    /// Only show what would be done on this host, and how it would be undone
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: for a host of another system, linux, freebsd, openbsd or netbsd
    #[arg(long, requires = "dry_run", value_name = "SYSTEM", value_parser = platform)]
    pub platform: Option<Platform>,
}

fn platform(name: &str) -> Result<Platform, String> {
    let known = Platform::ALL.into_iter().find(|platform| platform.name() == name);
    known.ok_or_else(|| "one of linux, freebsd, openbsd and netbsd".to_owned())
}
