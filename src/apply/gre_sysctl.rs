//! OpenBSD's `net.inet.gre.allow`, set with sysctl(8). Before 6.3, its kernel delivered no GRE packets while
//! it was 0; since gre(4) was rewritten (if_gre.c of 2018), raw sockets get the packets that gre(4) declines,
//! whatever its value.
//!
//! The setting is global to the host. A value of 1 set by the administrator stays. The value that a tunnel
//! changed is restored when the last tunnel that needs it goes down, if that is the one that changed it.

use super::{
    Cause, Host, Program,
    ledger::PriorState,
    steps::{Perform, UndoContext},
};
use crate::plan::AllowGreStep;

const NAME: &str = "net.inet.gre.allow";

impl Perform for AllowGreStep {
    /// Returns [`PriorState::Same`] if GRE is allowed already; the setting is then left alone.
    fn observe(&self, host: &mut Host) -> Result<PriorState, Cause> {
        Ok(if allowed(host)? { PriorState::Same } else { PriorState::Nothing })
    }

    fn perform(&self, host: &mut Host, before: &PriorState, _notes: &mut Vec<String>) -> Result<(), Cause> {
        if *before == PriorState::Same { Ok(()) } else { set(host, true) }
    }

    /// Allows GRE again if another program has forbidden it meanwhile.
    fn renew(&self, host: &mut Host, before: &PriorState) -> Result<bool, Cause> {
        if *before != PriorState::Same && !allowed(host)? {
            set(host, true)?;
        }
        Ok(false)
    }

    /// Forbids GRE if it was forbidden before and no other tunnel needs it.
    fn undo(&self, host: &mut Host, before: &PriorState, context: UndoContext<'_>) -> Result<(), Cause> {
        if *before == PriorState::Same || context.is_needed || !allowed(host)? {
            return Ok(());
        }
        set(host, false)
    }
}

fn allowed(host: &mut Host) -> Result<bool, Cause> {
    let output = host.run_successfully(&Program::find("sysctl", &["-n", NAME]))?;
    Ok(output.stdout.trim() != "0")
}

fn set(host: &mut Host, allow: bool) -> Result<(), Cause> {
    let setting = format!("{NAME}={}", u8::from(allow));
    host.run_successfully(&Program::find("sysctl", &[&setting]))?;
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
        plan::{AllowGreStep, Part, Plan, Step},
        platform::Platform,
    };

    /// A fake OpenBSD host with this one setting.
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
            steps: vec![Step::AllowGre(AllowGreStep {})],
            notes: Vec::new(),
        }
    }

    /// A host for two tunnels that both allow GRE, one after the other.
    struct TwoTunnels {
        setting: Rc<Cell<bool>>,
        model: FakeHost,
        _dir: tempfile::TempDir,
        directories: Directories,
    }

    impl TwoTunnels {
        fn with_setting(allowed: bool) -> Self {
            let setting = Rc::new(Cell::new(allowed));
            let dir = tempfile::tempdir().unwrap();
            let directories = Directories { run: dir.path().join("run"), state: dir.path().join("state") };
            Self { model: openbsd(&setting), setting, _dir: dir, directories }
        }

        fn up(&self, profile: &str) -> Changes {
            let host = self.model.host();
            let mut session =
                Changes::open_as(&self.directories, Header::of_this_process(profile), host).unwrap();
            session.perform(&plan()).unwrap();
            assert!(self.setting.get());
            session
        }
    }

    #[test]
    fn gre_is_allowed_while_the_tunnel_is_up() {
        let host = TwoTunnels::with_setting(false);
        let session = host.up("office");
        assert!(session.undo_all_and_close().is_empty());
        assert!(!host.setting.get());
    }

    #[test]
    fn setting_of_the_administrator_is_kept() {
        let host = TwoTunnels::with_setting(true);
        assert!(host.up("office").undo_all_and_close().is_empty());
        assert!(host.setting.get());
    }

    #[test]
    fn gre_stays_allowed_while_another_tunnel_needs_it() {
        let host = TwoTunnels::with_setting(false);
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
    fn gre_forbidden_by_another_program_is_allowed_again() {
        let host = TwoTunnels::with_setting(false);
        let mut session = host.up("office");
        host.setting.set(false);
        session.perform(&plan()).unwrap();
        assert!(host.setting.get());
        assert!(session.undo_all_and_close().is_empty());
        assert!(!host.setting.get());
    }
}
