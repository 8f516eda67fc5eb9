//! A table of nftables: checked, then loaded in one transaction, deleted as a whole.

use std::path::Path;

use super::super::{Cause, Host, Output, Program};
use crate::plan::{self, FirewallStep};

/// Refuses a table of that name that someone else has made.
pub(super) fn observe(host: &mut dyn Host, table: &str) -> Result<(), Cause> {
    if is_there(host, table)? {
        return Err(Cause::Taken(format!(
            "there is a table of that name already, which this tunnel did not make; \
             `nft delete table inet {table}` takes it away"
        )));
    }
    Ok(())
}

pub(super) fn is_there(host: &mut dyn Host, table: &str) -> Result<bool, Cause> {
    let program = Program::find("nft", &["list", "tables", "inet"]);
    let tables = host.run(&program)?.or_failed(&program)?.stdout;
    Ok(tables.lines().any(|line| line.trim() == format!("table inet {table}")))
}

/// The check comes first, so that nothing at all happens to the kernel for a file with a mistake.
pub(super) fn load(host: &mut dyn Host, step: &FirewallStep) -> Result<(), Cause> {
    if let FirewallStep::Nft { file: Some(file), .. } = step {
        stays_inside(file)?;
    }
    let text = plan::nft_text(step).ok_or_else(|| Cause::Ledger("rules without their facts".to_owned()))?;
    feed(host, &["-c", "-f", "-"], &text)?;
    feed(host, &["-f", "-"], &text)
}

/// Whether or not it is there: adding a table that is there changes nothing, and the deletion is in the same
/// transaction.
pub(super) fn remove(host: &mut dyn Host, table: &str) -> Result<(), Cause> {
    feed(host, &["-f", "-"], &plan::nft_removal(table))
}

fn feed(host: &mut dyn Host, args: &[&str], text: &str) -> Result<(), Cause> {
    let program = Program::find("nft", args).with_input(text);
    let output = host.run(&program)?;
    // The line of our wrapper that includes the person's file says nothing to the person.
    let stderr: Vec<&str> =
        output.stderr.lines().filter(|line| !line.starts_with("In file included from /dev/stdin")).collect();
    let output = Output { stderr: stderr.join("\n"), ..output };
    output.or_failed(&program)?;
    Ok(())
}

/// A file with one closing brace too many would end our table and go on outside, where nothing is undone.
fn stays_inside(file: &Path) -> Result<(), Cause> {
    let failed = |error| Cause::File { path: file.to_owned(), error };
    let text = std::fs::read_to_string(file).map_err(failed)?;
    match first_brace_too_many(&text) {
        None => Ok(()),
        Some(line) => Err(Cause::Taken(format!(
            "{}:{line}: this brace closes the table that the rules are loaded into; \
             the file holds what stands inside of it",
            file.display()
        ))),
    }
}

/// The line of the first `}` that nothing in the text has opened.
pub(super) fn first_brace_too_many(text: &str) -> Option<usize> {
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
