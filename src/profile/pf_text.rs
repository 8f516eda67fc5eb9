//! Checks the text of pf rules without pfctl(8): rules in the syntax of another system, and missing anchors.
//!
//! The packet filters have diverged: OpenBSD replaced `nat`, `rdr` and `binat` rules and `scrub` rules by options of
//! `match` and `pass` in 4.6 and 4.7; FreeBSD and NetBSD keep the older rules. Only the first words of a rule and its
//! plain words are read, since macros can replace everything else.

use std::ops::Range;

use crate::platform::Platform;

/// A rule in the syntax of another system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForeignRule {
    /// The bytes of the word that shows it.
    pub(super) at: Range<usize>,
    pub(super) title: String,
    pub(super) advice: &'static str,
}

/// Words of one rule, each with its bytes in the text.
type Rule<'t> = Vec<(Range<usize>, &'t str)>;

/// Splits the text into rules: a line, with the lines that a backslash at the end adds to it, without comments.
fn rules(text: &str) -> Vec<Rule<'_>> {
    let (mut rules, mut rule) = (Vec::new(), Rule::new());
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let code = line.split('#').next().unwrap_or("").trim_end();
        let (code, goes_on) = code.strip_suffix('\\').map_or((code, false), |code| (code, true));
        let mut at = 0;
        for word in code.split(|c: char| c.is_ascii_whitespace() || c == ',') {
            let from = start + at;
            at += word.len() + 1;
            if !word.is_empty() {
                rule.push((from..from + word.len(), word));
            }
        }
        start += line.len();
        if !goes_on && !rule.is_empty() {
            rules.push(std::mem::take(&mut rule));
        }
    }
    rules.extend((!rule.is_empty()).then_some(rule));
    rules
}

/// Returns the keyword that begins a rule; `no nat` begins with `nat`. `None` for the definition of a macro.
fn keyword<'t>(rule: &Rule<'t>) -> Option<(Range<usize>, &'t str)> {
    let mut words = rule.iter().filter(|(_, word)| *word != "no");
    let first = words.next()?;
    let is_macro = first.1.contains('=') || words.next().is_some_and(|(_, next)| next.starts_with('='));
    (!is_macro).then(|| first.clone())
}

/// Returns the rules that this system's pf(4) does not support.
pub(super) fn foreign_rules(text: &str, platform: Platform) -> Vec<ForeignRule> {
    let rules = rules(text);
    let found = rules.iter().filter_map(|rule| match platform {
        Platform::OpenBsd => old_rule(rule),
        Platform::FreeBsd | Platform::NetBsd => new_rule(rule, platform),
        Platform::Linux => None,
    });
    found.collect()
}

fn old_rule(rule: &Rule<'_>) -> Option<ForeignRule> {
    let (at, word) = keyword(rule)?;
    let advice = match word {
        "nat" => "write match out on … nat-to …",
        "rdr" => "write match in on … rdr-to … (or pass in … rdr-to …)",
        "binat" => "write match on … binat-to …",
        "nat-anchor" | "rdr-anchor" | "binat-anchor" => "write anchor, which evaluates all kinds of rules",
        "scrub" => "write match in all scrub (…)",
        _ => return old_route(rule),
    };
    Some(ForeignRule { at, title: format!("OpenBSD's pf has no `{word}` rules, since 4.7"), advice })
}

/// Returns the first option of a rule that names the next hop's interface, as in the man page of pptp(8).
fn old_route(rule: &Rule<'_>) -> Option<ForeignRule> {
    let pairs = rule.iter().zip(rule.iter().skip(1));
    let mut options = pairs.filter(|((_, word), (_, next))| {
        matches!(*word, "route-to" | "reply-to" | "dup-to") && next.starts_with('(') && !next.ends_with(')')
    });
    let ((at, word), _) = options.next()?;
    Some(ForeignRule {
        at: at.clone(),
        title: format!("OpenBSD's pf has no `{word} (INTERFACE ADDRESS)`, since 6.9"),
        advice: "write the address alone, $vpn_peer for the tunnel, at the end of the rule",
    })
}

