//! Fetches one page over HTTP/1.1, with limits for time and size.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// Largest response in bytes.
const LARGEST: u64 = 64 * 1024;

/// Fetches `http://host/` and returns the body.
///
/// # Errors
/// Returns the kernel's error; `InvalidData` if the response is not a page.
pub fn page(host: Ipv4Addr, limit: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((host, 80)), limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(LARGEST).read_to_string(&mut answer)?;
    body(&answer).map(str::to_owned).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no page"))
}

fn body(answer: &str) -> Option<&str> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_ascii_whitespace().nth(1)?;
    (status == "200").then_some(body)
}

#[cfg(test)]
mod tests {
    use super::body;

    #[test]
    fn body_requires_status_200() {
        assert_eq!(body("HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello"), Some("hello"));
        assert_eq!(body("HTTP/1.1 404 Not Found\r\n\r\nhello"), None);
        assert_eq!(body("hello"), None);
    }
}
