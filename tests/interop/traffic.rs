//! Traffic through a tunnel: ping, download, upload, DNS query.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use md5::{Digest, Md5};

use crate::{
    lab::{EVENT_TIMEOUT, wait_for},
    runner::note,
};

/// The inside host, reachable only through a tunnel.
pub const INSIDE: &str = "10.99.0.1";
/// The inside name server.
pub const INSIDE_DNS: &str = "10.99.0.53";
/// A host reachable only behind the server, which represents the Internet behind a default route.
pub const INTERNET: &str = "198.18.0.1";
/// The number of bytes of a download and of an upload.
pub const BULK: usize = 4 << 20;

/// Pings until a reply arrives and returns the time until then; `None` if there is none within the limit (in
/// whole seconds). The server may lose the first request, as it opens the link before its own end is set up.
pub fn ping(address: &str, limit: Duration) -> Option<Duration> {
    let started = Instant::now();
    let mut tries = 0;
    let answered = loop {
        tries += 1;
        let left = limit.saturating_sub(started.elapsed()).as_secs().max(1).to_string();
        // With -w, ping repeats until a reply arrives or the kernel reports that there is no route.
        let output = Command::new("ping")
            .args(["-n", "-q", "-c1", "-i0.2", "-w", &left, address])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        if output.status.success() || started.elapsed() >= limit {
            break output.status.success();
        }
        thread::sleep(Duration::from_millis(50));
    };
    let took = started.elapsed();
    note(format_args!(
        "ping {address}: {} after {tries} tries, {took:.0?}",
        if answered { "answered" } else { "silence" }
    ));
    answered.then_some(took)
}

/// Runs all kinds of traffic and compares checksums.
pub fn assert_traffic() {
    assert!(ping(INSIDE, EVENT_TIMEOUT).is_some(), "no answer to ping");
    assert_dns();
    let expected = String::from_utf8(get("/4M.md5").unwrap()).unwrap();
    let started = Instant::now();
    let file = get("/4M.bin").unwrap();
    note(format_args!("4 MiB down in {:.1?}", started.elapsed()));
    assert_eq!(file.len(), BULK, "the download is truncated");
    assert_eq!(md5_hex(&file), expected.trim(), "the download is damaged");
    assert_upload();
}

/// Uploads 4 MiB to the inside host, which replies with the checksum of what it received.
pub fn assert_upload() {
    let started = Instant::now();
    // The data has no short period, so that a lost or reordered block changes the checksum.
    let file: Vec<u8> = (0..BULK as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 23) as u8).collect();
    let answer = String::from_utf8(post("/cgi-bin/upload", &file).unwrap()).unwrap();
    note(format_args!("4 MiB up in {:.1?}", started.elapsed()));
    assert_eq!(answer.trim(), md5_hex(&file), "the upload is damaged");
}

/// Resolves a name with the inside resolver.
pub fn assert_dns() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let query = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x04host\x06inside\x04test\0\0\x01\0\x01";
    let mut answer = [0; 512];
    let found = wait_for(EVENT_TIMEOUT, || {
        socket.send_to(query, (INSIDE_DNS, 53)).ok()?;
        let (length, from) = socket.recv_from(&mut answer).ok()?;
        assert_eq!(from.ip().to_string(), INSIDE_DNS);
        Some(answer[..length].to_vec())
    });
    let answer = found.expect("no answer from the inside resolver");
    assert!(
        answer.starts_with(b"\x12\x34\x85\x80") && answer.ends_with(&[10, 99, 0, 1]),
        "unexpected answer: {answer:x?}"
    );
}

/// Fetches a path from the inside host by HTTP GET.
pub fn get(path: &str) -> io::Result<Vec<u8>> {
    request(&format!("GET {path} HTTP/1.0\r\n\r\n"), &[])
}

fn post(path: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    request(&format!("POST {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len()), body)
}

fn request(head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let server = SocketAddr::new(INSIDE.parse().unwrap(), 80);
    let mut stream = TcpStream::connect_timeout(&server, EVENT_TIMEOUT)?;
    stream.set_read_timeout(Some(EVENT_TIMEOUT))?;
    stream.set_write_timeout(Some(EVENT_TIMEOUT))?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end =
        answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    if !answer.starts_with(b"HTTP/1.0 200") && !answer.starts_with(b"HTTP/1.1 200") {
        return Err(io::Error::other(String::from_utf8_lossy(&answer[..end]).into_owned()));
    }
    Ok(answer.split_off(end + 4))
}

fn md5_hex(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
