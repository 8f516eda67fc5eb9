//! The house keeps its arrows: a room may import only the rooms that ARCHITECTURE.md lists for it, and
//! `unsafe` stays in `os/`.

#![expect(clippy::unwrap_used, reason = "a file of ours that cannot be read fails the test")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// (room, rooms it may use). `secret` is open to every room; a room may always use itself.
const ARROWS: &[(&str, &[&str])] = &[
    ("cli", &["profile", "plan", "supervisor", "demo"]),
    ("demo", &["pptp", "ppp", "net", "os"]),
    ("profile", &[]),
    ("plan", &["profile"]),
    ("supervisor", &["profile", "plan", "engine", "apply", "net", "os"]),
    ("dropin", &["pptp", "ppp", "net", "os"]),
    ("engine", &["pptp", "ppp", "net", "os"]),
    ("pptp", &[]),
    ("ppp", &[]),
    ("apply", &["plan", "net", "os"]),
    ("net", &["os"]),
    ("os", &[]),
];

#[test]
fn rooms_import_only_what_they_may() {
    let mut wrong = Vec::new();
    for (room, allowed) in ARROWS {
        for file in rust_files(&src().join(room)) {
            for (line, target) in imports(&code_of(&file)) {
                let known = ARROWS.iter().any(|(name, _)| *name == target);
                if known && target != *room && !allowed.contains(&target.as_str()) {
                    wrong.push(format!("{}:{line}: {room} may not use {target}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_is_in_the_table() {
    for entry in fs::read_dir(src()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() && name != "bin" {
            assert!(ARROWS.iter().any(|(room, _)| *room == name), "src/{name} is in no row of ARROWS");
        }
    }
}

#[test]
fn unsafe_stays_in_its_room() {
    for file in rust_files(&src()) {
        if file.starts_with(src().join("os")) {
            continue;
        }
        let code = code_of(&file);
        for (number, line) in code.lines().enumerate() {
            let found = line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
            assert!(!found, "{}:{}: unsafe outside src/os", file.display(), number + 1);
        }
    }
}

#[test]
fn the_check_sees_each_way_to_write_an_import() {
    let seen: Vec<_> = imports("use crate::ppp::link;\nuse crate::{\n  pptp::wire, secret::Secret,\n  net::{tun, gre::Gre},\n};\nlet x = crate::os::dirs();")
        .into_iter()
        .map(|(_, room)| room)
        .collect();
    assert_eq!(seen, ["ppp", "pptp", "secret", "net", "os"]);
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The file without line comments, line numbers kept.
fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// Every `crate::ROOM` and each room at the first level of a `crate::{…}` group, with its line.
fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1_usize;
            let mut item = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 || (depth == 1 && c == ',') {
                    found.extend(first_word(item.trim()).map(|word| (line, word)));
                    item.clear();
                } else {
                    item.push(c);
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            found.extend(first_word(rest).map(|word| (line, word)));
        }
    }
    found
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}
