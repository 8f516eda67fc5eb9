//! Which package has which program, asked of dpkg(1).

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};

/// The packages that every Debian has: those marked Essential, those that these depend on (also by a name that another
/// package provides, as mawk provides awk), and apt, which installs all others.
pub fn essential_packages() -> BTreeSet<String> {
    let said =
        dpkg_query(&["-W", "-f", "${Package}\t${Essential}\t${Pre-Depends}, ${Depends}\t${Provides}\n"])
            .unwrap();
    let packages: Vec<[&str; 4]> =
        said.lines().map(|line| line.split('\t').collect::<Vec<_>>().try_into().unwrap()).collect();
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

/// The names of a package's programs; `None` when it is not installed.
pub fn programs_of(package: &str) -> Option<BTreeSet<String>> {
    let paths = dpkg_query(&["-L", package])?;
    let programs = paths.lines().filter_map(|path| {
        let (directory, name) = path.rsplit_once('/')?;
        let of_programs = ["/bin", "/sbin", "/lib/systemd"].iter().any(|end| directory.ends_with(end));
        of_programs.then(|| name.to_owned())
    });
    let mut names: BTreeSet<String> = programs.collect();
    // Its program has the name awk by update-alternatives(1) only.
    if package == "mawk" {
        names.insert("awk".to_owned());
    }
    Some(names)
}

/// The names in a field such as `libc6 (>= 2.36), mawk | gawk, perl:any`.
fn package_names(field: &str) -> impl Iterator<Item = String> {
    let names =
        field.split([',', '|']).filter_map(|name| name.split([' ', ':']).find(|word| !word.is_empty()));
    names.map(str::to_owned)
}

/// Standard output; `None` when it fails.
fn dpkg_query(arguments: &[&str]) -> Option<String> {
    let output = Command::new("dpkg-query").args(arguments).stdin(Stdio::null()).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}
