//! An nftables table: checked, loaded in one transaction, and deleted as a whole.

use std::path::Path;

use super::super::{Cause, Host, Output, Program};
use crate::{
    os::launch::files,
    plan::{self, FirewallStep},
};

/// Refuses a table of that name that another program has made.
pub(in crate::apply) fn observe(host: &mut Host, family: &str, table: &str) -> Result<(), Cause> {
    if is_there(host, family, table)? {
        return Err(Cause::Taken(format!(
            "a table of that name exists that this tunnel did not create; `nft delete table {family} {table}` removes it"
        )));
    }
    Ok(())
}

pub(super) fn is_there(host: &mut Host, family: &str, table: &str) -> Result<bool, Cause> {
    let tables = host.run_successfully(&Program::find("nft", &["list", "tables", family]))?.stdout;
    Ok(tables.lines().any(|line| line.trim() == format!("table {family} {table}")))
}

/// Checks the rules first, so that a file with an error does not touch the kernel's tables.
pub(super) fn load(host: &mut Host, step: &FirewallStep) -> Result<(), Cause> {
    // The file may have changed since the step was performed first.
    if let FirewallStep::Nft { file: Some(file), .. } = step {
        stays_inside(file)?;
    }
    let text = plan::nft_text(step).ok_or_else(|| Cause::Ledger("rules without their facts".to_owned()))?;
    feed(host, &["-c", "-f", "-"], &text)?;
    feed(host, &["-f", "-"], &text)
}

/// Deletes the table, whether or not it exists: adding an existing table changes nothing, and the deletion is
/// in the same transaction.
pub(in crate::apply) fn remove(host: &mut Host, family: &str, table: &str) -> Result<(), Cause> {
    feed(host, &["-f", "-"], &plan::nft_removal(family, table))
}

pub(in crate::apply) fn feed(host: &mut Host, args: &[&str], text: &str) -> Result<(), Cause> {
    let program = Program::find("nft", args).with_input(text);
    let output = host.run(&program)?;
    // The line of our wrapper that includes the user's file means nothing to the user.
    let stderr: Vec<&str> =
        output.stderr.lines().filter(|line| !line.starts_with("In file included from /dev/stdin")).collect();
    let output = Output { stderr: stderr.join("\n"), ..output };
    output.or_failed(&program)?;
    Ok(())
}

/// Refuses a file with an extra `}`: the rules after it would be outside our table and never be undone.
pub(super) fn stays_inside(file: &Path) -> Result<(), Cause> {
    let failed = |error| Cause::File { path: file.to_owned(), error };
    let text = files::read_to_string(file).map_err(failed)?;
    // nft(8) calls it junk, and shows a line in which nothing is wrong.
    if text.starts_with('\u{feff}') {
        return Err(Cause::Taken(format!(
            "{}: begins with a byte order mark, which nft does not accept: save it as UTF-8 without one",
            file.display()
        )));
    }
    match first_unbalanced_brace(&text) {
        None => Ok(()),
        Some(line) => Err(Cause::Taken(format!(
            "{}:{line}: this brace closes the table that the rules are loaded into; the file may contain only what stands inside it",
            file.display()
        ))),
    }
}

/// Returns the line of the first `}` that has no opening brace.
pub(super) fn first_unbalanced_brace(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (number, line) in text.lines().enumerate() {
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '"' => quoted = !quoted,
                '#' if !quoted => break,
                '{' if !quoted => depth += 1,
                '}' if !quoted => match depth.checked_sub(1) {
                    Some(left) => depth = left,
                    None => return Some(number + 1),
                },
                _ => {}
            }
        }
    }
    None
}
