//! The body of the fuzz target `ledger`: any bytes as the file that a killed supervisor has left.

use std::path::Path;

use super::{Record, parse};

/// Reads `data` as a ledger, and what is rewritten from it.
///
/// # Errors
/// Returns the property that does not hold.
pub fn file(data: &[u8]) -> Result<(), String> {
    let Some((record, whole)) = read(data) else { return Ok(()) };
    let whole = usize::try_from(whole).map_err(|error| error.to_string())?;
    if data.get(..whole).is_none_or(|lines| lines.last() != Some(&b'\n')) {
        return Err(format!("{whole} bytes of whole lines in {}", data.len()));
    }
    let mut numbers: Vec<_> = record.entries.iter().map(|entry| entry.number).collect();
    numbers.sort_unstable();
    if numbers.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(format!("two steps have one number: {numbers:?}"));
    }
    if numbers.last().is_some_and(|last| *last >= record.next && *last < u64::MAX) {
        return Err(format!("the number {} was used", record.next));
    }
    let rewritten = record.compacted().map_err(|error| error.to_string())?;
    let Some((again, _)) = read(&rewritten) else { return Err("cannot be read when rewritten".to_owned()) };
    let same = |record: &Record| (record.header.clone(), record.device.clone(), record.entries.clone());
    if same(&again) != same(&record) || !again.garbled.is_empty() {
        return Err(format!("{record:?} is rewritten as {again:?}"));
    }
    Ok(())
}

fn read(bytes: &[u8]) -> Option<(Record, u64)> {
    parse(&mut bytes.to_vec(), Path::new("fuzz.ledger")).ok().flatten()
}
