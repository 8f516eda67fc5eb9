//! Captures one session on the wire, and checks the client's packets with an independent dissector.
//!
//! tshark checks the form (malformed packets, expert errors, checksums). This module checks what tshark does
//! not: lengths in GRE headers match IP (RFC 2637 §4.1), sequence numbers increase by one and
//! acknowledgements never decrease (§4.2).

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    lab::{EVENT_TIMEOUT, Lab, on_wire, wait_for},
    runner::note,
};

/// The client's address.
pub const CLIENT: &str = "192.0.2.2";

/// A running tcpdump at the wire's end of the client's link, which captures TCP port 1723 and GRE without
/// truncation.
pub struct Capture {
    tcpdump: Child,
    file: PathBuf,
}

impl Capture {
    /// Starts tcpdump and waits until it captures.
    pub fn start(lab: &Lab) -> Self {
        Self::of(lab, "ip proto 47 or tcp port 1723")
    }

    /// Does the same without the packets of another tunnel, to this server. That one is up when the capture begins, and
    /// sends an LCP echo when its status is asked for.
    pub fn start_without(lab: &Lab, other: &str) -> Self {
        Self::of(lab, &format!("(ip proto 47 or tcp port 1723) and not host {other}"))
    }

    fn of(lab: &Lab, filter: &str) -> Self {
        let file = lab.case_dir().join("session.pcap");
        let mut command = on_wire(&[
            "tcpdump",
            "-n",
            "-p",
            "-i",
            "cli",
            "-s0",
            "-U",
            "--immediate-mode",
            "-B",
            "65536",
            "-Z",
            "root",
            "-w",
        ]);
        command.arg(&file).arg(filter);
        let mut tcpdump =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = tcpdump.stderr.as_mut().unwrap();
        let mut line = String::new();
        BufReader::with_capacity(1, stderr).read_line(&mut line).unwrap();
        assert!(line.contains("listening on"), "tcpdump: {line}");
        Self { tcpdump, file }
    }

    /// Stops tcpdump and checks the client's packets.
    pub fn finish(mut self) -> CaptureReport {
        // tcpdump reads packets with a delay: send a marker, and wait until it is in the file.
        let marker: SocketAddr = "192.0.2.1:1723".parse().unwrap();
        let _refused = TcpStream::connect_timeout(&marker, EVENT_TIMEOUT);
        let complete = wait_for(EVENT_TIMEOUT, || ends_with_marker(&self.file).then_some(()));
        assert!(complete.is_some(), "tcpdump has not written the marker");
        kill(Pid::from_raw(i32::try_from(self.tcpdump.id()).unwrap()), Signal::SIGINT).unwrap();
        let ended = wait_for(EVENT_TIMEOUT, || self.tcpdump.try_wait().unwrap());
        assert!(ended.is_some(), "tcpdump does not exit");
        let mut messages = String::new();
        self.tcpdump.stderr.take().unwrap().read_to_string(&mut messages).unwrap();
        assert!(
            messages.contains("\n0 packets dropped by kernel"),
            "packets are missing in the capture: {messages}"
        );
        check_capture(&self.file)
    }
}

/// Returns whether the SYN to the wire's address is among the last packets.
fn ends_with_marker(file: &Path) -> bool {
    let mut tail = Vec::new();
    let mut file = File::open(file).unwrap();
    let length = file.metadata().unwrap().len();
    file.seek(SeekFrom::Start(length.saturating_sub(2048))).unwrap();
    file.read_to_end(&mut tail).unwrap();
    // From 192.0.2.2 to 192.0.2.1, any port, to port 1723.
    let addresses = [192, 0, 2, 2, 192, 0, 2, 1];
    tail.windows(12).any(|window| window.starts_with(&addresses) && window.ends_with(&1723_u16.to_be_bytes()))
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ended = self.tcpdump.kill();
        let _reaped = self.tcpdump.wait();
    }
}

/// The client's packets in one capture.
#[derive(Debug, Default)]
pub struct CaptureReport {
    /// Number of TCP packets that carry a control message.
    pub control: usize,
    /// Number of Start-Control-Connection-Requests, which is the number of connection attempts.
    pub attempts: usize,
    /// Types of all control messages, in order (RFC 2637 §2).
    pub messages: Vec<u16>,
    /// Number of LCP Terminate-Requests (RFC 1661 §5.5).
    pub terminates: usize,
    /// Number of GRE packets with a payload.
    pub data: usize,
    /// Number of payloads that are unencrypted IP or IPv6.
    pub clear: usize,
    /// Number of payloads that are MPPE (or otherwise compressed) datagrams.
    pub encrypted: usize,
    /// All faults found, each with its frame number.
    pub faults: Vec<String>,
}

