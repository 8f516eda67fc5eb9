//! OpenBSD's `net.inet.gre.allow`, by sysctl(8). Before 6.3 its kernel handed GRE packets to nobody while it was 0; since
//! gre(4) was written anew (if_gre.c of 2018), what gre(4) declines goes to raw sockets whatever it says.
//!
//! It belongs to the whole host. What was set before us stays set; what we set is set back by the last tunnel that
//! has asked for it, if that is the one that set it.

use super::{Cause, Host, Program, ledger::PriorState};

const NAME: &str = "net.inet.gre.allow";

/// Whether GRE is allowed already: then it is none of our business.
///
/// # Errors
/// When sysctl(8) does not say.
pub(super) fn observe(host: &mut dyn Host) -> Result<PriorState, Cause> {
    Ok(if allowed(host)? { PriorState::Same } else { PriorState::Nothing })
}

/// Allows it.
pub(super) fn perform(host: &mut dyn Host, before: &PriorState) -> Result<(), Cause> {
    if *before == PriorState::Same { Ok(()) } else { set(host, true) }
}

/// Allows it again, if someone has forbidden it meanwhile.
pub(super) fn renew(host: &mut dyn Host, before: &PriorState) -> Result<(), Cause> {
    if *before == PriorState::Same || allowed(host)? { Ok(()) } else { set(host, true) }
}

/// Forbids it, if it was so before and no other tunnel has asked for it.
pub(super) fn undo(host: &mut dyn Host, before: &PriorState, needed: bool) -> Result<(), Cause> {
    if *before == PriorState::Same || needed || !allowed(host)? { Ok(()) } else { set(host, false) }
}

fn allowed(host: &mut dyn Host) -> Result<bool, Cause> {
    let program = Program::find("sysctl", &["-n", NAME]);
    let output = host.run(&program)?.or_failed(&program)?;
    Ok(output.stdout.trim() != "0")
}

fn set(host: &mut dyn Host, allow: bool) -> Result<(), Cause> {
    let setting = format!("{NAME}={}", u8::from(allow));
    let program = Program::find("sysctl", &[&setting]);
    host.run(&program)?.or_failed(&program)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use crate::{
        apply::{
            Changes, Directories, Output,
            ledger::Header,
            tests::fake_host::{FakeHost, HostState},
        },
        plan::{Part, Plan, Platform, Step},
    };

    /// An OpenBSD in so far as it has the one setting.
    fn openbsd(setting: &Rc<Cell<bool>>) -> FakeHost {
        let setting = Rc::clone(setting);
        FakeHost::new(HostState::default()).with_programs(Rc::new(move |program, _| {
            match program.to_string().as_str() {
                "sysctl -n net.inet.gre.allow" => {}
                "sysctl net.inet.gre.allow=1" => setting.set(true),
                "sysctl net.inet.gre.allow=0" => setting.set(false),
                other => unreachable!("{other}"),
            }
            Ok(Output {
                code: Some(0),
                stdout: format!("{}\n", u8::from(setting.get())),
                ..Output::default()
            })
        }))
    }

    fn plan() -> Plan {
        Plan {
            platform: Platform::OpenBsd,
            part: Part::Transport,
            steps: vec![Step::AllowGre],
            notes: Vec::new(),
        }
    }

    /// Two tunnels that ask for it; the second after the first.
    struct Two {
        setting: Rc<Cell<bool>>,
        model: FakeHost,
        _place: tempfile::TempDir,
        places: Directories,
    }

    impl Two {
        fn on_a_host_that_says(allowed: bool) -> Self {
            let setting = Rc::new(Cell::new(allowed));
            let place = tempfile::tempdir().unwrap();
            let places = Directories { run: place.path().join("run"), state: place.path().join("state") };
            Self { model: openbsd(&setting), setting, _place: place, places }
        }

        fn up(&self, profile: &str) -> Changes {
            let host = Box::new(self.model.clone());
            let mut session = Changes::open_as(&self.places, Header::here(profile), host).unwrap();
            session.perform(&plan()).unwrap();
            assert!(self.setting.get());
            session
        }
    }

    #[test]
    fn it_is_allowed_while_the_tunnel_is_there() {
        let host = Two::on_a_host_that_says(false);
        let session = host.up("office");
        assert!(session.undo_all_and_close().is_empty());
        assert!(!host.setting.get());
    }

    #[test]
    fn what_the_administrator_has_set_stays() {
        let host = Two::on_a_host_that_says(true);
        assert!(host.up("office").undo_all_and_close().is_empty());
        assert!(host.setting.get());
    }

    #[test]
    fn it_stays_while_another_tunnel_needs_it() {
        let host = Two::on_a_host_that_says(false);
        let (office, lab) = (host.up("office"), host.up("lab"));
        assert!(office.undo_all_and_close().is_empty());
        assert!(host.setting.get());
        assert!(lab.undo_all_and_close().is_empty());
        let (office, lab) = {
            host.setting.set(false);
            (host.up("office"), host.up("lab"))
        };
        assert!(lab.undo_all_and_close().is_empty());
        assert!(host.setting.get());
        assert!(office.undo_all_and_close().is_empty());
        assert!(!host.setting.get());
    }

    #[test]
    fn what_someone_forbids_meanwhile_is_allowed_again() {
        let host = Two::on_a_host_that_says(false);
        let mut session = host.up("office");
        host.setting.set(false);
        session.perform(&plan()).unwrap();
        assert!(host.setting.get());
        assert!(session.undo_all_and_close().is_empty());
        assert!(!host.setting.get());
    }
}
