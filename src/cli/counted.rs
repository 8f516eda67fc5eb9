//! What the counters of a status say, in words, for `status` and `watch`. No I/O.

use super::output::{bytes, many};
use crate::supervisor::Status;

/// Returns whether losses, reordering and duplicates are counted: Linux's own data path does not, and the counters are
/// those of the packets before it had the call.
pub fn has_losses(status: &Status) -> bool {
    status.data_path.as_deref() != Some("kernel")
}

/// Returns whether packets and bytes are counted: not those that pppd or ppp carries, and not while the engine is silent.
pub fn has_traffic(status: &Status) -> bool {
    status.counters.contains_key("ppp.received_bytes")
}

/// Returns the share of the server's packets that were lost.
pub fn loss(status: &Status) -> Option<String> {
    let counters = Some(&status.counters).filter(|_| has_losses(status))?;
    let (lost, received) = (*counters.get("gre.rx_lost")?, *counters.get("gre.rx_accepted")?);
    let all = lost.checked_add(received).filter(|all| *all > 0)?;
    let tenths = lost.saturating_mul(1000) / all;
    // Any loss is at least 0.1 %.
    let tenths = tenths.max(u64::from(lost > 0));
    Some(format!("{}.{}%", tenths / 10, tenths % 10))
}

/// Returns what was received and what was sent, if it is counted.
pub fn traffic(status: &Status) -> Option<[String; 2]> {
    let way = |packets, octets| {
        format!("{}, {}", many(count(status, packets), "packet"), bytes(count(status, octets)))
    };
    let ways = [("ppp.received_packets", "ppp.received_bytes"), ("ppp.sent_packets", "ppp.sent_bytes")];
    has_traffic(status).then(|| ways.map(|(packets, octets)| way(packets, octets)))
}

/// Returns how many packets were lost, of which `share` is the share in words, and reordered, if it is counted.
pub fn order(status: &Status, share: &str) -> Option<String> {
    let [lost, late, twice] =
        ["gre.rx_lost", "gre.rx_repaired", "gre.rx_duplicate"].map(|name| count(status, name));
    has_losses(status).then(|| format!("{lost} lost{share}, {late} reordered, {twice} duplicate"))
}

/// Returns the reasons for which packets were dropped, each with their number.
pub fn drops(status: &Status) -> impl Iterator<Item = (&str, u64)> {
    let drops = status.counters.iter().filter(|(_, count)| **count > 0);
    drops.filter_map(|(name, count)| Some((name.strip_prefix("drop.")?, *count)))
}

fn count(status: &Status, name: &str) -> u64 {
    status.counters.get(name).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<const N: usize>(counters: [(&str, u64); N]) -> Status {
        let counters = counters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Status { counters, ..Status::default() }
    }

    #[test]
    fn loss_is_a_share_in_tenths_of_a_percent() {
        let of = |lost, received| loss(&with([("gre.rx_lost", lost), ("gre.rx_accepted", received)]));
        assert_eq!(of(0, 0), None);
        assert_eq!(of(1, 100_000).as_deref(), Some("0.1%"), "not nothing");
        assert_eq!(of(1, 1).as_deref(), Some("50.0%"));
    }

    #[test]
    fn what_is_not_counted_has_no_words() {
        let by_pppd = with([("drop.bad_ip", 0)]);
        assert_eq!((traffic(&by_pppd), drops(&by_pppd).count()), (None, 0));
        let counters = with([("gre.rx_lost", 1), ("gre.rx_accepted", 1), ("drop.bad_ip", 3)]);
        assert_eq!(order(&counters, " (x)").as_deref(), Some("1 lost (x), 0 reordered, 0 duplicate"));
        assert_eq!(drops(&counters).collect::<Vec<_>>(), [("bad_ip", 3)]);
        let kernel = Status { data_path: Some("kernel".into()), ..counters };
        assert_eq!((loss(&kernel), order(&kernel, "")), (None, None));
    }

    #[test]
    fn traffic_has_packets_and_bytes_of_both_ways() {
        let status = with([("ppp.received_packets", 1), ("ppp.received_bytes", 2048)]);
        assert_eq!(traffic(&status), Some(["1 packet, 2.0 KiB".to_owned(), "0 packets, 0 B".to_owned()]));
    }
}
