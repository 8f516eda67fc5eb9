//! The command line of `pptp`: one table, parsed as getopt_long(3) does.
//!
//! Options may precede or follow the host, may be abbreviated to a unique prefix, take `--name=value` or
//! `--name value`, and end at `--`. The first word that is not an option is the host, the others are passed
//! to the PPP daemon. No I/O: returns options, or an error with the classic program's exit status.

use std::{net::Ipv4Addr, time::Duration};

use crate::pptp::quirks::Quirks;

/// Exit status for an invalid command line.
const USAGE: u8 = 1;
/// Exit status for a value out of range.
const RANGE: u8 = 2;

/// Identifies an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Version,
    Help,
    Phone,
    NoLaunch,
    Quirks,
    Debug,
    Sync,
    Timeout,
    NoBuffer,
    IdleWait,
    MaxEchoWait,
    LogString,
    LocalBind,
    LogLevel,
    RtMark,
    NoHostRoute,
    MissingWindow,
    TestType,
    TestRate,
}

/// A row of the table: option, name, its argument's name if it takes one, text for `--help`.
struct Row(Name, &'static str, Option<&'static str>, &'static str);

const TABLE: &[Row] = &[
    Row(Name::Version, "version", None, "print the version and exit"),
    Row(Name::Help, "help", None, "print this text and exit"),
    Row(Name::Phone, "phone", Some("number"), "pass this number to the server"),
    Row(
        Name::NoLaunch,
        "nolaunchpppd",
        None,
        "do not start a PPP daemon: it has started pptp, as its pty or device",
    ),
    Row(Name::Quirks, "quirks", Some("quirk"), "work around a server's deviation: BEZEQ_ISRAEL"),
    Row(Name::Debug, "debug", None, "stay in the session of the caller"),
    Row(Name::Sync, "sync", None, "synchronous framing; the PPP daemon must use it too"),
    Row(Name::Timeout, "timeout", Some("secs"), "longest wait for reordered packets, 0.01 to 10 (0.3)"),
    Row(Name::NoBuffer, "nobuffer", None, "do not wait for reordered packets"),
    Row(Name::IdleWait, "idle-wait", Some("secs"), "idle time before an echo request; 0 for none (60)"),
    Row(
        Name::MaxEchoWait,
        "max-echo-wait",
        Some("secs"),
        "longest wait for a message after it; 0 for ever (60)",
    ),
    Row(Name::LogString, "logstring", Some("name"), "name in syslog messages (anon)"),
    Row(Name::LocalBind, "localbind", Some("addr"), "bind to this address"),
    Row(Name::LogLevel, "loglevel", Some("level"), "0 no packets, 1 late and duplicate ones, 2 all (1)"),
    Row(Name::RtMark, "rtmark", Some("n"), "mark all packets for policy routing"),
    Row(Name::NoHostRoute, "nohostroute", None, "add no host route to the server"),
    Row(Name::MissingWindow, "missing-window", Some("n"), "drop packets this many numbers ahead (65536)"),
    Row(Name::TestType, "test-type", Some("type"), "send packets out of order: 1 swap, 2 late, 3 reversed"),
    Row(Name::TestRate, "test-rate", Some("n"), "reorder once every n packets (100)"),
];

/// A parsed command line.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// `--version`.
    Version,
    /// `--help`.
    Help,
    /// Run a tunnel; with warnings about the options.
    Run(Box<Options>, Vec<String>),
}

/// The values of all options.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The server's name or address.
    pub host: String,
    /// Phone number for the Outgoing-Call-Request.
    pub phone: Option<String>,
    /// Use standard input as the PPP stream instead of starting a PPP daemon.
    pub no_launch: bool,
    /// The server's deviations from RFC 2637.
    pub quirks: Quirks,
    /// Stay in the foreground.
    pub debug: bool,
    /// Synchronous framing: no HDLC on the PPP stream.
    pub sync: bool,
    /// Longest wait for missing packets; `None` for `--nobuffer`.
    pub reorder: Option<Duration>,
    /// Idle time before an Echo-Request; `None` disables it.
    pub idle_wait: Option<Duration>,
    /// How long to wait for a message after that; zero for ever.
    pub max_echo_wait: Duration,
    /// Prefix of log lines.
    pub log_string: String,
    /// Source address of TCP and GRE.
    pub local_bind: Option<Ipv4Addr>,
    /// Verbosity, 0 to 2.
    pub log_level: u8,
    /// Firewall mark; 0 for none.
    pub mark: u32,
    /// Whether to add a host route to the server.
    pub host_route: bool,
    /// How far ahead a packet may be, if limited.
    pub missing_window: Option<u32>,
    /// Reordering of outgoing packets, 1 to 3; 0 for none.
    pub test_type: u8,
    /// Packets between two reorderings.
    pub test_rate: u32,
    /// Arguments for the PPP daemon.
    pub ppp: Vec<String>,
}

