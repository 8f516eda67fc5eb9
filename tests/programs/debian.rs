//! Queries dpkg(1) for the programs of packages.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};

/// Returns the packages of every Debian system: those marked Essential, their direct dependencies (including
/// packages that provide one, as mawk provides awk), and apt, which installs all others.
pub fn essential_packages() -> BTreeSet<String> {
    let packages_text =
        dpkg_query(&["-W", "-f", "${Package}\t${Essential}\t${Pre-Depends}, ${Depends}\t${Provides}\n"])
            .unwrap();
    let packages: Vec<[&str; 4]> =
        packages_text.lines().map(|line| line.split('\t').collect::<Vec<_>>().try_into().unwrap()).collect();
    let mut essential = BTreeSet::from(["apt".to_owned()]);
    for [package, marked, depends, _] in &packages {
        if *marked == "yes" {
            essential.insert((*package).to_owned());
            essential.extend(package_names(depends));
        }
    }
    for [package, _, _, provides] in &packages {
        if package_names(provides).any(|name| essential.contains(&name)) {
            essential.insert((*package).to_owned());
        }
    }
    essential
}

/// Returns the names of a package's programs; `None` if it is not installed.
pub fn programs_of(package: &str) -> Option<BTreeSet<String>> {
    let paths = dpkg_query(&["-L", package])?;
    let programs = paths.lines().filter_map(|path| {
        let (directory, name) = path.rsplit_once('/')?;
        let of_programs = ["/bin", "/sbin", "/lib/systemd"].iter().any(|end| directory.ends_with(end));
        of_programs.then(|| name.to_owned())
    });
    let mut names: BTreeSet<String> = programs.collect();
    // The name awk is a link made by update-alternatives(1).
    if package == "mawk" {
        names.insert("awk".to_owned());
    }
    Some(names)
}

/// Returns the names in a field such as `libc6 (>= 2.36), mawk | gawk, perl:any`.
fn package_names(field: &str) -> impl Iterator<Item = String> {
    let names =
        field.split([',', '|']).filter_map(|name| name.split([' ', ':']).find(|word| !word.is_empty()));
    names.map(str::to_owned)
}

/// Runs dpkg-query(1) and returns its standard output; `None` if it fails.
fn dpkg_query(arguments: &[&str]) -> Option<String> {
    let output = Command::new("dpkg-query").args(arguments).stdin(Stdio::null()).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}
