//! One session as the wire saw it, and what an independent dissector thinks of our half of it.
//!
//! tshark judges form (malformed packets, expert errors, checksums); what it takes on trust is judged here: that lengths in GRE
//! headers agree with IP (RFC 2637 §4.1), that sequence numbers count by one and acknowledgements never go back (§4.2).

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
    lab::{Lab, PATIENCE, on_wire, wait_for},
    runner::note,
};

/// The client's address on the wire.
pub const CLIENT: &str = "192.0.2.2";

/// A running tcpdump on the wire's end of the client's link: all of TCP 1723 and GRE, in full.
pub struct Capture {
    tcpdump: Child,
    file: PathBuf,
}

impl Capture {
    /// Starts it, and returns when it sees packets.
    pub fn start(lab: &Lab) -> Self {
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
        command.arg(&file).arg("ip proto 47 or tcp port 1723");
        let mut tcpdump =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = tcpdump.stderr.as_mut().unwrap();
        let mut line = String::new();
        BufReader::with_capacity(1, stderr).read_line(&mut line).unwrap();
        assert!(line.contains("listening on"), "tcpdump: {line}");
        Self { tcpdump, file }
    }

    /// Ends it and reads what we sent.
    pub fn finish(mut self) -> Verdict {
        // Packets wait in the kernel until tcpdump has read them: one more of our own, and when that is in the file, all are.
        let marker: SocketAddr = "192.0.2.1:1723".parse().unwrap();
        let _refused = TcpStream::connect_timeout(&marker, PATIENCE);
        let complete = wait_for(PATIENCE, || ends_with_marker(&self.file).then_some(()));
        assert!(complete.is_some(), "tcpdump does not keep up");
        kill(Pid::from_raw(i32::try_from(self.tcpdump.id()).unwrap()), Signal::SIGINT).unwrap();
        let ended = wait_for(PATIENCE, || self.tcpdump.try_wait().unwrap());
        assert!(ended.is_some(), "tcpdump does not end");
        let mut said = String::new();
        self.tcpdump.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains("\n0 packets dropped by kernel"), "the capture has holes: {said}");
        judge(&self.file)
    }
}

/// Whether the SYN to the wire's own address is among the last packets.
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

/// What we sent in one capture.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Packets of the control connection that carry a message.
    pub control: usize,
    /// Start-Control-Connection-Requests among them: attempts.
    pub attempts: usize,
    /// Types of all control messages, in order (RFC 2637 §2).
    pub messages: Vec<u16>,
    /// LCP Terminate-Requests (RFC 1661 §5.5) among the data.
    pub terminates: usize,
    /// GRE packets with a payload.
    pub data: usize,
    /// Payloads that are IP or IPv6 in clear.
    pub clear: usize,
    /// Payloads that are MPPE (or otherwise compressed) datagrams.
    pub sealed: usize,
    /// Everything that is wrong, each with its frame number.
    pub faults: Vec<String>,
}

impl Verdict {
    /// Panics unless nothing is wrong and there was something to look at.
    pub fn assert_clean(&self) {
        note(format_args!(
            "wire: {} control, {} data, {} clear, {} sealed",
            self.control, self.data, self.clear, self.sealed
        ));
        assert!(self.control > 0, "the capture has none of our control messages");
        self.assert_no_faults();
    }

