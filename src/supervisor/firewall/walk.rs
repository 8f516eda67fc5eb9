//! Which rules can drop a packet, and which of them did, by the counters of two listings. No I/O.

use std::time::Duration;

use super::rules::{Action, Base, Chain, Direction, Match, Packet, Rule, Table, Test, Tool};

/// Rules that are evaluated for one packet and hook; what follows them is not known.
const MAX_RULES: usize = 100_000;
/// The kernel allows 16 nested jumps.
const MAX_DEPTH: usize = 16;

/// Time in which every server repeats its first packet: pppd does after 3 s.
const REPEATED: Duration = Duration::from_secs(4);

/// A rule, or the policy of a chain, that can drop the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suspect {
    pub table: usize,
    /// The chain on the hook, where a remedy belongs.
    pub base: usize,
    pub chain: usize,
    /// `None` is the policy.
    pub rule: Option<usize>,
    /// Whether it drops the packet for certain, unless another rule does first.
    pub is_sure: bool,
}

/// The suspect that dropped the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Culprit {
    pub suspect: Suspect,
    /// By how much its counter moved; `None` if it is only probable.
    pub counted: Option<u64>,
}

/// Returns everything that can drop the packet, in the order of the tables.
pub(super) fn suspects(tables: &[Table], packet: &Packet) -> Vec<Suspect> {
    let mut found = Vec::new();
    let is_answered = packet.direction == Direction::In
        && tables.iter().any(|table| table.tool == Tool::KillSwitch && answers_pass(table, packet));
    for (number, table) in tables.iter().enumerate() {
        if matches!(table.tool, Tool::Pf | Tool::KillSwitch) {
            // The kill switch passes the tunnel's packets with state, before the other rules of pf.
            if !is_answered {
                found.extend(pf(number, table, packet));
            }
            continue;
        }
        for (base, chain) in table.chains.iter().enumerate() {
            let Some(Base { direction, drops, devices, .. }) = &chain.base else { continue };
            let on_device = if devices.is_empty() {
                Match::Yes
            } else {
                Test::Device(devices.clone()).holds().matches(packet)
            };
            if *direction != packet.direction || on_device == Match::No {
                continue;
            }
            let is_sure = on_device == Match::Yes;
            let mut walk = Walk { table, number, base, packet, left: MAX_RULES, found: Vec::new() };
            if let Outcome::Through { all } = walk.chain(base, is_sure, 0)
                && *drops
            {
                let is_sure = is_sure && all;
                walk.found.push(Suspect { table: number, base, chain: base, rule: None, is_sure });
            }
            found.append(&mut walk.found);
        }
    }
    found
}

/// Returns whether all rules certainly let the packet pass.
pub(super) fn passes(tables: &[Table], packet: &Packet) -> bool {
    suspects(tables, packet).is_empty()
}

/// What a chain does with the packet.
enum Outcome {
    /// It decides.
    Ended,
    /// The rules after the jump follow; `all` if that is certain.
    Through { all: bool },
}

/// Where the packet goes after a rule that it may match.
enum Next {
    /// To the next rule; `all` if that is certain.
    Rule { all: bool },
    /// Out of the chain.
    Leave(Outcome),
}

struct Walk<'a> {
    table: &'a Table,
    number: usize,
    base: usize,
    packet: &'a Packet,
    left: usize,
    found: Vec<Suspect>,
}

