//! A minimal web server behind the tunnel: a page with the client's address, files of any size up to a limit,
//! and the digest of an upload. One request per connection.

use std::{
    fmt::Write as _,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use sha1::{Digest, Sha1};

use crate::{
    deadline::{Deadline, earliest},
    os::wait::Interest,
};

/// Most connections at a time.
const MOST_VISITORS: usize = 16;
/// Longest request head in bytes.
const LONGEST_HEAD: usize = 4096;
/// Largest file served, in bytes.
const LARGEST_FILE: usize = 16 * 1024 * 1024;
/// Limit for a whole connection.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) struct HttpServer {
    listener: TcpListener,
    clients: Vec<HttpClient>,
}

struct HttpClient {
    stream: TcpStream,
    from: SocketAddr,
    head: Vec<u8>,
    /// Remaining bytes of a PUT body, and its digest so far.
    upload: Option<(usize, Sha1)>,
    response: Vec<u8>,
    sent: usize,
    until: Instant,
    over: bool,
}

impl HttpServer {
    /// Listens on port 80 of this address.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn listen(address: Ipv4Addr) -> io::Result<Self> {
        let listener = TcpListener::bind((address, 80))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, clients: Vec::new() })
    }

    pub fn interests(&self) -> impl Iterator<Item = (BorrowedFd<'_>, Interest)> {
        let visitors = self.clients.iter().map(|visitor| {
            let writes = visitor.sent < visitor.response.len();
            (visitor.stream.as_fd(), if writes { Interest::Writable } else { Interest::Readable })
        });
        // With all connections in use, new clients stay in the backlog and must not wake the loop.
        let door = (self.clients.len() < MOST_VISITORS).then(|| (self.listener.as_fd(), Interest::Readable));
        door.into_iter().chain(visitors)
    }

    /// Returns when the next connection times out.
    pub fn next_timeout(&self) -> Option<Deadline> {
        earliest(self.clients.iter().map(|visitor| Some((visitor.until, "web client"))))
    }

    pub fn serve(&mut self, now: Instant) {
        while self.clients.len() < MOST_VISITORS {
            let Ok((stream, from)) = self.listener.accept() else { break };
            if stream.set_nonblocking(true).is_ok() {
                self.clients.push(HttpClient::new(stream, from, now + PATIENCE));
            }
        }
        for visitor in &mut self.clients {
            visitor.serve();
        }
        self.clients.retain(|visitor| !visitor.over && visitor.until > now);
    }
}

impl HttpClient {
    const fn new(stream: TcpStream, from: SocketAddr, until: Instant) -> Self {
        Self {
            stream,
            from,
            head: Vec::new(),
            upload: None,
            response: Vec::new(),
            sent: 0,
            until,
            over: false,
        }
    }

    fn serve(&mut self) {
        if self.response.is_empty() {
            self.read();
        }
        while self.sent < self.response.len() {
            match self.stream.write(self.response.get(self.sent..).unwrap_or_default()) {
                Ok(size) => self.sent += size,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.over = true;
                    return;
                }
            }
        }
        self.over |= !self.response.is_empty();
    }

    fn read(&mut self) {
        let mut bytes = [0; 16 * 1024];
        // Bounded, so that one client does not delay the others.
        for _ in 0..16 {
            let size = match self.stream.read(&mut bytes) {
                Ok(0) => {
                    self.over = true;
                    return;
                }
                Ok(size) => size,
                Err(error) => {
                    self.over = error.kind() != io::ErrorKind::WouldBlock;
                    return;
                }
            };
            self.take(bytes.get(..size).unwrap_or_default());
            if !self.response.is_empty() {
                return;
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        if let Some((left, digest)) = &mut self.upload {
            let body = bytes.get(..bytes.len().min(*left)).unwrap_or_default();
            digest.update(body);
            *left -= body.len();
            if *left == 0 {
                let text = hex(&std::mem::take(digest).finalize());
                self.response = response("200 OK", text.as_bytes());
            }
            return;
        }
        self.head.extend_from_slice(bytes);
        let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else {
            if self.head.len() > LONGEST_HEAD {
                self.response = response("431 Request Header Fields Too Large", b"");
            }
            return;
        };
        let body = self.head.split_off(end + 4);
        match answer(&String::from_utf8_lossy(&self.head), self.from) {
            Answer::Response(response) => self.response = response,
            Answer::Receive(length) => {
                self.upload = Some((length, Sha1::new()));
                self.take(&body);
            }
        }
    }
}

enum Answer {
    Response(Vec<u8>),
    Receive(usize),
}

fn answer(head: &str, from: SocketAddr) -> Answer {
    let mut words = head.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some("GET"), Some("/")) => {
            let text = format!("Hello {}, you have come through the tunnel.\n", from.ip());
            Answer::Response(response("200 OK", text.as_bytes()))
        }
        (Some("GET"), Some(path)) => {
            let size = path.strip_prefix("/file/").and_then(|size| size.parse().ok());
            Answer::Response(match size.filter(|size| *size <= LARGEST_FILE) {
                Some(size) => response("200 OK", &file(size)),
                None => response("404 Not Found", b"there is / and /file/BYTES\n"),
            })
        }
        (Some("PUT"), Some(_)) => {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                if name.eq_ignore_ascii_case("content-length") { value.trim().parse().ok() } else { None }
            });
            length.map_or_else(|| Answer::Response(response("411 Length Required", b"")), Answer::Receive)
        }
        _ => Answer::Response(response("405 Method Not Allowed", b"")),
    }
}

/// Returns a file of this size, always with the same content.
fn file(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    std::iter::repeat_with(|| {
        // The generator of Numerical Recipes: no two packets must be equal.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()
    })
    .flatten()
    .take(size)
    .collect()
}

fn response(status: &str, body: &[u8]) -> Vec<u8> {
    let digest = hex(&Sha1::digest(body));
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nX-Sha1: {digest}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing to a String cannot fail.
        let _written = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response_to(head: &str) -> String {
        match answer(head, SocketAddr::from(([10, 77, 0, 100], 4711))) {
            Answer::Response(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Answer::Receive(length) => format!("receive {length}"),
        }
    }

    #[test]
    fn page_contains_client_address() {
        assert!(response_to("GET / HTTP/1.1\r\n\r\n").contains("Hello 10.77.0.100"));
    }

    #[test]
    fn file_has_requested_size_up_to_limit() {
        assert!(response_to("GET /file/1000 HTTP/1.1\r\n\r\n").contains("Content-Length: 1000\r\n"));
        assert!(response_to("GET /file/99999999999 HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
        assert!(response_to("GET /etc/passwd HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
        assert_ne!(file(64)[..32], file(64)[32..]);
    }

    #[test]
    fn upload_requires_content_length() {
        assert_eq!(response_to("PUT /x HTTP/1.1\r\ncontent-length: 42\r\n\r\n"), "receive 42");
        assert!(response_to("PUT /x HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 411"));
        assert!(response_to("").starts_with("HTTP/1.1 405"));
    }
}