    /// Panics when anything is wrong with what we sent, if we sent anything.
    pub fn assert_no_faults(&self) {
        let shown: Vec<&String> = self.faults.iter().take(10).collect();
        assert!(self.faults.is_empty(), "{} faults in what we sent, first: {shown:#?}", self.faults.len());
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
    "_ws.malformed",
    "_ws.expert.severity",
    "_ws.expert.group",
    "_ws.expert.message",
];
/// tshark's expert severities, and the groups of TCP's own analysis of losses and of checksums (a wrong one is an error).
const SEVERITY_ERROR: u32 = 0x0080_0000;
const SEVERITY_WARN: u32 = 0x0060_0000;
const GROUP_SEQUENCE: u32 = 0x0200_0000;
const GROUP_CHECKSUM: u32 = 0x0100_0000;
/// Outgoing-Call-Request (RFC 2637 §2.7): a later call may be given the call id of an earlier one.
const OCRQ: &str = "7";
/// PPP protocols of clear IP, clear IPv6 and compressed datagrams.
const PPP_IP: &str = "0x0021";
const PPP_IPV6: &str = "0x0057";
const PPP_COMPRESSED: &str = "0x00fd";
const PPP_LCP: &str = "0xc021";

/// Reads a capture file and judges the client's half of it.
pub fn judge(file: &Path) -> Verdict {
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
    // Inside a tunnel in clear there are other people's packets: how those are pieced together, or asked again, is not our doing.
    tshark.args(["--disable-protocol", "http", "--disable-protocol", "dns"]);
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
    let mut verdict = Verdict::default();
    let mut calls: HashMap<String, Call> = HashMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let field = |name: &str| columns[FIELDS.iter().position(|field| *field == name).unwrap()];
        // Inside a tunnel in clear there are further headers: ours come first.
        let first = |name: &str| field(name).split('|').next().unwrap_or_default();
        let mut faults = dissector_faults(&field);
        if first("ip.proto") == "47" {
            let call = calls.entry(first("gre.key.call_id").to_owned()).or_default();
            faults.extend(call.gre_faults(&first));
            let protocol = first("ppp.protocol");
            verdict.data += usize::from(!protocol.is_empty());
            verdict.terminates += usize::from(protocol == PPP_LCP && first("ppp.code") == "5");
            verdict.clear += usize::from([PPP_IP, PPP_IPV6].contains(&protocol));
            verdict.sealed += usize::from(protocol == PPP_COMPRESSED);
        }
        let types = field("pptp.control_message_type").split('|').filter_map(|kind| kind.parse::<u16>().ok());
        verdict.messages.extend(types);
        if field("pptp.control_message_type").split('|').any(|kind| kind == OCRQ) {
            calls.values_mut().for_each(|call| call.may_restart = true);
        }
        verdict.control += usize::from(!field("pptp.control_message_type").is_empty());
        verdict
            .faults
            .extend(faults.into_iter().map(|fault| format!("frame {}: {fault}", field("frame.number"))));
    }
    verdict.attempts = verdict.messages.iter().filter(|kind| **kind == 1).count();
    verdict
}

fn dissector_faults<'a>(field: &impl Fn(&str) -> &'a str) -> Vec<String> {
    let mut faults = Vec::new();
    if !field("_ws.malformed").is_empty() {
        faults.push("malformed".to_owned());
    }
    let experts = field("_ws.expert.severity").split('|').zip(field("_ws.expert.group").split('|'));
    for (severity, group) in experts.filter(|(severity, _)| !severity.is_empty()) {
        let (severity, group): (u32, u32) = (severity.parse().unwrap(), group.parse().unwrap());
        // Losses are TCP's business, and the kernel may write a TCP checksum of zero as all ones; any other warning is ours.
        let theirs = [GROUP_SEQUENCE, GROUP_CHECKSUM].contains(&group);
        if severity >= SEVERITY_ERROR || (severity == SEVERITY_WARN && !theirs) {
            faults
                .push(format!("{} (severity {severity:#x}, group {group:#x})", field("_ws.expert.message")));
        }
    }
    faults
}

/// What one call has sent so far.
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
                "flags {flags:#06x}: key and version 1, sequence and acknowledgement, and nothing else"
            ));
        }
        let header = 20 + 8 + 4 * u32::from(has_sequence) + 4 * u32::from(has_ack);
        if ip != header + payload {
            faults.push(format!("payload length {payload} in a packet of {ip} with {header} of headers"));
        }
        if has_sequence != (payload > 0) {
            faults.push("a sequence number belongs to a payload, and a payload has one".to_owned());
        }
        if let (true, Some(sequence)) = (has_sequence, number("gre.sequence_number")) {
            // A call begins at 0 or 1 (RFC 2637 says 0, what runs out there says 1).
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
