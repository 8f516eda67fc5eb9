//! The skeletons of ports in `contrib/ports` against the sources: files that a port installs and its packing list,
//! crates and `Cargo.lock`, the version of Rust, the directory of the profiles. No ports tree is at hand: nothing is
//! built. `UPDATE_GOLDEN=1 cargo test --test ports` rewrites the lists of crates.

#![expect(clippy::unwrap_used, reason = "a test; clippy.toml exempts only the functions marked as one")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

const FREEBSD: &str = "contrib/ports/freebsd/net/pptpctl";
const OPENBSD: &str = "contrib/ports/openbsd/net/pptpctl";
const NETBSD: &str = "contrib/ports/netbsd/net/pptpctl";
const PORTS: [&str; 3] = [FREEBSD, OPENBSD, NETBSD];

/// Ends of words in makefiles: where files are installed, relative to the prefix.
const PREFIXES: [&str; 3] = ["${STAGEDIR}${PREFIX}/", "${DESTDIR}${PREFIX}/", "${PREFIX}/"];

#[test]
fn crates_are_those_of_the_lock_file() {
    let lines = |line: &dyn Fn(&str, &str) -> String| -> String {
        crates().iter().map(|(name, version)| line(name, version) + "\n").collect()
    };
    let freebsd: Vec<String> = crates().iter().map(|(name, version)| format!("{name}-{version}")).collect();
    check_list(
        &format!("{FREEBSD}/Makefile.crates"),
        &format!("CARGO_CRATES=\t{}\n", freebsd.join(" \\\n\t\t")),
    );
    check_list(
        &format!("{OPENBSD}/crates.inc"),
        &lines(&|name, version| format!("MODCARGO_CRATES +=\t{name}\t{version}")),
    );
    check_list(
        &format!("{NETBSD}/cargo-depends.mk"),
        &format!(
            "# $NetBSD$\n\n{}",
            lines(&|name, version| format!("CARGO_CRATE_DEPENDS+=\t{name}-{version}"))
        ),
    );
}

#[test]
fn packing_lists_have_what_is_installed() {
    for port in PORTS {
        let list = ["pkg-plist", "pkg/PLIST", "PLIST"].map(|name| format!("{port}/{name}"));
        let list = list.into_iter().find(|path| root(path).exists()).unwrap();
        let mut installed = installed_files(&read(&format!("{port}/Makefile")));
        // Installed by the framework, from a file of the port.
        installed.retain(|file| !(file.starts_with("share/doc/") && port == FREEBSD));
        if root(&format!("{port}/pkg/README")).exists() {
            installed.insert("share/doc/pkg-readmes/${PKGSTEM}".to_owned());
        }
        assert_eq!(packed_files(&read(&list)), installed, "{list}");
    }
}

#[test]
fn every_port_installs_all_programs_and_pages() {
    let manifest = read("Cargo.toml");
    let programs = manifest.split("[[bin]]").skip(1).map(|part| {
        let line = part.lines().find(|line| line.starts_with("name = ")).unwrap();
        format!("sbin/{}", line.split('"').nth(1).unwrap())
    });
    let pages = fs::read_dir(root("man")).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        format!("man/man{}/{name}", name.rsplit_once('.').unwrap().1)
    });
    let wanted: Vec<String> = programs.chain(pages).collect();
    assert!(wanted.len() >= 5, "{wanted:?}");
    for port in PORTS {
        let installed = installed_files(&read(&format!("{port}/Makefile")));
        for file in &wanted {
            assert!(installed.iter().any(|path| path.ends_with(file)), "{port} does not install {file}");
        }
        assert!(installed.iter().any(|path| path.contains("profiles.toml")), "{port}: no example");
    }
    for path in sources(&PORTS.map(|port| read(&format!("{port}/Makefile"))).concat()) {
        assert!(root(&path).exists(), "a port installs {path}");
    }
}

/// The directory of the profiles is that of the prefix on FreeBSD and NetBSD: every file that names it is changed.
#[test]
fn ports_replace_the_profile_directory_everywhere() {
    let mut files = vec!["profiles.example.toml".to_owned()];
    files_below("src", &mut files);
    files_below("man", &mut files);
    files.retain(|path| {
        // Comments, tests and old ledgers are not installed.
        let is_source = !path.ends_with(".rs") || {
            let text = read(path);
            let code = text.split("#[cfg(test)]").next().unwrap();
            let is_code = |line: &&str| {
                let line = line.trim_start();
                !line.starts_with("//") || (line.starts_with("///") && path.contains("/cli/args"))
            };
            code.lines().filter(is_code).any(|line| line.contains("/etc/pptpctl"))
        };
        is_source
            && !path.contains("tests")
            && !path.ends_with(".ledger")
            && read(path).contains("/etc/pptpctl")
    });
    assert!(files.contains(&"src/platform.rs".to_owned()), "{files:?}");
    for port in [FREEBSD, NETBSD] {
        let makefile = read(&format!("{port}/Makefile"));
        for path in &files {
            assert!(
                makefile.contains(path.as_str()),
                "{port}: {path} has /etc/pptpctl, and it is not replaced"
            );
        }
    }
    assert!(!read(&format!("{OPENBSD}/Makefile")).contains("/etc/pptpctl"));
}

#[test]
fn ports_name_version_and_rust() {
    let version = env!("CARGO_PKG_VERSION");
    let rust = env!("CARGO_PKG_RUST_VERSION");
    for (port, lines) in [
        (FREEBSD, [format!("DISTVERSION=\t{version}\n"), format!("${{RUST_DEFAULT}}>={rust}:lang/")]),
        (OPENBSD, [format!("DISTNAME =\tpptpctl-{version}\n"), format!("has to be {rust} or newer")]),
        (NETBSD, [format!("DISTNAME=\tpptpctl-{version}\n"), format!("RUST_REQ=\t{rust}.0\n")]),
    ] {
        let makefile = read(&format!("{port}/Makefile"));
        for line in lines {
            assert!(makefile.contains(&line), "{port}/Makefile: no {line:?}");
        }
    }
}

