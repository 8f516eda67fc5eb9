//! A DNS server that answers with the address of each name it has, and with NXDOMAIN for all others. Names that
//! begin with `servfail`, `silent` and `six` are answered with SERVFAIL, not at all, and with an IPv6 address; `dns64` as
//! in a network with NAT64.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, setns};

/// Starts threads for a test thread, which cannot: after unshare(2) of the PID namespace clone(2) with
/// CLONE_THREAD fails.
#[derive(Clone)]
pub struct ThreadStarter(Sender<Job>);

type Job = Box<dyn FnOnce() + Send>;

impl ThreadStarter {
    pub fn new() -> Self {
        let (sender, jobs) = channel::<Job>();
        thread::spawn(move || {
            for job in jobs {
                thread::spawn(job);
            }
        });
        Self(sender)
    }
}

/// A running DNS server; dropping it stops it.
pub struct Responder {
    stop: Arc<AtomicBool>,
    queries: Arc<Mutex<Vec<String>>>,
    ended: Receiver<()>,
}

impl Responder {
    /// Starts a DNS server on port 53 of `at`, in the network namespace at the path `namespace`.
    pub fn start(starter: &ThreadStarter, namespace: &str, at: Ipv4Addr, names: &[(&str, Ipv4Addr)]) -> Self {
        let namespace = File::open(namespace).unwrap_or_else(|error| panic!("{namespace}: {error}"));
        let names: Vec<(String, Ipv4Addr)> =
            names.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect();
        let (stop, queries) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (ready, is_ready) = channel();
        let (end, ended) = channel();
        let job = {
            let (stop, queries) = (Arc::clone(&stop), Arc::clone(&queries));
            move || {
                let _end: Sender<()> = end;
                setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
                let socket = UdpSocket::bind(SocketAddrV4::new(at, 53)).unwrap();
                socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                ready.send(()).unwrap();
                let mut query = [0; 512];
                let mut translates = false;
                while !stop.load(Ordering::Relaxed) {
                    let Ok((size, from)) = socket.recv_from(&mut query) else { continue };
                    let Some((name, answer)) = answer(&query[..size], &names, &mut translates) else {
                        continue;
                    };
                    queries.lock().unwrap().push(name);
                    let _gone = socket.send_to(&answer, from);
                }
            }
        };
        starter.0.send(Box::new(job)).unwrap();
        is_ready.recv().expect("the responder did not start");
        Self { stop, queries, ended }
    }

    /// Takes the names queried since the last call.
    pub fn take_queries(&self) -> Vec<String> {
        std::mem::take(&mut self.queries.lock().unwrap())
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ended = self.ended.recv();
    }
}

/// Answers a query with one question (RFC 1035 §4) with that question and at most one record. `translates` is set once a
/// name has been answered as DNS64 does.
fn answer(query: &[u8], names: &[(String, Ipv4Addr)], translates: &mut bool) -> Option<(String, Vec<u8>)> {
    let (header, mut rest) = query.split_at_checked(12)?;
    let mut labels = Vec::new();
    let mut length = 12;
    loop {
        let (&size, after) = rest.split_first()?;
        length += 1 + usize::from(size);
        if size == 0 {
            rest = after;
            break;
        }
        let (label, after) = after.split_at_checked(usize::from(size))?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        rest = after;
    }
    let kind = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
    let question = query.get(12..length + 4)?;
    let name = labels.join(".");
    let known = names.iter().find(|(other, _)| *other == name).map(|(_, address)| *address);
    let record = known.filter(|_| kind == 1);
    let special = labels.first().map_or("", String::as_str);
    // DNS64 (RFC 6147): IPv6 addresses made of 198.51.100.9 and of the well-known one of `ipv4only.arpa`.
    *translates |= special == "dns64";
    let ipv6: Option<[u8; 16]> = match special {
        "six" => Some([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6]),
        "dns64" => Some([0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 198, 51, 100, 9]),
        "ipv4only" if *translates => Some([0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 0, 170]),
        _ => None,
    };
    let code = match special {
        "silent" => return None,
        "servfail" => 2,
        _ if known.is_some() || ipv6.is_some() => 0,
        _ => 3,
    };
    let ipv6 = ipv6.filter(|_| kind == 28);
    let mut reply = vec![
        header[0],
        header[1],
        0x81,
        0x80 | code,
        0,
        1,
        0,
        u8::from(record.is_some() || ipv6.is_some()),
        0,
        0,
        0,
        0,
    ];
    reply.extend(question);
    if let Some(address) = record {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        reply.extend(address.octets());
    }
    if let Some(address) = ipv6 {
        reply.extend([0xc0, 12, 0, 28, 0, 1, 0, 0, 0, 0, 0, 16]);
        reply.extend(address);
    }
    Some((name, reply))
}