impl CaptureReport {
    /// Panics if there are faults or no control messages.
    pub fn assert_clean(&self) {
        note(format_args!(
            "wire: {} control, {} data, {} clear, {} encrypted",
            self.control, self.data, self.clear, self.encrypted
        ));
        assert!(self.control > 0, "the capture has no control message of the client");
        self.assert_no_faults();
    }

    /// Panics if there are faults; an empty capture is accepted.
    pub fn assert_no_faults(&self) {
        let shown: Vec<&String> = self.faults.iter().take(10).collect();
        assert!(
            self.faults.is_empty(),
            "{} faults in packets of the client, first: {shown:#?}",
            self.faults.len()
        );
    }
}

const FIELDS: &[&str] = &[
    "frame.number",
    "ip.len",
    "ip.proto",
    "gre.flags_and_version",
    "gre.key.payload_length",
    "gre.key.call_id",
    "gre.sequence_number",
    "gre.ack_number",
    "ppp.protocol",
    "ppp.code",
    "pptp.control_message_type",
    "frame.protocols",
    "_ws.malformed",
    "_ws.expert.severity",
    "_ws.expert.group",
    "_ws.expert.message",
];
/// tshark's expert severities, and the groups of its TCP loss analysis and of checksums (a wrong checksum has
/// the severity error).
const SEVERITY_ERROR: u32 = 0x0080_0000;
const SEVERITY_WARN: u32 = 0x0060_0000;
const GROUP_SEQUENCE: u32 = 0x0200_0000;
const GROUP_CHECKSUM: u32 = 0x0100_0000;
/// Outgoing-Call-Request (RFC 2637 §2.7), after which a call id of an earlier call may be reused.
const OCRQ: &str = "7";
/// PPP protocol numbers of IP, IPv6, compressed datagrams and LCP.
const PPP_IP: &str = "0x0021";
const PPP_IPV6: &str = "0x0057";
const PPP_COMPRESSED: &str = "0x00fd";
const PPP_LCP: &str = "0xc021";

/// Reads a capture file and checks the client's packets.
pub fn check_capture(file: &Path) -> CaptureReport {
    assert!(
        fs::metadata(file).is_ok_and(|metadata| metadata.len() >= 24),
        "no capture in {}",
        file.display()
    );
    let mut tshark = Command::new("tshark");
    tshark.args(["-n", "-r"]).arg(file).args([
        "-Y",
        &format!("ip.src == {CLIENT}"),
        "-T",
        "fields",
        "-E",
        "aggregator=|",
    ]);
    // An unencrypted tunnel contains packets of other programs, whose HTTP and DNS are not under test. Without a dissector for
    // the server's port tshark takes that of the client's, which the kernel has chosen: 48898 is AMS, 47000 is HCrt.
    for protocol in [&["http".to_owned(), "dns".to_owned()][..], &protocols_of_chosen_ports()].concat() {
        tshark.args(["--disable-protocol", &protocol]);
    }
    tshark.args([
        "-o",
        "ip.check_checksum:TRUE",
        "-o",
        "tcp.check_checksum:TRUE",
        "-o",
        "udp.check_checksum:TRUE",
    ]);
    for field in FIELDS {
        tshark.args(["-e", field]);
    }
    let output = tshark.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    let mut report = CaptureReport::default();
    let mut calls: HashMap<String, Call> = HashMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let field = |name: &str| columns[FIELDS.iter().position(|field| *field == name).unwrap()];
        // In an unencrypted tunnel there are inner headers too; the first value is the outer one.
        let first = |name: &str| field(name).split('|').next().unwrap_or_default();
        let mut faults = dissector_faults(&field);
        if first("ip.proto") == "47" {
            let call = calls.entry(first("gre.key.call_id").to_owned()).or_default();
            faults.extend(call.gre_faults(&first));
            let protocol = first("ppp.protocol");
            report.data += usize::from(!protocol.is_empty());
            report.terminates += usize::from(protocol == PPP_LCP && first("ppp.code") == "5");
            report.clear += usize::from([PPP_IP, PPP_IPV6].contains(&protocol));
            report.encrypted += usize::from(protocol == PPP_COMPRESSED);
        }
        let types = field("pptp.control_message_type").split('|').filter_map(|kind| kind.parse::<u16>().ok());
        report.messages.extend(types);
        if field("pptp.control_message_type").split('|').any(|kind| kind == OCRQ) {
            calls.values_mut().for_each(|call| call.may_restart = true);
        }
        report.control += usize::from(!field("pptp.control_message_type").is_empty());
        report
            .faults
            .extend(faults.into_iter().map(|fault| format!("frame {}: {fault}", field("frame.number"))));
    }
    report.attempts = report.messages.iter().filter(|kind| **kind == 1).count();
    report
}

