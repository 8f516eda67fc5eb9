//! Local time as text, in the host's time zone: localtime_r(3).

#![expect(unsafe_code, reason = "localtime_r(3) writes through a pointer")]

use std::mem::MaybeUninit;

/// Returns a time in seconds since 1970 as local date and time, `2026-11-29 14:03:22`; `None` if the C library
/// cannot convert it.
#[must_use]
pub fn format(seconds: u64) -> Option<String> {
    // 32 bits wide on some systems.
    let time = seconds.try_into().ok()?;
    let mut fields = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are valid for the call, and nothing else refers to `fields`.
    let converted = unsafe { libc::localtime_r(&raw const time, fields.as_mut_ptr()) };
    if converted.is_null() {
        return None;
    }
    // SAFETY: the call has succeeded, so it has initialised all fields.
    let tm = unsafe { fields.assume_init() };
    let (year, month) = (i64::from(tm.tm_year) + 1900, tm.tm_mon + 1);
    Some(format!(
        "{year:04}-{month:02}-{:02} {:02}:{:02}:{:02}",
        tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec
    ))
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_formatted() {
        // Within a day of UTC in every time zone.
        let text = super::format(1_764_000_000).unwrap();
        assert!(text.starts_with("2025-11-24 ") || text.starts_with("2025-11-25 "), "{text}");
        assert_eq!(text.len(), 19);
        assert_eq!(super::format(u64::MAX), None);
    }
}