/// What portlint(1) and pkglint(1) complain about first.
#[test]
fn comments_and_descriptions_have_the_usual_form() {
    for port in PORTS {
        let makefile = read(&format!("{port}/Makefile"));
        let comment = makefile.lines().find(|line| line.starts_with("COMMENT")).unwrap();
        let comment = comment.split('\t').next_back().unwrap();
        assert!(comment.len() <= 60 && !comment.ends_with('.'), "{port}: {comment}");
        assert!(comment.starts_with(char::is_uppercase), "{port}: {comment}");
        assert!(!["A ", "An ", "The "].iter().any(|word| comment.starts_with(word)), "{port}: {comment}");
        let mut files = Vec::new();
        files_below(port, &mut files);
        for path in files {
            let text = read(&path);
            assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{path}: its end");
            let bad = text.lines().find(|line| line.ends_with([' ', '\t']));
            assert_eq!(bad, None, "{path}: space at the end of a line");
            if path.ends_with("DESCR") || path.ends_with("pkg-descr") {
                assert!(text.lines().all(|line| line.len() <= 80), "{path}: long lines");
            }
        }
        // Recipes begin with a tab, and assignments have one.
        for line in makefile.lines().filter(|line| !line.starts_with(['#', '.', '\t']) && line.contains('='))
        {
            assert!(line.contains('\t') || line.ends_with('='), "{port}/Makefile: {line}");
        }
    }
}

/// Compares a file with what it should be, or rewrites it.
fn check_list(path: &str, wanted: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(root(path), wanted).unwrap();
    }
    let found = fs::read_to_string(root(path)).unwrap_or_default();
    assert!(found == wanted, "{path} does not have the crates of Cargo.lock: UPDATE_GOLDEN=1 rewrites it");
}

/// Returns the crates of `Cargo.lock` that come from a registry, with their versions.
fn crates() -> BTreeSet<(String, String)> {
    let lock = read("Cargo.lock");
    let value = |part: &str, key: &str| {
        let line = part.lines().find(|line| line.starts_with(&format!("{key} = ")))?;
        line.split('"').nth(1).map(str::to_owned)
    };
    let packages = lock.split("[[package]]").skip(1).filter(|part| value(part, "source").is_some());
    packages.map(|part| (value(part, "name").unwrap(), value(part, "version").unwrap())).collect()
}

/// Returns the paths that the makefile installs, relative to the prefix.
fn installed_files(makefile: &str) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for (sources, target) in install_commands(makefile) {
        let Some(target) = PREFIXES.iter().find_map(|prefix| target.strip_prefix(prefix)) else { continue };
        let target = target.replace("${PKGMANDIR}", "man");
        // A target with an extension is a file.
        if sources.len() == 1
            && target.rsplit('/').next().is_some_and(|name| name.contains('.'))
            && !target.contains("/man/")
        {
            files.insert(target);
        } else {
            let names = sources.iter().map(|source| source.rsplit('/').next().unwrap());
            files.extend(names.map(|name| format!("{target}/{name}")));
        }
    }
    files
}

/// Returns the files of the sources that the makefiles install, without what is built.
fn sources(makefiles: &str) -> BTreeSet<String> {
    let all = install_commands(makefiles).into_iter().flat_map(|(sources, _)| sources);
    all.filter_map(|source| source.strip_prefix("${WRKSRC}/").map(str::to_owned))
        .filter(|path| !path.starts_with("target/"))
        .collect()
}

/// Returns sources and target of each command that installs files.
fn install_commands(makefile: &str) -> Vec<(Vec<String>, String)> {
    let commands = makefile.lines().filter_map(|line| {
        let mut words = line.strip_prefix('\t')?.split_whitespace();
        let kind = words.next()?;
        let mut words: Vec<String> = words.map(str::to_owned).collect();
        let installs = ["${INSTALL_PROGRAM}", "${INSTALL_MAN}", "${INSTALL_DATA}"].contains(&kind);
        let target = words.pop()?;
        installs.then_some((words, target))
    });
    commands.collect()
}

/// Returns the files of a packing list, without compression of manual pages.
fn packed_files(list: &str) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for line in list.lines() {
        let (keyword, path) = match line.split_once(' ') {
            Some((keyword, path)) if line.starts_with('@') => (keyword, path),
            _ if line.starts_with('@') => (line, ""),
            _ => ("", line),
        };
        // FreeBSD installs the sample itself; OpenBSD's @sample copies the line before it.
        let is_file = match keyword {
            "" | "@man" | "@bin" => true,
            _ => keyword.starts_with("@sample(") && path.ends_with(".sample"),
        };
        if is_file && !path.ends_with('/') {
            files.insert(path.trim_end_matches(".gz").to_owned());
        }
    }
    files
}

/// Adds the files of a directory and of those below it, relative to the repository.
fn files_below(directory: &str, files: &mut Vec<String>) {
    let mut entries: BTreeMap<String, bool> = BTreeMap::new();
    for entry in fs::read_dir(root(directory)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{directory}/{}", entry.file_name().into_string().unwrap());
        entries.insert(path, entry.file_type().unwrap().is_dir());
    }
    for (path, is_directory) in entries {
        if is_directory {
            files_below(&path, files);
        } else {
            files.push(path);
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(root(path)).unwrap()
}

fn root(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
