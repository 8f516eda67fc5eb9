//! The body of the fuzz target `engine_message`: any bytes as a message of the engine.

use super::{FromEngine, is_acceptable_route};
use crate::net::sanitize::is_plain;

/// Parses `data` as the supervisor does.
///
/// # Errors
/// Returns which rule an accepted message breaks.
pub fn message(data: &[u8]) -> Result<(), String> {
    let Ok(message) = FromEngine::parse(data) else { return Ok(()) };
    let text = serde_json::to_vec(&message).map_err(|error| error.to_string())?;
    if FromEngine::parse(&text).as_ref() != Ok(&message) {
        return Err(format!("{message:?} does not survive a round trip"));
    }
    match &message {
        FromEngine::Up(link) => {
            let routes = link.routes.as_deref().unwrap_or_default();
            if !routes.iter().all(|route| is_acceptable_route(*route)) || link.mtu < 68 {
                return Err(format!("{link:?}"));
            }
        }
        FromEngine::Down(failure) if !is_plain(&failure.to_string()) => {
            return Err(format!("a failure with control characters: {failure:?}"));
        }
        _ => {}
    }
    Ok(())
}
