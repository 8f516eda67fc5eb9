//! `recover`: undoes the steps of dead supervisors, of all profiles.

use super::{
    exit::{self, Code},
    output::{self, data, error, line},
    render,
};
use crate::supervisor::{self, RecoveredItem, Recovery};

pub fn main(json: bool) -> Code {
    if let Err(code) =
        output::need_root("recover", "it undoes changes to routes, rules and files of this host")
    {
        return code;
    }
    // Without it, every supervisor would seem to have died in an earlier boot.
    if let Err(code) = render::need_proc("recover") {
        return code;
    }
    let recovery = supervisor::recover(None);
    if json {
        return main_json(&recovery);
    }
    for recovered in &recovery.recovered {
        line(words(recovered));
    }
    for name in &recovery.alive {
        line(format_args!("{name}: running, not changed"));
    }
    for file in &recovery.removed {
        line(format_args!("removed {}", file.display()));
    }
    for route in &recovery.host_routes {
        line(format_args!("removed the host route {route}, which a killed call manager of pptp had left"));
    }
    let strays = supervisor::recover_strays();
    let has_strays = strays.rules + strays.routes + strays.anchors > 0;
    if has_strays {
        let what = if strays.lifted { "lifted the kill switch" } else { "removed the default route" };
        line(format_args!(
            "{what} of a tunnel whose ledger is lost: {} rules, {} routes{}",
            strays.rules,
            strays.routes,
            if strays.anchors > 0 { format!(", {} anchors of pf", strays.anchors) } else { String::new() }
        ));
    }
    recovery.errors.iter().chain(&strays.errors).for_each(error);
    let nothing = recovery.recovered.is_empty() && recovery.host_routes.is_empty() && !has_strays;
    let failed = !recovery.errors.is_empty() || !strays.errors.is_empty();
    if nothing && !failed && recovery.removed.is_empty() {
        line("nothing to undo");
    }
    if failed { exit::NOT_UNDONE } else { exit::OK }
}

fn main_json(recovery: &Recovery) -> Code {
    let strays = supervisor::recover_strays();
    let errors: Vec<String> = recovery.errors.iter().chain(&strays.errors).map(ToString::to_string).collect();
    let code = if errors.is_empty() { exit::OK } else { exit::NOT_UNDONE };
    data(serde_json::json!({
        "recovered": recovery.recovered.iter().map(item_to_json).collect::<Vec<_>>(),
        "running": recovery.alive,
        "removed": recovery.removed,
        "host_routes": recovery.host_routes,
        "strays": { "rules": strays.rules, "routes": strays.routes, "lifted_kill_switch": strays.lifted },
        "errors": errors,
    }));
    code
}

/// Returns what was undone for one tunnel, for programs.
pub fn item_to_json(item: &RecoveredItem) -> serde_json::Value {
    let RecoveredItem { profile, steps, gone, kept } = item;
    serde_json::json!({ "profile": profile, "steps": steps, "gone": gone, "kept": kept })
}

/// Returns a line about what was undone for one tunnel.
pub fn words(recovered: &RecoveredItem) -> String {
    let RecoveredItem { profile, steps, gone, kept } = recovered;
    if *kept > 0 {
        format!(
            "{profile}: undid {steps} steps that a killed supervisor had left; leak = \"block\": packets for the \
             tunnel stay blocked until it is up, or until `pptpctl recover`"
        )
    } else if *gone {
        format!("{profile}: its changes ended with a restart or with its namespace; nothing was left to undo")
    } else {
        format!("{profile}: undid {steps} steps that a killed supervisor had left")
    }
}
