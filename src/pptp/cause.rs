//! Result, error and cause codes as text for the user (RFC 2637 §2.2 to §2.16, causes from ITU-T Q.850).

/// Describes why a Start-Control-Connection-Reply refuses (§2.2).
#[must_use]
pub fn start_refusal_words(result: u8, error: u8) -> String {
    let words = match result {
        0 | 1 => "accepted",
        2 => "general error",
        3 => "a control connection between the two hosts exists already",
        4 => "not authorized to open a control connection",
        5 => "protocol version not supported",
        _ => return with_error(format!("unknown result {result}"), error),
    };
    with_error(format!("{words} (result {result})"), error)
}

/// Describes why an Outgoing-Call-Reply refuses (§2.8).
#[must_use]
pub fn call_refusal_words(result: u8, error: u8, cause: u16) -> String {
    let words = match result {
        1 => "connected",
        2 => "general error",
        3 => "no carrier",
        4 => "busy",
        5 => "no dial tone",
        6 => "the call did not come up in time",
        7 => "the server does not accept the call, it is administratively prohibited",
        _ => return with_cause(with_error(format!("unknown result {result}"), error), cause),
    };
    with_cause(with_error(format!("{words} (result {result})"), error), cause)
}

/// Describes why a Call-Disconnect-Notify ended the call (§2.13).
#[must_use]
pub fn disconnect_words(result: u8, error: u8, cause: u16) -> String {
    let words = match result {
        1 => "carrier lost",
        2 => "general error",
        3 => "ended by the server's administration",
        4 => "ended on request",
        _ => return with_cause(with_error(format!("unknown result {result}"), error), cause),
    };
    with_cause(with_error(format!("{words} (result {result})"), error), cause)
}

/// Describes why the peer stops the control connection (§2.3).
#[must_use]
pub fn stop_reason_words(reason: u8) -> String {
    match reason {
        1 => "no particular reason given".to_owned(),
        2 => "our protocol version is not supported".to_owned(),
        3 => "the server is being shut down".to_owned(),
        _ => format!("unknown reason {reason}"),
    }
}

/// Describes a general error code (§2.16); `None` for 0, which means no error.
#[must_use]
const fn general_error_words(error: u8) -> Option<&'static str> {
    Some(match error {
        0 => return None,
        1 => "no control connection exists yet",
        2 => "a length or the magic cookie is wrong",
        3 => "a field is out of range or a reserved field is not zero",
        4 => "not enough resources to handle the request now",
        5 => "the call id is invalid in this context",
        6 => "vendor-specific error in the access concentrator",
        _ => "unknown error code",
    })
}

/// Describes a cause code of the telephone network; `None` for 0 and for codes without a well-known meaning.
#[must_use]
const fn cause_words(cause: u16) -> Option<&'static str> {
    Some(match cause {
        1 => "unallocated number",
        2 | 3 => "no route to destination",
        16 => "normal call clearing",
        17 => "user busy",
        18 => "no user responding",
        19 => "no answer",
        20 => "subscriber absent",
        21 => "call rejected",
        22 => "number changed",
        27 => "destination out of order",
        28 => "invalid number format",
        29 => "facility rejected",
        31 => "normal, unspecified",
        34 => "no channel available",
        38 => "network out of order",
        41 => "temporary failure",
        42 => "switching equipment congestion",
        44 => "requested channel not available",
        47 => "resource unavailable",
        50 => "requested facility not subscribed",
        57 => "bearer capability not authorized",
        58 => "bearer capability not available now",
        63 => "service not available",
        65 => "bearer capability not implemented",
        79 => "service not implemented",
        88 => "incompatible destination",
        102 => "recovery on timer expiry",
        111 => "protocol error",
        127 => "interworking, unspecified",
        _ => return None,
    })
}

fn with_error(words: String, error: u8) -> String {
    match general_error_words(error) {
        Some(more) => format!("{words}: {more} (error {error})"),
        None => words,
    }
}

fn with_cause(words: String, cause: u16) -> String {
    match cause_words(cause) {
        Some(more) => format!("{words}; {more} (cause {cause})"),
        None if cause == 0 => words,
        None => format!("{words} (cause {cause})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_combine_all_codes() {
        assert_eq!(call_refusal_words(4, 0, 17), "busy (result 4); user busy (cause 17)");
        assert_eq!(
            call_refusal_words(2, 4, 0),
            "general error (result 2): not enough resources to handle the request now (error 4)"
        );
        assert_eq!(call_refusal_words(99, 0, 999), "unknown result 99 (cause 999)");
        assert_eq!(start_refusal_words(4, 0), "not authorized to open a control connection (result 4)");
        assert_eq!(disconnect_words(3, 0, 0), "ended by the server's administration (result 3)");
        assert_eq!(stop_reason_words(3), "the server is being shut down");
    }

    #[test]
    fn causes_in_use_have_words_of_their_own() {
        // Those of ITU-T Q.850 that equipment in use sends.
        let lower = [1, 2, 16, 17, 18, 19, 20, 21, 22, 27, 28, 29, 31, 34, 38, 41, 42, 44, 47];
        let upper = [50, 57, 58, 63, 65, 79, 88, 102, 111, 127];
        let mut words: Vec<_> = lower
            .into_iter()
            .chain(upper)
            .map(|cause| cause_words(cause).unwrap_or_else(|| panic!("cause {cause}")))
            .collect();
        assert_eq!(cause_words(2), cause_words(3));
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
    }

    #[test]
    fn results_of_rfc_2637_have_words_of_their_own() {
        let known = |words: fn(u8) -> String, results: std::ops::RangeInclusive<u8>| {
            let all: Vec<String> = results.map(words).collect();
            assert!(all.iter().all(|words| !words.contains("unknown")), "{all:?}");
            all.len()
        };
        let counts = [
            known(|result| start_refusal_words(result, 0), 2..=5),
            known(|result| call_refusal_words(result, 0, 0), 1..=7),
            known(|result| disconnect_words(result, 0, 0), 1..=4),
        ];
        assert_eq!(counts, [4, 7, 4]);
    }

    #[test]
    fn every_code_has_a_description() {
        for code in 0..=u8::MAX {
            assert!(!start_refusal_words(code, code).is_empty());
            assert!(!call_refusal_words(code, code, u16::from(code)).is_empty());
            assert!(!disconnect_words(code, code, u16::from(code)).is_empty());
            assert!(!stop_reason_words(code).is_empty());
        }
    }
}