/// Returns tshark's names of protocols that it expects at ports of which Linux chooses those of clients.
fn protocols_of_chosen_ports() -> Vec<String> {
    let output = Command::new("tshark").args(["-G", "decodes"]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    let protocols: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let [table, port, protocol] = line.split('\t').collect::<Vec<_>>()[..] else { return None };
            let is_chosen = port.parse().is_ok_and(|port: u16| port >= 32_768);
            (["tcp.port", "udp.port"].contains(&table) && is_chosen).then(|| protocol.to_owned())
        })
        .collect();
    assert!(!protocols.is_empty(), "tshark lists no protocols of ports");
    protocols
}

fn dissector_faults<'a>(field: &impl Fn(&str) -> &'a str) -> Vec<String> {
    let mut faults = Vec::new();
    if !field("_ws.malformed").is_empty() {
        faults.push(format!("malformed ({})", field("frame.protocols")));
    }
    let experts = field("_ws.expert.severity").split('|').zip(field("_ws.expert.group").split('|'));
    for (severity, group) in experts.filter(|(severity, _)| !severity.is_empty()) {
        let (severity, group): (u32, u32) = (severity.parse().unwrap(), group.parse().unwrap());
        // Warnings about TCP losses and checksums are ignored: losses are legitimate, and the kernel may
        // write a TCP checksum of zero as all ones. Any other warning is a fault of the client.
        let is_ignored = [GROUP_SEQUENCE, GROUP_CHECKSUM].contains(&group);
        if severity >= SEVERITY_ERROR || (severity == SEVERITY_WARN && !is_ignored) {
            faults
                .push(format!("{} (severity {severity:#x}, group {group:#x})", field("_ws.expert.message")));
        }
    }
    faults
}

/// The GRE state of the client's half of one call.
#[derive(Default)]
struct Call {
    sequence: Option<u32>,
    ack: Option<u32>,
    may_restart: bool,
}

impl Call {
    fn gre_faults<'a>(&mut self, first: &impl Fn(&str) -> &'a str) -> Vec<String> {
        let mut faults = Vec::new();
        let number = |name: &str| -> Option<u32> {
            let text = first(name);
            text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())
        };
        let (Some(flags), Some(ip), Some(payload)) =
            (number("gre.flags_and_version"), number("ip.len"), number("gre.key.payload_length"))
        else {
            return vec!["no enhanced GRE header".to_owned()];
        };
        let (has_sequence, has_ack) = (flags & 0x1000 != 0, flags & 0x0080 != 0);
        if flags & !0x1080 != 0x2001 {
            faults.push(format!(
                "flags {flags:#06x}: only key, version 1, sequence and acknowledgement are allowed"
            ));
        }
        let header = 20 + 8 + 4 * u32::from(has_sequence) + 4 * u32::from(has_ack);
        if ip != header + payload {
            faults.push(format!("payload length {payload} in a packet of {ip} with {header} of headers"));
        }
        if has_sequence != (payload > 0) {
            faults.push("a packet must have a sequence number if it has a payload, and only then".to_owned());
        }
        if let (true, Some(sequence)) = (has_sequence, number("gre.sequence_number")) {
            // A call starts at 0 (RFC 2637) or 1 (existing implementations).
            let follows = self.sequence.is_some_and(|last| sequence == last.wrapping_add(1));
            let begins = sequence <= 1 && (self.sequence.is_none() || self.may_restart);
            if begins {
                *self = Self::default();
            } else if !follows {
                faults.push(format!("sequence {sequence} after {:?}", self.sequence));
            }
            self.sequence = Some(sequence);
        }
        if let (true, Some(ack)) = (has_ack, number("gre.ack_number")) {
            if self.ack.is_some_and(|last| ack.wrapping_sub(last) > u32::MAX / 2) {
                faults.push(format!("acknowledgement {ack} after {:?}", self.ack));
            }
            self.ack = Some(ack);
        }
        faults
    }
}
