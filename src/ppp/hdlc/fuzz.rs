//! The body of the fuzz target `hdlc`: any bytes as a stream of frames, and frames through encoder and decoder.

use super::{Accm, Decoder, encode};

const LONGEST: usize = 1600;

/// Decodes `data` whole and in pieces, then encodes its pieces as frames and decodes them.
///
/// # Errors
/// Returns the property that does not hold.
pub fn streams(data: &[u8]) -> Result<(), String> {
    let Some((&[step, map], stream)) = data.split_first_chunk::<2>() else { return Ok(()) };
    let size = usize::from(step).max(1);
    let whole = decoded([stream].into_iter())?;
    if whole != decoded(stream.chunks(size))? {
        return Err(format!("pieces of {size} bytes give other frames"));
    }
    let accm = Accm(u32::from(map).wrapping_mul(0x0101_0101));
    let frames: Vec<_> = stream.chunks(size).filter(|frame| frame.len() > 1).map(<[u8]>::to_vec).collect();
    let mut encoded = Vec::new();
    for frame in &frames {
        encode(frame, accm, &mut encoded);
    }
    if decoded(encoded.chunks(7))? != frames {
        return Err("an encoded frame is not decoded to itself".to_owned());
    }
    Ok(())
}

fn decoded<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Vec<u8>>, String> {
    let (mut decoder, mut frames) = (Decoder::new(LONGEST), Vec::new());
    for piece in pieces {
        decoder.feed(piece, |frame| frames.push(frame.to_vec()));
        if decoder.frame.len() > LONGEST + 2 {
            return Err("the decoder's memory grows".to_owned());
        }
    }
    Ok(frames)
}