impl Walk<'_> {
    /// Walks through a chain. `is_sure` if the packet certainly gets there.
    fn chain(&mut self, chain: usize, is_sure: bool, depth: usize) -> Outcome {
        let rules: &[Rule] = self.table.chains.get(chain).map_or(&[], |chain: &Chain| &chain.rules);
        let mut through = true;
        for (at, rule) in rules.iter().enumerate() {
            let Some(left) = self.left.checked_sub(1) else { return Outcome::Through { all: false } };
            self.left = left;
            let matched = rule.matches(self.packet);
            if matched == Match::No {
                continue;
            }
            match self.act(&rule.action, (chain, at), matched, is_sure && through, depth) {
                Next::Rule { all } => through &= all,
                Next::Leave(Outcome::Through { all }) => return Outcome::Through { all: all && through },
                Next::Leave(Outcome::Ended) => return Outcome::Ended,
            }
        }
        Outcome::Through { all: through }
    }

    fn act(
        &mut self,
        action: &Action,
        (chain, at): (usize, usize),
        matched: Match,
        is_sure: bool,
        depth: usize,
    ) -> Next {
        let certain = matched == Match::Yes;
        let leave = |outcome| if certain { Next::Leave(outcome) } else { Next::Rule { all: false } };
        match action {
            Action::Continue | Action::PfPass { .. } | Action::PfBlock { .. } => Next::Rule { all: true },
            Action::Accept => leave(Outcome::Ended),
            Action::Drop | Action::Elsewhere => {
                let is_sure = is_sure && certain && *action == Action::Drop;
                let suspect = Suspect { table: self.number, base: self.base, chain, rule: Some(at), is_sure };
                self.found.push(suspect);
                leave(Outcome::Ended)
            }
            Action::Return => leave(Outcome::Through { all: true }),
            Action::Jump(name) | Action::Goto(name) => {
                let target = self.table.chains.iter().position(|chain| chain.name == *name);
                let outcome = match target.filter(|_| depth < MAX_DEPTH) {
                    Some(target) => self.chain(target, is_sure && certain, depth + 1),
                    None => Outcome::Through { all: false },
                };
                match (outcome, action) {
                    (Outcome::Through { all }, Action::Jump(_)) => Next::Rule { all },
                    (outcome, _) => leave(outcome),
                }
            }
            Action::Map(entries) => {
                let mut through = true;
                for (condition, action) in entries {
                    let entry = condition.matches(self.packet).min(matched);
                    if entry == Match::No {
                        continue;
                    }
                    match self.act(action, (chain, at), entry, is_sure && through, depth) {
                        Next::Rule { all } if entry == Match::Yes => {
                            return Next::Rule { all: all && through };
                        }
                        Next::Rule { all } => through &= all,
                        leave @ Next::Leave(_) => return leave,
                    }
                }
                Next::Rule { all: through }
            }
        }
    }
}

/// pf: the last rule that matches decides, or the first with `quick`. A packet that answers one which a rule with
/// state let pass is let pass.
fn pf(number: usize, table: &Table, packet: &Packet) -> Vec<Suspect> {
    let rules = table.chains.first().map_or(&[][..], |chain| &chain.rules);
    if packet.direction == Direction::In && answers_pass(table, packet) {
        return Vec::new();
    }
    pf_decision(number, rules, packet).1
}

/// Returns whether a rule with state lets pass the packet that this one answers.
fn answers_pass(table: &Table, packet: &Packet) -> bool {
    let rules = table.chains.first().map_or(&[][..], |chain| &chain.rules);
    let request = Packet { direction: Direction::Out, ..packet.clone() };
    let (decides, suspects) = pf_decision(0, rules, &request);
    let rule = decides.and_then(|at| rules.get(at));
    rule.is_some_and(|rule| matches!(rule.action, Action::PfPass { keeps_state: true, .. }))
        && !suspects.iter().any(|suspect| suspect.is_sure)
}

