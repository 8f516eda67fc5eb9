//! Finds the nearest of a few words, for "did you mean …".

/// Returns the candidate that a misspelt word most probably means, if any is near enough; among equals the
/// first.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter_map(|candidate| distance_within(word, candidate, limit).map(|distance| (distance, candidate)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Longest text that is compared, in characters. Longer ones are cut, which bounds the work and leaves them far from
/// every known word.
const LONGEST: usize = 64;

/// Returns the optimal string alignment distance, ignoring case, if it is at most `limit`.
pub(super) fn distance_within(a: &str, b: &str, limit: usize) -> Option<usize> {
    let lower = |text: &str| text.chars().flat_map(char::to_lowercase).take(LONGEST).collect::<String>();
    // Most pairs differ in length by more than that.
    if a.is_ascii() && b.is_ascii() && a.len().min(LONGEST).abs_diff(b.len().min(LONGEST)) > limit {
        return None;
    }
    let (a, b) = (lower(a), lower(b));
    if least_distance(&a, &b) > limit {
        return None;
    }
    Some(strsim::osa_distance(&a, &b)).filter(|distance| *distance <= limit)
}

/// Returns a lower bound of the distance, in less time: each character of the longer text that the other lacks costs
/// one operation.
fn least_distance(a: &str, b: &str) -> usize {
    let mut left = [0_usize; 128];
    let slot = |c: char| usize::try_from(u32::from(c)).unwrap_or_default() % 128;
    let (mut shared, mut longer, mut shorter) = (0, 0, 0);
    for c in a.chars() {
        longer += 1;
        if let Some(count) = left.get_mut(slot(c)) {
            *count += 1;
        }
    }
    for c in b.chars() {
        shorter += 1;
        if let Some(count) = left.get_mut(slot(c)).filter(|count| **count > 0) {
            *count -= 1;
            shared += 1;
        }
    }
    usize::max(longer, shorter) - shared
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_misspelt_words_and_no_others() {
        let keys = ["server", "routes", "retry", "password", "timeouts", "mtu"];
        assert_eq!(nearest("sever", keys), Some("server"));
        assert_eq!(nearest("rotues", keys), Some("routes"));
        assert_eq!(nearest("Timeout", keys), Some("timeouts"));
        assert_eq!(nearest("pasword", keys), Some("password"));
        assert_eq!(nearest("banana", keys), None);
        assert_eq!(nearest("", keys), None);
        assert_eq!(distance_within("ab", "ba", 1), Some(1));
        assert_eq!(distance_within("kitten", "Sitting", 3), Some(3));
        assert_eq!(distance_within("kitten", "sitting", 2), None);
        assert_eq!(distance_within("", "abc", 3), Some(3));
    }

    proptest! {
        #[test]
        fn shortcuts_change_no_distance(a in "[pasw\\PC]{0,12}", b in "[pasword]{0,12}", limit in 0_usize..8) {
            let lower = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<String>();
            let distance = strsim::osa_distance(&lower(&a), &lower(&b));
            prop_assert_eq!(distance_within(&a, &b, limit), Some(distance).filter(|distance| *distance <= limit));
        }
    }
}
