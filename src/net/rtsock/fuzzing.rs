//! The properties that the fuzz target and the replay of its corpus check. The first byte of the input
//! selects the system, the rest is the kernel's message.

use super::{Action, Layout, MalformedMessage, Message, from_route, read, to_route};

/// Decodes the bytes as messages, and encodes every route among them that a request can represent.
///
/// # Errors
/// Returns a description of the violated property.
pub fn messages(data: &[u8]) -> Result<(), String> {
    let Some((choice, bytes)) = data.split_first() else { return Ok(()) };
    let Some(layout) = Layout::ALL.get(usize::from(*choice) % Layout::ALL.len()) else { return Ok(()) };
    let found: Vec<Result<Message, MalformedMessage>> = read(layout, bytes).collect();
    // The shortest message has 4 bytes: length, version and type.
    if found.len() > bytes.len() / 4 + 1 {
        return Err(format!("{} messages in {} bytes", found.len(), bytes.len()));
    }
    for message in found {
        match message {
            Ok(Message::Route(news)) => {
                let Some(route) = to_route(layout, &news, 0, &|_| Some("em0".to_owned())) else { continue };
                let Ok(request) = from_route(layout, Action::Add, &route, 0, &|_| Some(1)) else { continue };
                let written = request.encode(layout).map_err(|refused| refused.to_string())?;
                let again = read(layout, &written).next();
                let Some(Ok(Message::Route(again))) = again else {
                    return Err(format!("{route} was written as {written:?}, which reads {again:?}"));
                };
                let back = to_route(layout, &again, 0, &|_| Some("em0".to_owned()));
                // Attributes in `unrestorable` are not encoded.
                let mut wanted = route.clone();
                wanted.unrestorable.clear();
                // A request has only the index of the interface.
                for dev in wanted.hops.iter_mut().filter_map(|hop| hop.dev.as_mut()) {
                    "em0".clone_into(dev);
                }
                if back.as_ref() != Some(&wanted) {
                    return Err(format!("{wanted:?} became {back:?}"));
                }
            }
            Ok(_) => {}
            Err(garbled) if garbled.at < bytes.len() => {}
            Err(garbled) => return Err(format!("{garbled}, of {}", bytes.len())),
        }
    }
    Ok(())
}
