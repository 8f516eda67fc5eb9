//! The structure of `src`: a module imports only the modules that ARCHITECTURE.md lists for it, no two files import
//! each other in a circle, and `unsafe` stays in `src/os`.
//!
//! Files are parsed by syn. Code under `#[cfg(test)]` does not count, nor does what a file and its own ancestors or
//! descendants use of each other: a directory and its files are one unit.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a source file that cannot be read or parsed fails the test"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Item, UseTree};

/// (module, modules it may use). Every module may use `deadline`, `failure`, `platform`, `secret`, and itself.
const ALLOWED: &[(&str, &[&str])] = &[
    ("cli", &["profile", "plan", "supervisor", "demo", "dropin", "import"]),
    ("demo", &["pptp", "ppp", "net", "os"]),
    ("import", &["profile"]),
    ("profile", &["pptp", "ppp"]),
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

type Name = Vec<String>;

#[test]
fn modules_import_only_allowed_modules() {
    let mut wrong = Vec::new();
    for (module, allowed) in ALLOWED {
        for file in rust_files(&src().join(module)) {
            let source = Source::parse(&fs::read_to_string(&file).unwrap(), vec![], Tests::Included);
            for (path, line) in source.paths {
                let Some(("crate", rest)) = path.split_first().map(|(first, rest)| (first.as_str(), rest))
                else {
                    continue;
                };
                let Some(target) = rest.first() else { continue };
                let known = ALLOWED.iter().any(|(name, _)| name == target);
                if known && target != module && !allowed.contains(&target.as_str()) {
                    wrong.push(format!("{}:{line}: {module} may not use {target}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_directory_of_src_is_in_the_table() {
    for entry in fs::read_dir(src()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() && name != "bin" {
            assert!(ALLOWED.iter().any(|(module, _)| *module == name), "src/{name} is in no row of ALLOWED");
        }
    }
}

#[test]
fn unsafe_stays_in_os() {
    for file in rust_files(&src()).into_iter().filter(|file| !file.starts_with(src().join("os"))) {
        // Tokens: neither comments nor strings, and macro calls too.
        let tokens: TokenStream = fs::read_to_string(&file).unwrap().parse().unwrap();
        let found = flat(tokens).into_iter().find(|token| token.to_string() == "unsafe");
        let line = found.map(|token| token.span().start().line);
        assert_eq!(line, None, "{}: unsafe outside src/os", file.display());
    }
}

#[test]
fn files_do_not_import_each_other_in_circles() {
    let circles = circles(&Tree::of(&src()));
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn circle_check_follows_reexports_aliases_and_macros() {
    let tree = |b: &str| {
        let mut tree = Tree::default();
        tree.add(vec!["a".into()], "use crate::m::Thing; mod child; fn f() { child::g() }");
        tree.add(vec!["a".into(), "child".into()], "use super::f;");
        tree.add(vec!["m".into()], "mod b; pub use self::b::Thing;");
        tree.add(vec!["m".into(), "b".into()], b);
        circles(&tree)
    };
    assert_eq!(tree("pub struct Thing; #[cfg(test)] mod tests { use crate::a::f; }"), [""; 0]);
    let circle = ["a, m/b import each other: a uses crate::m::Thing, m/b uses "];
    for (b, used) in [
        ("use crate::a::f;", "crate::a::f"),
        ("fn g() { crate::a::f() }", "crate::a::f"),
        ("fn g() { println!(\"{}\", super::super::a::f()) }", "super::super::a::f"),
        ("use crate::a as other; fn g() { let _ = vec![other::f()]; }", "crate::a"),
        ("use crate::{a::{f as g}};", "crate::a::f"),
    ] {
        assert_eq!(tree(b), [format!("{}{used}", circle[0])], "{b}");
    }
}

#[test]
fn import_check_sees_each_form_of_an_import() {
    let text = "use crate::ppp::link; use crate::{ pptp::wire, net::{tun, gre::Gre} }; fn f() { let x = crate::os::dirs(); }";
    let source = Source::parse(text, vec![], Tests::Included);
    let used: Vec<_> = source.paths.iter().map(|(path, _)| path[1].as_str()).collect();
    assert_eq!(used, ["ppp", "pptp", "net", "net", "os"]);
}

#[derive(Clone, Copy, PartialEq)]
enum Tests {
    Included,
    Excluded,
}

/// The paths that one file uses.
struct Source {
    module: Name,
    /// Each path as it is written, with its line.
    paths: Vec<(Name, usize)>,
    /// Names that `use` brings into this module, with their paths.
    names: BTreeMap<String, Name>,
}

impl Source {
    fn parse(text: &str, module: Name, tests: Tests) -> Self {
        let mut source = Self { module, paths: Vec::new(), names: BTreeMap::new() };
        source.items(syn::parse_file(text).unwrap().items, tests);
        source
    }

    fn items(&mut self, items: Vec<Item>, tests: Tests) {
        let items = items.into_iter().filter(|item| tests == Tests::Included || !is_test(item));
        let (uses, others): (Vec<Item>, Vec<Item>) = items.partition(|item| matches!(item, Item::Use(_)));
        for item in &uses {
            if let Item::Use(item) = item {
                self.use_tree(&item.tree, &mut Vec::new());
            }
        }
        for item in others {
            match item {
                Item::Mod(syn::ItemMod { content: Some((_, items)), .. }) => self.items(items, tests),
                item => self.tokens(item.to_token_stream()),
            }
        }
    }

    fn use_tree(&mut self, tree: &UseTree, before: &mut Name) {
        let depth = before.len();
        let (ident, name) = match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.use_tree(&path.tree, before);
                before.truncate(depth);
                return;
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.use_tree(tree, before));
                return;
            }
            UseTree::Name(name) => (Some(&name.ident), name.ident.to_string()),
            UseTree::Rename(rename) => (Some(&rename.ident), rename.rename.to_string()),
            UseTree::Glob(_) => (None, "*".to_owned()),
        };
        let mut path = before.clone();
        path.extend(ident.map(ToString::to_string).filter(|ident| ident != "self"));
        let line = ident.map_or(0, |ident| ident.span().start().line);
        let name = if name == "self" { before.last().cloned().unwrap_or_default() } else { name };
        self.names.insert(name, path.clone());
        self.paths.push((path, line));
    }

    /// Collects `a::b::c` from tokens, also from those inside a macro call, which syn does not parse.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens = flat(tokens);
        let is_colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':');
        let is_ident = |at: usize| matches!(tokens.get(at), Some(TokenTree::Ident(_)));
        let mut at = 0;
        while at < tokens.len() {
            if !is_ident(at) {
                at += 1;
                continue;
            }
            let (start, mut path) = (at, vec![tokens[at].to_string()]);
            while is_colon(at + 1) && is_colon(at + 2) && is_ident(at + 3) {
                at += 3;
                path.push(tokens[at].to_string());
            }
            at += 1;
            if path.len() > 1 {
                self.paths.push((path, tokens[start].span().start().line));
            }
        }
    }
}

/// All tokens in order, those of groups in their place.
fn flat(tokens: TokenStream) -> Vec<TokenTree> {
    let mut all = Vec::new();
    for token in tokens {
        // The group itself stays: its delimiter ends a path.
        let inside = if let TokenTree::Group(group) = &token { flat(group.stream()) } else { Vec::new() };
        all.push(token);
        all.extend(inside);
    }
    all
}

fn is_test(item: &Item) -> bool {
    let attributes: &[Attribute] = match item {
        Item::Mod(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Const(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        _ => &[],
    };
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.to_token_stream().to_string().contains("(test)")
    })
}

/// The files of a crate, by module.
#[derive(Default)]
struct Tree(BTreeMap<Name, Source>);

impl Tree {
    fn of(root: &Path) -> Self {
        let mut tree = Self::default();
        for file in rust_files(root) {
            let path = file.strip_prefix(root).unwrap().with_extension("");
            let mut module: Name = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            if module.last().is_some_and(|last| last == "mod") {
                module.pop();
            }
            // Declared under #[cfg(test)], or the root of a crate.
            let test = module.iter().any(|part| part == "tests");
            if !test && module[0] != "bin" && module != ["lib"] {
                tree.add(module, &fs::read_to_string(&file).unwrap());
            }
        }
        tree
    }

    fn add(&mut self, module: Name, text: &str) {
        self.0.insert(module.clone(), Source::parse(text, module, Tests::Excluded));
    }

    /// The module whose file defines the item of a path, for a path that leads into this crate.
    fn resolve(&self, source: &Source, path: &[String], depth: usize) -> Option<Name> {
        let (first, rest) = path.split_first()?;
        let absolute: Name = match first.as_str() {
            "crate" => rest.to_vec(),
            "self" => [&source.module, rest].concat(),
            "super" => {
                let up = path.iter().take_while(|part| *part == "super").count();
                let base = source.module.get(..source.module.len().checked_sub(up)?)?;
                [base, &path[up..]].concat()
            }
            _ if self.0.contains_key(&[&source.module[..], std::slice::from_ref(first)].concat()) => {
                [&source.module, path].concat()
            }
            alias => {
                let path = [source.names.get(alias)?, rest].concat();
                return if depth < 8 && path[0] != *first {
                    self.resolve(source, &path, depth + 1)
                } else {
                    None
                };
            }
        };
        let module = (1..=absolute.len()).rev().find(|length| self.0.contains_key(&absolute[..*length]))?;
        let (module, item) = absolute.split_at(module);
        // An item that the module only re-exports is defined elsewhere.
        let owner = &self.0[module];
        let reexported = item.first().and_then(|item| owner.names.get(item)).filter(|_| depth < 8);
        let found = reexported.and_then(|path| self.resolve(owner, path, depth + 1));
        Some(found.unwrap_or_else(|| module.to_vec()))
    }

    /// Which files each file uses, and one path by which it does.
    fn edges(&self) -> BTreeMap<&Name, BTreeMap<Name, String>> {
        let mut edges = BTreeMap::new();
        for (module, source) in &self.0 {
            let targets: &mut BTreeMap<Name, String> = edges.entry(module).or_default();
            for (path, _) in &source.paths {
                let Some(target) = self.resolve(source, path, 0) else { continue };
                if !target.starts_with(module) && !module.starts_with(&target) {
                    targets.entry(target).or_insert_with(|| path.join("::"));
                }
            }
        }
        edges
    }
}

/// A sentence for each pair of files of which either leads to the other, directly or by others.
fn circles(tree: &Tree) -> Vec<String> {
    let edges = tree.edges();
    let reachable = |from: &Name| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = next.pop() {
            for target in edges.get(&module).into_iter().flat_map(BTreeMap::keys) {
                if seen.insert(target.clone()) {
                    next.push(target.clone());
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&Name, BTreeSet<Name>> =
        tree.0.keys().map(|module| (module, reachable(module))).collect();
    let mut found = Vec::new();
    let mut named = BTreeSet::new();
    for module in tree.0.keys() {
        let circle: BTreeSet<Name> =
            reach[module].iter().filter(|other| reach[*other].contains(module)).cloned().collect();
        if circle.is_empty() || !named.insert(circle.clone()) {
            continue;
        }
        let name = |module: &Name| module.join("/");
        let uses = circle.iter().flat_map(|module| {
            let inside = edges[module].iter().filter(|(target, _)| circle.contains(*target));
            inside.map(move |(_, path)| format!("{} uses {path}", name(module)))
        });
        let names: Vec<String> = circle.iter().map(name).collect();
        let uses: Vec<String> = uses.collect();
        found.push(format!("{} import each other: {}", names.join(", "), uses.join(", ")));
    }
    found
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