impl Options {
    fn new() -> Self {
        Self {
            host: String::new(),
            phone: None,
            no_launch: false,
            quirks: Quirks::None,
            debug: false,
            sync: false,
            reorder: Some(Duration::from_millis(300)),
            idle_wait: Some(Duration::from_secs(60)),
            max_echo_wait: Duration::from_secs(60),
            log_string: "anon".to_owned(),
            local_bind: None,
            log_level: 1,
            mark: 0,
            host_route: true,
            missing_window: None,
            test_type: 0,
            test_rate: 100,
            ppp: Vec::new(),
        }
    }
}

/// Why the command line was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Description of the error.
    pub message: String,
    /// Exit status.
    pub status: u8,
    /// Whether to print the usage after the message.
    pub usage: bool,
}

fn usage(message: impl Into<String>) -> Refusal {
    Refusal { message: message.into(), status: USAGE, usage: true }
}

fn range(message: impl Into<String>) -> Refusal {
    Refusal { message: message.into(), status: RANGE, usage: false }
}

/// Parses the arguments that follow the program's name.
///
/// # Errors
/// Returns what is wrong, with the classic program's exit status for it.
pub fn parse(words: &[String]) -> Result<Request, Refusal> {
    let mut options = Options::new();
    let mut remarks = Vec::new();
    let mut rest = words.iter();
    let mut plain: Vec<String> = Vec::new();
    while let Some(word) = rest.next() {
        if word == "--" {
            plain.extend(rest.by_ref().cloned());
            break;
        }
        let Some(long) = word.strip_prefix("--") else {
            if word.len() > 1 && word.starts_with('-') {
                return Err(usage(format!(
                    "unrecognized option '{word}' (PPP options that begin with - go after --)"
                )));
            }
            plain.push(word.clone());
            continue;
        };
        let (written, inline) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (long, None),
        };
        let Row(name, full, argument, _) = find(written)?;
        let value = match (argument, inline) {
            (None, Some(_)) => return Err(usage(format!("option '--{full}' doesn't allow an argument"))),
            (None, None) => String::new(),
            (Some(_), Some(value)) => value,
            (Some(_), None) => rest
                .next()
                .cloned()
                .ok_or_else(|| usage(format!("option '--{full}' requires an argument")))?,
        };
        match name {
            Name::Version => return Ok(Request::Version),
            Name::Help => return Ok(Request::Help),
            _ => apply(*name, value, &mut options, &mut remarks)?,
        }
    }
    let mut plain = plain.into_iter();
    options.host = plain.next().filter(|host| !host.is_empty()).ok_or_else(|| usage("no hostname given"))?;
    options.ppp = plain.collect();
    Ok(Request::Run(Box::new(options), remarks))
}

/// Returns the text of `--help`.
#[must_use]
pub fn help() -> String {
    let mut text = "usage:\n  pptp <hostname> [<pptp options>] [[--] <ppp options>]\n\nor as the pty of pppd or the device of ppp:\n  pptp <hostname> --nolaunchpppd [<pptp options>]\n\npptp options:\n".to_owned();
    for Row(_, name, argument, words) in TABLE {
        let left = argument.map_or_else(|| format!("--{name}"), |argument| format!("--{name} <{argument}>"));
        text.push_str(&format!("  {left:<24}  {words}\n"));
    }
    text
}

/// Returns each option: its name, its argument's name if it takes one, and its text for `--help`.
pub fn rows() -> impl Iterator<Item = (&'static str, Option<&'static str>, &'static str)> {
    TABLE.iter().map(|Row(_, name, argument, words)| (*name, *argument, *words))
}

/// Finds the option with this name, or the only one with this prefix.
fn find(written: &str) -> Result<&'static Row, Refusal> {
    if let Some(row) = TABLE.iter().find(|row| row.1 == written) {
        return Ok(row);
    }
    let mut beginning = TABLE.iter().filter(|row| row.1.starts_with(written));
    match (beginning.next(), beginning.next()) {
        (Some(row), None) => Ok(row),
        (Some(_), Some(_)) => Err(usage(format!("option '--{written}' is ambiguous"))),
        _ => Err(usage(format!("unrecognized option '--{written}'"))),
    }
}

