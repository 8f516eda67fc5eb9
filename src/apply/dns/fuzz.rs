//! The body of the fuzz target `resolv_conf`: any file gets our block, and is itself again without it.

use std::path::PathBuf;

use super::parse::{owner, with_block, without_block};
use crate::plan::{DnsStep, Resolver, Value};

/// Adds a block to `data`, whose first byte selects the search domains, and removes it again.
///
/// # Errors
/// Returns the property that does not hold.
pub fn resolv_conf(data: &[u8]) -> Result<(), String> {
    let Some((first, content)) = data.split_first() else { return Ok(()) };
    let step = DnsStep {
        profile: "vpn".to_owned(),
        tun: Value::Known("tun0".to_owned()),
        servers: Value::Known(vec![[192, 0, 2, 53].into()]),
        domains: Vec::new(),
        search: if first & 1 == 0 { Vec::new() } else { vec!["example.net".to_owned()] },
        resolver: Value::Known(Resolver::File),
        file: PathBuf::from("/etc/resolv.conf"),
    };
    let _anyone = owner(content);
    let _torn = without_block(content, "vpn");
    // A file that has our marks already has a block, which is removed first.
    if content.windows(7).any(|word| word == b"pptpctl") {
        return Ok(());
    }
    let written = with_block(content, &step);
    if owner(&written).as_deref() != Some("vpn:") {
        return Err("the block has no owner".to_owned());
    }
    match without_block(&written, "vpn") {
        Some(restored) if restored == content => Ok(()),
        other => Err(format!("not restored: {other:?}")),
    }
}