fn new_rule(rule: &Rule<'_>, platform: Platform) -> Option<ForeignRule> {
    let (first, word) = keyword(rule)?;
    let system = if platform == Platform::FreeBsd { "FreeBSD" } else { "NetBSD" };
    let translation = rule.iter().find(|(_, word)| matches!(*word, "nat-to" | "rdr-to" | "binat-to"));
    if let (Some((at, word)), "match" | "pass") = (translation, word) {
        let advice = match *word {
            "nat-to" => "write nat on … from … to … -> …",
            "rdr-to" => "write rdr on … from … to … -> …",
            _ => "write binat on … from … to … -> …",
        };
        let title = match platform {
            Platform::FreeBsd => {
                format!("`{word}` is OpenBSD's syntax; older releases of FreeBSD do not know it")
            }
            _ => format!("`{word}` is OpenBSD's syntax, which {system}'s pf does not know"),
        };
        return Some(ForeignRule { at: at.clone(), title, advice });
    }
    (word == "match" && platform == Platform::NetBsd).then(|| ForeignRule {
        at: first,
        title: "NetBSD's pf has no `match` rules".to_owned(),
        advice: "write nat, rdr, scrub or pass rules",
    })
}

/// Returns the kinds of anchor that pf.conf(5) must have for these rules to be evaluated.
pub(super) fn anchor_kinds(rules_text: &str, platform: Platform) -> Vec<&'static str> {
    if platform == Platform::OpenBsd {
        return vec!["anchor"];
    }
    let mut kinds: Vec<&str> = rules(rules_text)
        .iter()
        .filter_map(|rule| match keyword(rule)?.1 {
            "nat" | "nat-anchor" => Some("nat-anchor"),
            "rdr" | "rdr-anchor" => Some("rdr-anchor"),
            "binat" | "binat-anchor" => Some("binat-anchor"),
            "pass" | "block" | "match" | "antispoof" | "anchor" => Some("anchor"),
            _ => None,
        })
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// Returns the anchor lines that pf.conf(5) seems to lack; none if it includes other files, which may have them.
pub(super) fn missing_anchors(pf_conf: &str, kinds: &[&'static str], anchor: &str) -> Vec<String> {
    let rules = rules(pf_conf);
    if rules.iter().any(|rule| rule.first().is_some_and(|(_, word)| *word == "include")) {
        return Vec::new();
    }
    let has = |kind: &str| {
        rules.iter().any(|rule| {
            let named = rule.iter().position(|(_, word)| *word == kind).and_then(|at| rule.get(at + 1));
            named.is_some_and(|(_, name)| evaluates(name.trim_matches('"'), anchor))
        })
    };
    let pattern =
        anchor.rsplit_once('/').map_or_else(|| anchor.to_owned(), |(above, _)| format!("{above}/*"));
    kinds.iter().filter(|kind| !has(kind)).map(|kind| format!("{kind} \"{pattern}\"")).collect()
}

/// Returns reasons why pf.conf(5) does not give the anchor of a kill switch every outgoing packet; none if it includes
/// other files.
pub(super) fn leak_problems(pf_conf: &str, anchor: &str) -> Vec<String> {
    let rules = rules(pf_conf);
    let first = |rule: &Rule<'_>| rule.first().map_or("", |(_, word)| *word).to_owned();
    if rules.iter().any(|rule| first(rule) == "include") {
        return Vec::new();
    }
    let calls = |rule: &Rule<'_>| {
        let name = rule.get(1).map_or("", |(_, word)| word.trim_matches('"'));
        let is_parent = anchor.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
        first(rule) == "anchor" && evaluates(name, anchor) && !is_parent
    };
    let Some(at) = rules.iter().position(calls) else {
        return vec![format!("/etc/pf.conf seems to lack anchor \"{anchor}\"")];
    };
    let passes = |rule: &&Rule<'_>| {
        let has = |wanted: &str| rule.iter().any(|(_, word)| *word == wanted);
        first(rule) == "pass" && has("quick") && !has("in") && !has("lo") && !has("lo0")
    };
    let text = |rule: &Rule<'_>| rule.iter().map(|(_, word)| *word).collect::<Vec<_>>().join(" ");
    let earlier = rules.iter().take(at).filter(passes);
    earlier
        .map(|rule| format!("/etc/pf.conf passes packets before anchor \"{anchor}\": `{}`", text(rule)))
        .collect()
}