/// Returns the last rule that certainly matches and lets the packet pass or blocks it, and the suspects.
fn pf_decision(number: usize, rules: &[Rule], packet: &Packet) -> (Option<usize>, Vec<Suspect>) {
    let suspect = |rule, is_sure| Suspect { table: number, base: 0, chain: 0, rule: Some(rule), is_sure };
    let (mut last, mut decides) = (None, None);
    // Whether an earlier rule may have decided at once; whether one after the last may decide otherwise.
    let (mut may_have_ended, mut is_doubtful) = (false, false);
    let mut suspects = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        let matched = rule.matches(packet);
        let (blocks, quick) = match rule.action {
            _ if matched == Match::No => continue,
            Action::PfBlock { quick } => (true, quick),
            Action::PfPass { quick, .. } => (false, quick),
            // An anchor, whose rules are not in the listing.
            Action::Elsewhere => {
                may_have_ended = true;
                continue;
            }
            _ => continue,
        };
        if matched == Match::Yes {
            (last, decides, is_doubtful) = (blocks.then_some(at), Some(at), false);
            if quick {
                break;
            }
        } else if blocks && quick {
            suspects.push(suspect(at, false));
            may_have_ended = true;
        } else if quick {
            may_have_ended = true;
        } else {
            is_doubtful = true;
            last = if blocks { Some(at) } else { last };
        }
    }
    suspects.extend(last.map(|at| suspect(at, !may_have_ended && !is_doubtful)));
    (decides, suspects)
}

/// Returns which of the suspects dropped packets between two listings, or the most probable one. `after` is the
/// time between them; `None` means that a packet was certainly sent between them.
///
/// A suspect that counts and has counted nothing is none, if a packet must have come by.
pub(super) fn culprit(
    suspects: &[Suspect],
    first: &[Table],
    second: &[Table],
    after: Option<Duration>,
) -> Option<Culprit> {
    let moved: Vec<(&Suspect, u64)> = suspects
        .iter()
        .filter_map(|suspect| {
            let (before, now) = (counter(first, second, suspect)?, counter(second, second, suspect)?);
            now.checked_sub(before).filter(|moved| *moved > 0).map(|moved| (suspect, moved))
        })
        .collect();
    if let [(suspect, moved)] = moved[..] {
        // Packets of others come by between two readings that are seconds apart.
        let counted = (after.is_none() || is_specific(second, suspect)).then_some(moved);
        return Some(Culprit { suspect: suspect.clone(), counted });
    }
    if let Some((suspect, _)) = moved.iter().find(|(suspect, _)| suspect.is_sure).or(moved.first()) {
        return Some(Culprit { suspect: (*suspect).clone(), counted: None });
    }
    let seen = after.is_none_or(|after| after >= REPEATED);
    let possible = |suspect: &&Suspect| match counter(second, second, suspect) {
        None => true,
        Some(count) => !seen && count > 0,
    };
    // Without a packet that was certainly dropped here, only a rule that certainly drops it is named.
    let suspect = suspects.iter().filter(possible).find(|suspect| suspect.is_sure || after.is_none())?;
    Some(Culprit { suspect: suspect.clone(), counted: None })
}

/// Returns whether a suspect is a rule for some protocols, senders or ports only.
fn is_specific(listing: &[Table], suspect: &Suspect) -> bool {
    let rule = suspect.rule.and_then(|at| chain_of(listing, suspect)?.rules.get(at));
    let specific = |test: &Test| matches!(test, Test::Protocol(_) | Test::Source(_) | Test::SourcePort(_));
    rule.is_some_and(|rule| rule.conditions.iter().any(|condition| specific(&condition.test)))
}

/// Returns the counter of a suspect of `named` in a listing, if its rule is in the same place there.
fn counter(listing: &[Table], named: &[Table], suspect: &Suspect) -> Option<u64> {
    let (chain, other) = (chain_of(listing, suspect)?, chain_of(named, suspect)?);
    if chain.name != other.name {
        return None;
    }
    match suspect.rule {
        None => chain.base.as_ref()?.counter,
        Some(at) => {
            let (rule, same) = (chain.rules.get(at)?, other.rules.get(at)?);
            if rule.text == same.text { rule.counter } else { None }
        }
    }
}

fn chain_of<'a>(listing: &'a [Table], suspect: &Suspect) -> Option<&'a Chain> {
    listing.get(suspect.table)?.chains.get(suspect.chain)
}

/// Returns whether a suspect counts and has never counted a packet.
pub(super) fn is_idle(listing: &[Table], suspect: &Suspect) -> bool {
    counter(listing, listing, suspect) == Some(0)
}
