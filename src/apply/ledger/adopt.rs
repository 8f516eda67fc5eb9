//! Continues the ledger of a dead supervisor of the same profile, of which nothing but the kill switch is left.

use super::{Directories, Header, Ledger};
use crate::apply::ApplyError;

impl Ledger {
    /// Returns the profile's ledger under a new header, so that a later plan replaces its steps one by one and none is
    /// undone before. `None` if there is no ledger, or one that has to be recovered first.
    ///
    /// # Errors
    /// Returns an error if it can't be read, or the header can't be written.
    pub fn adopt(places: &Directories, header: &Header) -> Result<Option<Self>, ApplyError> {
        let path = places.ledger(&header.profile);
        if !path.exists() {
            return Ok(None);
        }
        let Some(mut ledger) = Self::open(&path)? else { return Ok(None) };
        let record = &ledger.record;
        let is_here =
            record.header.boot == header.boot && record.header.namespace().same_as(header.namespace());
        let is_kill_switch = record.entries.iter().all(|entry| entry.step.is_of_kill_switch());
        if !is_here || !is_kill_switch || record.entries.is_empty() || !record.garbled.is_empty() {
            return Ok(None);
        }
        ledger.record.header = header.clone();
        // A device of the dead supervisor.
        ledger.record.device = None;
        ledger.compact().map_err(|error| super::file_error(&path, error))?;
        Ok(Some(ledger))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        apply::ledger::PriorState,
        plan::{OpenTunStep, Part, PolicyStep, Step},
    };

    fn block(dest: &str) -> Step {
        Step::Policy(PolicyStep::Block { dest: dest.parse().unwrap(), table: None })
    }

    /// Returns directories with the ledger of a process that has gone, and these steps in it.
    fn left_behind(change: impl Fn(&mut Header), steps: &[Step]) -> (tempfile::TempDir, Directories) {
        let dir = tempfile::tempdir().unwrap();
        let places = Directories { run: dir.path().to_owned(), state: dir.path().to_owned() };
        let mut header = Header { pid: 1 << 30, ..Header::of_this_process("vpn") };
        change(&mut header);
        let mut ledger = Ledger::create(&places, header).unwrap();
        for step in steps {
            ledger.intend(Part::Transport, step, PriorState::Nothing, None).unwrap();
        }
        (dir, places)
    }

    #[test]
    fn kill_switch_continues_under_the_new_header() {
        let header = Header::of_this_process("vpn");
        let steps = [block("0.0.0.0/1"), block("128.0.0.0/1")];
        let (_dir, places) = left_behind(|_| {}, &steps);
        let adopted = Ledger::adopt(&places, &header).unwrap().unwrap();
        let read = Ledger::open(adopted.path()).unwrap().unwrap();
        assert_eq!(read.record().header, header);
        let kept: Vec<_> = read.record().entries.iter().map(|entry| entry.step.clone()).collect();
        assert_eq!(kept, steps);
        assert_eq!(read.record().device, None);
    }

    #[test]
    fn ledger_that_must_be_recovered_is_not_continued() {
        let header = Header::of_this_process("vpn");
        let none = |places: &Directories| Ledger::adopt(places, &header).unwrap().is_none();
        let tun = Step::OpenTun(OpenTunStep { unit: None });
        let (_dir, places) = left_behind(|_| {}, &[block("0.0.0.0/1"), tun]);
        assert!(none(&places), "other steps");
        let (_dir, places) = left_behind(|_| {}, &[]);
        assert!(none(&places), "no steps");
        let (_dir, places) = left_behind(|header| header.boot = "another".to_owned(), &[block("0.0.0.0/1")]);
        assert!(none(&places), "another boot");
        let elsewhere = |header: &mut Header| (header.netns, header.netns_cookie) = (1, 1);
        let (_dir, places) = left_behind(elsewhere, &[block("0.0.0.0/1")]);
        assert!(none(&places) || cfg!(not(target_os = "linux")), "another namespace");
        let (_dir, places) = left_behind(|_| {}, &[block("0.0.0.0/1")]);
        let path = places.ledger("vpn");
        let text = std::fs::read_to_string(&path).unwrap() + "garbled\n";
        std::fs::write(&path, text).unwrap();
        assert!(none(&places), "a line that can't be read");
        std::fs::remove_file(&path).unwrap();
        assert!(none(&places), "no ledger");
    }
}