/// Returns whether an anchor of this name, perhaps a pattern or one that contains the other, evaluates the anchor.
fn evaluates(name: &str, anchor: &str) -> bool {
    // A macro, or a nested anchor whose inner lines are not read.
    name.starts_with('$')
        || name == anchor
        || anchor.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
        || name.strip_suffix('*').is_some_and(|above| {
            anchor.strip_prefix(above).is_some_and(|rest| !rest.is_empty() && !rest.contains('/'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, platform: Platform) -> Vec<&str> {
        foreign_rules(text, platform).into_iter().map(|rule| &text[rule.at]).collect()
    }

    const OLD: &str = "# nat on em0\next = \"em0\"\nnat = \"x\"\nscrub in all\nno nat on lo0\n\
                       nat on $ext inet from ! ($ext) to any -> ($ext)\nrdr pass on $ext \\\n  proto tcp -> 10.0.0.1\n\
                       nat-anchor \"vpn\"\nblock in  # rdr on\npass in on $ext tag nat\n";
    const NEW: &str = "match out on $vpn_if inet \\\n  nat-to ($vpn_if)\npass in quick rdr-to 10.0.0.1\nmatch in all scrub (no-df)\n\
                       anchor \"vpn\" {\n  match out binat-to 10.0.0.2\n}\nblock all\n";

    #[test]
    fn rules_of_another_system_are_found() {
        assert_eq!(words(OLD, Platform::OpenBsd), ["scrub", "nat", "nat", "rdr", "nat-anchor"]);
        assert!(words(NEW, Platform::OpenBsd).is_empty());
        assert_eq!(words(NEW, Platform::FreeBsd), ["nat-to", "rdr-to", "binat-to"]);
        assert_eq!(words(NEW, Platform::NetBsd), ["nat-to", "rdr-to", "match", "binat-to"]);
        assert!(words(OLD, Platform::FreeBsd).is_empty() && words(OLD, Platform::NetBsd).is_empty());
    }

    /// The rules of the man page of pptp(8).
    #[test]
    fn next_hop_with_an_interface_is_found_on_openbsd() {
        let old = "block drop on $vpn_if\npass in on $vpn_if reply-to ($vpn_if vpn-gateway.net) \\\n\
                   inet proto icmp icmp-type echoreq keep state\n";
        assert_eq!(words(old, Platform::OpenBsd), ["reply-to"]);
        assert!(words(old, Platform::FreeBsd).is_empty());
        let new = "pass in on $vpn_if inet proto icmp all icmp-type echoreq reply-to $vpn_peer\n\
                   pass in on $vpn_if from any to any route-to ($vpn_if)\n";
        assert!(words(new, Platform::OpenBsd).is_empty());
    }

    #[test]
    fn kinds_of_anchor_follow_from_the_rules() {
        assert_eq!(anchor_kinds(OLD, Platform::OpenBsd), ["anchor"]);
        assert_eq!(anchor_kinds(OLD, Platform::FreeBsd), ["anchor", "nat-anchor", "rdr-anchor"]);
        assert_eq!(anchor_kinds("nat on $vpn_if -> ($vpn_if)\n", Platform::NetBsd), ["nat-anchor"]);
    }

    #[test]
    fn missing_anchor_lines_are_named() {
        let conf =
            "set skip on lo\nnat-anchor \"pptpctl/*\"\nanchor \"vpn\" on egress\nanchor office\nblock all\n";
        let missing = |kinds: &[&'static str], anchor| missing_anchors(conf, kinds, anchor);
        assert!(missing(&["anchor"], "vpn").is_empty() && missing(&["anchor"], "office").is_empty());
        assert!(missing(&["nat-anchor"], "pptpctl/home").is_empty());
        assert!(missing(&["anchor"], "vpn/inner").is_empty());
        assert_eq!(missing(&["anchor"], "pptpctl/home"), ["anchor \"pptpctl/*\""]);
        assert_eq!(missing(&["anchor", "nat-anchor"], "v"), ["anchor \"v\"", "nat-anchor \"v\""]);
        assert!(missing_anchors("include \"/etc/pf.vpn\"\n", &["anchor"], "v").is_empty());
        assert_eq!(missing_anchors("# anchor \"v\"\n", &["anchor"], "v"), ["anchor \"v\""]);
    }

    #[test]
    fn any_text_is_accepted() {
        for text in [
            "",
            "\\",
            "no",
            "no\n",
            "\\\n\\",
            "nat",
            "=",
            "ü nat-to",
            "match\u{a0}nat-to",
            "\r\nnat on x\r\n",
        ] {
            for platform in Platform::ALL {
                for rule in foreign_rules(text, platform) {
                    assert!(text.get(rule.at).is_some(), "{text:?}");
                }
                missing_anchors(text, &anchor_kinds(text, platform), "a");
            }
        }
    }

    proptest::proptest! {
        /// The bytes of a word are those of the text, which a report excerpts.
        #[test]
        fn arbitrary_text_is_read(text in "([ \\t\\r\\n,#\\\\\"=*/$ä]|nat|no|rdr-to|match|scrub|anchor|include|[a-z]){0,60}") {
            for platform in Platform::ALL {
                for rule in foreign_rules(&text, platform) {
                    proptest::prop_assert!(text.get(rule.at).is_some_and(|word| !word.is_empty()));
                }
                let kinds = anchor_kinds(&text, platform);
                let _missing = missing_anchors(&text, &kinds, "pptpctl/vpn");
            }
        }
    }
}
