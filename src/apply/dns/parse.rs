//! Pure: what resolv.conf(5) and resolvectl(1) say, and our block in a resolv.conf(5).
//!
//! Our block stands first, between two marks that name pptpctl and the profile. Lines that would count beside it
//! are made comments that say so. Taking the block out and the comments back gives the very bytes that were there,
//! also when someone has changed other lines meanwhile.

use std::net::IpAddr;

use crate::plan::DnsStep;

/// The addresses of the nameserver lines, in order.
pub(super) fn nameservers(content: &[u8]) -> Vec<IpAddr> {
    let text = String::from_utf8_lossy(content);
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        if words.next()? != "nameserver" {
            return None;
        }
        // fe80::1%eth0 asks by one device; that is another address for us.
        words.next()?.parse().ok()
    };
    text.lines().filter_map(address).collect()
}

/// The words that resolvectl(1) prints behind `Link 7 (tun0): `.
pub(super) fn of_link(stdout: &str, tun: &str) -> Vec<String> {
    let mark = format!("({tun}):");
    let rest = stdout.lines().find_map(|line| line.split_once(&mark)).map(|(_, rest)| rest);
    rest.into_iter().flat_map(str::split_whitespace).map(str::to_owned).collect()
}

pub(super) fn has_address(words: &[String], address: IpAddr) -> bool {
    words.iter().any(|word| word.parse() == Ok(address))
}

/// For a sentence.
pub(super) fn list(addresses: &[IpAddr]) -> String {
    match addresses {
        [] => "no resolver".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// The profile whose block is in it.
pub(super) fn owner(content: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(content);
    let line = text.lines().find_map(|line| line.strip_prefix(BEGIN))?;
    line.split_whitespace().next().map(str::to_owned)
}

/// With our block in front.
pub(super) fn with_block(content: &[u8], step: &DnsStep) -> Vec<u8> {
    let profile = &step.profile;
    let mut text = format!(
        "{BEGIN}{profile}: only while this tunnel is up; `pptpctl down {profile}` puts back what was here\n"
    );
    text.push_str(&step.resolv_conf());
    text.push_str(&format!("{END}{profile}\n"));
    let mut bytes = text.into_bytes();
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        let counts = |word: &[u8]| {
            line.strip_prefix(word).is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
        };
        let replaced =
            counts(b"nameserver") || (!step.search.is_empty() && (counts(b"search") || counts(b"domain")));
        if replaced {
            bytes.extend(kept_mark(profile).bytes());
        }
        bytes.extend(line);
    }
    bytes
}

/// Without our block; `None` when it is not there whole.
pub(super) fn without_block(content: &[u8], profile: &str) -> Option<Vec<u8>> {
    let (begin, end) = (format!("{BEGIN}{profile}:"), format!("{END}{profile}"));
    let mut bytes = Vec::new();
    let (mut inside, mut found) = (false, false);
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        if !found && !inside && line.starts_with(begin.as_bytes()) {
            inside = true;
        } else if inside && line.trim_ascii_end() == end.as_bytes() {
            (inside, found) = (false, true);
        } else if !inside {
            bytes.extend(line.strip_prefix(kept_mark(profile).as_bytes()).unwrap_or(line));
        }
    }
    found.then_some(bytes)
}

/// Whether a write of `to` over `from` in the same file stopped before the file was cut to its new length.
pub(super) fn is_torn(found: &[u8], from: &[u8], to: &[u8]) -> bool {
    found.len() == from.len() && found.strip_prefix(to).is_some_and(|rest| from.ends_with(rest))
}

const BEGIN: &str = "# BEGIN pptpctl ";
const END: &str = "# END pptpctl ";

fn kept_mark(profile: &str) -> String {
    format!("# pptpctl {profile} keeps: ")
}

#[cfg(test)]
mod tests;
