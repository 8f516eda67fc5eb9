//! The body of the fuzz target `control_messages`: any bytes as requests to, and as responses of, a supervisor.

use super::messages::{Request, Response};

/// Parses `data` as both ends of the control socket do.
///
/// # Errors
/// Returns the message that does not survive a round trip.
pub fn control_messages(data: &[u8]) -> Result<(), String> {
    if let Ok(request) = serde_json::from_slice::<Request>(data) {
        let text = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
        if serde_json::from_slice::<Request>(&text).ok() != Some(request) {
            return Err(format!("{request:?}"));
        }
    }
    if let Ok(response) = serde_json::from_slice::<Response>(data) {
        let text = serde_json::to_vec(&response).map_err(|error| error.to_string())?;
        if serde_json::from_slice::<Response>(&text).ok().as_ref() != Some(&response) {
            return Err(format!("{response:?}"));
        }
    }
    Ok(())
}
