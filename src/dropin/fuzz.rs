//! The body of the fuzz target `pptp_options`: any words as arguments of `pptp`.

use super::options::{Request, parse};

/// Parses the lines of `data` as the arguments of `pptp`.
///
/// # Errors
/// Returns the property that does not hold.
pub fn arguments(data: &[u8]) -> Result<(), String> {
    let words: Vec<String> = String::from_utf8_lossy(data).split('\n').map(str::to_owned).collect();
    let Ok(Request::Run(options, _)) = parse(&words) else { return Ok(()) };
    if options.host.is_empty() {
        return Err("accepted without a host".to_owned());
    }
    let passed = options.ppp.iter().all(|word| words.contains(word));
    if passed { Ok(()) } else { Err(format!("words that were not given: {:?}", options.ppp)) }
}
