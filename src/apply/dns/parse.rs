//! Parses resolv.conf(5) and the output of resolvectl(1), and edits our block in a resolv.conf(5). No I/O.
//!
//! Our block is at the start of the file, between two marks that name pptpctl and the profile. Other lines
//! that would take effect are commented out with a mark. Removing the block and these marks restores the
//! exact bytes, even if another program has changed other lines meanwhile.

use std::net::IpAddr;

use crate::plan::DnsStep;

/// Returns the addresses of the nameserver lines, in order.
pub(in crate::apply) fn nameservers(content: &[u8]) -> Vec<IpAddr> {
    let text = String::from_utf8_lossy(content);
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        if words.next()? != "nameserver" {
            return None;
        }
        // An address with a zone (fe80::1%eth0) is not a tunnel's resolver; ignore it.
        words.next()?.parse().ok()
    };
    text.lines().filter_map(address).collect()
}

/// Returns the words that resolvectl(1) prints after `Link 7 (tun0): `.
pub(super) fn of_link(stdout: &str, tun: &str) -> Vec<String> {
    let mark = format!("({tun}):");
    let rest = stdout.lines().find_map(|line| line.split_once(&mark)).map(|(_, rest)| rest);
    rest.into_iter().flat_map(str::split_whitespace).map(str::to_owned).collect()
}

pub(super) fn has_address(words: &[String], address: IpAddr) -> bool {
    words.iter().any(|word| word.parse() == Ok(address))
}

/// Formats addresses for a message.
pub(super) fn list(addresses: &[IpAddr]) -> String {
    match addresses {
        [] => "no resolver".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// Returns the profile whose block the file contains, followed by `:`.
pub(super) fn owner(content: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(content);
    let line = text.lines().find_map(|line| line.strip_prefix(BEGIN))?;
    line.split_whitespace().next().map(str::to_owned)
}

/// Returns the content with our block at its start.
pub(super) fn with_block(content: &[u8], step: &DnsStep) -> Vec<u8> {
    let profile = &step.profile;
    let mut text = format!(
        "{BEGIN}{profile}: only while this tunnel is up; `pptpctl down {profile}` restores the file\n"
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

/// Returns the content without our block; `None` if it has no complete block.
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

/// Returns whether overwriting `from` with `to` in place stopped before the file was truncated.
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
