//! Searches against servers that differ in what they answer and acknowledge.

use super::*;

/// What a server shows of a padded echo or a Discard-Request: whether it answers, what it acknowledges, and how many of
/// its own packets are lost.
type Reaction = (bool, Acked, u64);

/// Runs a search to its end; returns the verdict, how long it took and how many padded echoes it sent.
fn run(full: u16, react: impl Fn(Probe) -> Reaction) -> (Verdict, Duration, u32) {
    let start = Instant::now();
    let (mut now, mut id, mut seen) = (start, 0_u8, Observed::default());
    let mut search = Search::new(full, now);
    for _ in 0..1000 {
        search.handle_timeout(now, seen);
        let mut answers = Vec::new();
        while let Some(probe) = search.poll_probe() {
            id = id.wrapping_add(1);
            search.sent(probe, id);
            let (answered, acked, lost) = match probe {
                Probe::Short => (true, seen.acked, 0),
                other => react(other),
            };
            seen = Observed { acked, received: seen.received + u64::from(answered), lost: seen.lost + lost };
            answers.extend(answered.then_some(id));
        }
        now += Duration::from_millis(20);
        answers.into_iter().for_each(|id| search.answered(now, id, seen));
        if let Some(verdict) = search.take_verdict() {
            return (verdict, now - start, search.padded);
        }
        now = now.max(search.next_timeout());
    }
    panic!("the search does not end");
}

/// Returns a server behind a path that loses larger packets, and acknowledges what arrives.
fn behind(limit: u16) -> impl Fn(Probe) -> Reaction {
    move |probe| match probe {
        Probe::Padded(size) if size > limit => (false, Acked::Before, 0),
        Probe::Discard => (false, Acked::Exactly, 0),
        _ => (true, Acked::Exactly, 0),
    }
}

#[test]
fn limit_is_found_within_seconds() {
    for limit in 576..1456 {
        let (verdict, took, padded) = run(1456, behind(limit));
        let Verdict::Limited { passes, fails, outbound: true } = verdict else {
            panic!("{limit}: {verdict:?}")
        };
        assert!(passes <= limit && limit < fails && fails - passes <= RESOLUTION, "{limit}: {verdict:?}");
        assert!(padded <= PADDED_MAX && took < Duration::from_secs(12), "{limit}: {padded} in {took:?}");
    }
    let (verdict, took, padded) = run(1456, behind(1456));
    assert_eq!((verdict, padded), (Verdict::Full, 1));
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn limit_below_the_smallest_size_is_not_reported() {
    assert_eq!(run(1456, behind(500)).0, Verdict::Unknown);
    assert_eq!(run(300, behind(200)).0, Verdict::Unknown);
    assert_eq!(run(300, behind(300)).0, Verdict::Full);
}

/// Such a server acknowledges in its answers only: a missing acknowledgement shows nothing.
#[test]
fn acknowledgements_count_only_if_unanswered_packets_have_them() {
    let react = |probe| match probe {
        Probe::Padded(size) if size > 1000 => (false, Acked::Before, 0),
        Probe::Discard => (false, Acked::Before, 0),
        _ => (true, Acked::Exactly, 0),
    };
    let (verdict, ..) = run(1456, react);
    assert!(matches!(verdict, Verdict::Unanswered { passes: 993..=1000, .. }), "{verdict:?}");
}

#[test]
fn acknowledged_echo_without_an_answer_passes() {
    assert_eq!(run(1456, |_| (false, Acked::Exactly, 0)).0, Verdict::Full);
}

/// Data that is sent meanwhile makes the acknowledgements useless.
#[test]
fn acknowledgements_of_later_packets_show_nothing() {
    let react = |probe| match probe {
        Probe::Padded(size) if size <= 1000 => (true, Acked::Beyond, 0),
        _ => (false, Acked::Beyond, 0),
    };
    let (verdict, ..) = run(1456, react);
    assert!(matches!(verdict, Verdict::Unanswered { .. }), "{verdict:?}");
}

#[test]
fn lost_answers_limit_the_path() {
    let react = |probe| match probe {
        Probe::Padded(size) if size > 1000 => (false, Acked::Exactly, 1),
        Probe::Discard => (false, Acked::Nothing, 0),
        _ => (true, Acked::Exactly, 0),
    };
    let (verdict, ..) = run(1456, react);
    assert!(matches!(verdict, Verdict::Limited { passes: 993..=1000, outbound: false, .. }), "{verdict:?}");
}