fn apply(name: Name, value: String, options: &mut Options, remarks: &mut Vec<String>) -> Result<(), Refusal> {
    match name {
        Name::Version | Name::Help => {}
        Name::Phone => options.phone = Some(value),
        Name::NoLaunch => options.no_launch = true,
        Name::Quirks => {
            options.quirks =
                Quirks::by_name(&value).ok_or_else(|| usage(format!("unknown quirk '{value}'")))?;
        }
        Name::Debug => options.debug = true,
        Name::Sync => options.sync = true,
        Name::Timeout => {
            let seconds: f64 = value.trim().parse().unwrap_or(0.0);
            if !(0.0099..=10.0).contains(&seconds) {
                return Err(range(format!("--timeout must be 0.01 to 10 seconds, not '{value}'")));
            }
            options.reorder = options.reorder.map(|_| Duration::from_secs_f64(seconds));
        }
        Name::NoBuffer => options.reorder = None,
        Name::IdleWait => {
            let wait = seconds("--idle-wait", &value)?;
            options.idle_wait = Some(wait).filter(|wait| !wait.is_zero());
        }
        Name::MaxEchoWait => options.max_echo_wait = seconds("--max-echo-wait", &value)?,
        Name::LogString => options.log_string = value,
        Name::LocalBind => {
            let address: Ipv4Addr =
                value.parse().map_err(|_| range(format!("--localbind: '{value}' is no IPv4 address")))?;
            // In the classic program this address means "none".
            options.local_bind = Some(address).filter(|address| !address.is_broadcast());
        }
        Name::LogLevel => {
            options.log_level = number(&value, 0..=2)
                .ok_or_else(|| usage(format!("--loglevel must be 0, 1 or 2, not '{value}'")))?;
        }
        Name::RtMark => {
            if !cfg!(target_os = "linux") {
                return Err(range("--rtmark is not supported on this system"));
            }
            options.mark = number(&value, 0..=u32::MAX).ok_or_else(|| {
                range(format!("--rtmark must be a number from 0 to {}, not '{value}'", u32::MAX))
            })?;
        }
        Name::NoHostRoute => options.host_route = false,
        Name::MissingWindow => {
            let window = number(&value, 1..=u32::MAX / 2).ok_or_else(|| {
                range(format!("--missing-window must be a number greater than zero, not '{value}'"))
            })?;
            if window < 300 {
                remarks.push(format!("--missing-window is set very low: {window}; 6000 is recommended"));
            }
            options.missing_window = Some(window);
        }
        Name::TestType => {
            options.test_type = number(&value, 0..=3)
                .ok_or_else(|| usage(format!("--test-type must be 0 to 3, not '{value}'")))?;
        }
        Name::TestRate => {
            options.test_rate = number(&value, 1..=u32::MAX).ok_or_else(|| {
                usage(format!("--test-rate must be a number greater than zero, not '{value}'"))
            })?;
        }
    }
    Ok(())
}

fn seconds(option: &str, value: &str) -> Result<Duration, Refusal> {
    // The range of the classic program's int; longer times could overflow a clock.
    let seconds = number(value, 0..=2_147_483_647_u32);
    let seconds =
        seconds.ok_or_else(|| range(format!("{option} must be a number of seconds, not '{value}'")))?;
    Ok(Duration::from_secs(seconds.into()))
}

