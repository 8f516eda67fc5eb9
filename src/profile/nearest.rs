//! Finds the nearest of a few words, for "did you mean …".

/// Returns the candidate that a misspelt word most probably means, if any is near enough; among equals the
/// first.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns the optimal string alignment distance, ignoring case. Longer texts are cut at 64 characters, which bounds
/// the work and leaves them far from every known word.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let lower = |text: &str| text.chars().flat_map(char::to_lowercase).take(64).collect::<String>();
    strsim::osa_distance(&lower(a), &lower(b))
}

#[cfg(test)]
mod tests {
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
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