fn number<T: std::str::FromStr + PartialOrd>(text: &str, within: std::ops::RangeInclusive<T>) -> Option<T> {
    text.trim().parse().ok().filter(|number| within.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Request, Refusal> {
        parse(&line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>())
    }

    fn run(line: &str) -> Options {
        match read(line) {
            Ok(Request::Run(options, _)) => *options,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn status(line: &str) -> u8 {
        match read(line) {
            Err(refusal) => refusal.status,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn defaults_match_classic_program() {
        let expected = Options { host: "vpn.example.net".into(), ..Options::new() };
        assert_eq!(run("vpn.example.net"), expected);
        assert_eq!(expected.reorder, Some(Duration::from_millis(300)));
        assert_eq!(expected.idle_wait, Some(Duration::from_secs(60)));
        assert_eq!(expected.max_echo_wait, Duration::from_secs(60));
        assert_eq!((expected.log_string.as_str(), expected.log_level), ("anon", 1));
        assert_eq!((expected.test_type, expected.test_rate, expected.missing_window), (0, 100, None));
    }

    #[test]
    fn every_option_sets_its_value() {
        let expect = |change: fn(&mut Options)| {
            let mut options = Options { host: "h".into(), ..Options::new() };
            change(&mut options);
            options
        };
        type Change = fn(&mut Options);
        let table: [(&str, Change); 19] = [
            ("--phone 555", |o| o.phone = Some("555".into())),
            ("--nolaunchpppd", |o| o.no_launch = true),
            ("--quirks BEZEQ_ISRAEL", |o| o.quirks = Quirks::BezeqIsrael),
            ("--debug", |o| o.debug = true),
            ("--sync", |o| o.sync = true),
            ("--timeout 0.01", |o| o.reorder = Some(Duration::from_millis(10))),
            ("--nobuffer --timeout 2", |o| o.reorder = None),
            ("--timeout 10 --nobuffer", |o| o.reorder = None),
            ("--idle-wait 5", |o| o.idle_wait = Some(Duration::from_secs(5))),
            ("--idle-wait 0", |o| o.idle_wait = None),
            ("--max-echo-wait 7", |o| o.max_echo_wait = Duration::from_secs(7)),
            ("--logstring nm", |o| o.log_string = "nm".into()),
            ("--localbind 192.0.2.1", |o| o.local_bind = Some(Ipv4Addr::new(192, 0, 2, 1))),
            ("--localbind 255.255.255.255", |o| o.local_bind = None),
            ("--loglevel 2", |o| o.log_level = 2),
            ("--nohostroute", |o| o.host_route = false),
            ("--missing-window 6000", |o| o.missing_window = Some(6000)),
            ("--test-type 3", |o| o.test_type = 3),
            ("--test-rate 5", |o| o.test_rate = 5),
        ];
        for (line, change) in table {
            for line in [format!("h {line}"), format!("{line} h")] {
                assert_eq!(run(&line), expect(change), "{line}");
            }
        }
        if cfg!(target_os = "linux") {
            assert_eq!(run("h --rtmark 7").mark, 7);
        }
    }

    #[test]
    fn accepts_any_word_order_and_unique_prefixes() {
        let expected = run("h --nolaunchpppd --loglevel 0 --logstring nm-pptp-service-1");
        assert_eq!(run("--nolaunch h --loglevel=0 --logstring=nm-pptp-service-1"), expected);
        assert_eq!(run("h call office --sync mtu 1400").ppp, ["call", "office", "mtu", "1400"]);
        assert_eq!(run("--sync -- h -detach --debug").ppp, ["-detach", "--debug"]);
        assert!(!run("h -- --sync").sync);
        assert_eq!(run("h -").ppp, ["-"]);
        assert_eq!(
            run("h --phone --sync").phone.as_deref(),
            Some("--sync"),
            "an argument may begin with a hyphen"
        );
    }

    #[test]
    fn accepts_networkmanager_arguments() {
        let options = run("192.0.2.1 --nolaunchpppd --loglevel 1 --logstring nm-pptp-service-1");
        assert!(options.no_launch && options.ppp.is_empty());
        assert_eq!((options.host.as_str(), options.log_string.as_str()), ("192.0.2.1", "nm-pptp-service-1"));
    }

    #[test]
    fn errors_have_classic_exit_statuses() {
        for line in [
            "",
            "--sync",
            "h --no-such",
            "h --no",
            "h --log 1",
            "h --sync=1",
            "h --phone",
            "h -sync",
            "h -v",
            "h --quirks bezeq_israel",
            "h --quirks NONE",
            "h --loglevel 3",
            "h --loglevel -1",
            "h --loglevel x",
            "h --test-type 4",
        ] {
            assert_eq!(status(line), 1, "{line:?}");
        }
        for line in [
            "h --timeout 0.009",
            "h --timeout 10.1",
            "h --timeout nan",
            "h --timeout x",
            "h --localbind 192.0.2",
            "h --idle-wait -1",
            "h --max-echo-wait -1",
            "h --missing-window 0",
            "h --missing-window -5",
            "h --rtmark x",
        ] {
            assert_eq!(status(line), 2, "{line:?}");
        }
        assert_eq!(read("h --sync --version --no-such"), Ok(Request::Version), "in the order of the words");
        assert_eq!(read("--help"), Ok(Request::Help));
    }

    #[test]
    fn small_missing_window_is_applied_with_a_remark() {
        let Ok(Request::Run(options, remarks)) = read("h --missing-window 10") else { panic!() };
        assert_eq!((options.missing_window, remarks.len()), (Some(10), 1));
    }

    #[test]
    fn help_lists_every_option() {
        for row in TABLE {
            assert!(help().contains(&format!("  --{} ", row.1)), "{}", row.1);
        }
    }
}
