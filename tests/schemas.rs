//! JSON Schemas in `docs/schema`: the one for profiles is made of the key list; `UPDATE_GOLDEN=1 cargo test --test schemas`
//! writes it. python3-jsonschema, a validator of others, accepts the examples of the documents with each.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic fails the test")]

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use pptpctl::testing::profile::schema::{Absent, KEYS, Key, Kind};
use serde_json::{Map, Value, json};

/// The draft that editors of TOML know.
const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

#[test]
fn schema_of_profiles_is_the_key_list() {
    let path = root("docs/schema/profiles-1.json");
    let made = format!("{:#}\n", profiles());
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &made).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), made, "UPDATE_GOLDEN=1 cargo test --test schemas");
}

#[test]
fn example_profiles_are_valid_and_errors_are_found() {
    let text = fs::read_to_string(root("profiles.example.toml")).unwrap();
    let value: Value = toml::from_str(&text).unwrap();
    accepts("profiles-1.json", &[value]);
    for wrong in [
        "server = 'a.example'",
        "server = 'a.example'\nuser = 'u'\nmtu = 100",
        "server = 'a.example'\nuser = 'u'\nauth = ['mschapv3']",
        "server = 'a.example'\nuser = 'u'\ntimeouts.call = '3 days'",
        "server = 'a.example'\nuser = 'u'\nsever = 'b.example'",
        "server = 'a.example'\nuser = 'u'\nroutes = [{ metric = 3 }]",
        "server = 'a.example'\nuser = 'u'\ndefault = { mode = 'whole' }",
    ] {
        let value: Value = toml::from_str(&format!("[profile.a]\n{wrong}\n")).unwrap();
        assert!(!is_valid("profiles-1.json", &value), "{wrong}");
    }
}

/// docs/CONTROL.md has a line of each event; a unit test compares them with the code.
#[test]
fn documented_messages_are_valid() {
    let text = fs::read_to_string(root("docs/CONTROL.md")).unwrap();
    let events = lines_of(&text, "event");
    assert!(events.len() >= 11, "{} events", events.len());
    accepts("events-1.json", &events);
    let answers = lines_of(&text, "answer");
    let statuses: Vec<Value> = answers.iter().filter_map(|answer| answer.get("status").cloned()).collect();
    assert!(!statuses.is_empty(), "no status");
    accepts("status-1.json", &statuses);
    for wrong in [json!({}), json!({ "name": "a", "state": 1 })] {
        assert!(!is_valid("status-1.json", &wrong), "{wrong}");
        assert!(!is_valid("events-1.json", &wrong), "{wrong}");
    }
    let unknown = json!({ "time_ms": 1, "name": "a", "event": "up" });
    assert!(!is_valid("events-1.json", &unknown), "without its device");
}

/// Returns the schema of a file of profiles.
fn profiles() -> Value {
    let tree = Tree::of(KEYS);
    let profile = tree.table();
    json!({
        "$schema": DRAFT,
        "title": "Profiles of pptpctl, version 1: pptpctl.toml(5)",
        "type": "object",
        "properties": {
            "profile": { "type": "object", "additionalProperties": profile },
        },
        "additionalProperties": false,
    })
}

/// A key, or a table without a value of its own, with the keys in it.
#[derive(Default)]
struct Tree {
    key: Option<&'static Key>,
    children: BTreeMap<&'static str, Tree>,
}

impl Tree {
    fn of(keys: &'static [Key]) -> Self {
        let mut root = Self::default();
        for key in keys {
            let node =
                key.path.split('.').fold(&mut root, |node, name| node.children.entry(name).or_default());
            node.key = Some(key);
        }
        root
    }

    fn table(&self) -> Value {
        let properties: Map<String, Value> =
            self.children.iter().map(|(name, child)| ((*name).to_owned(), child.value())).collect();
        let required: Vec<&str> = self
            .children
            .iter()
            .filter(|(_, child)| child.key.is_some_and(|key| matches!(key.absent, Absent::Error(_))))
            .map(|(name, _)| *name)
            .collect();
        json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
    }

    fn value(&self) -> Value {
        let Some(key) = self.key else { return self.table() };
        let mut value = match (key.kind, self.children.is_empty()) {
            (kind, true) => of_kind(kind, None),
            // A table stands in the place of an element.
            (kind @ Kind::List, false) => of_kind(kind, Some(self.table())),
            (kind, false) => json!({ "anyOf": [of_kind(kind, None), self.table()] }),
        };
        let members = value.as_object_mut().unwrap();
        members.insert("description".to_owned(), json!(key.help));
        if let Absent::Is(default) = key.absent {
            let default = match (key.kind, default.parse::<u32>()) {
                (Kind::Flag, _) => json!(default == "true"),
                (Kind::Number(..), Ok(number)) => json!(number),
                _ => json!(default),
            };
            members.insert("default".to_owned(), default);
        }
        value
    }
}

fn of_kind(kind: Kind, element: Option<Value>) -> Value {
    let text = json!({ "type": "string" });
    let one_or_list =
        |one: Value| json!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] });
    match kind {
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Number(least, most, words) => {
            let number = json!({ "type": "integer", "minimum": least, "maximum": most });
            if words.is_empty() { number } else { json!({ "anyOf": [number, { "enum": words }] }) }
        }
        Kind::Time(_, _, words) => {
            let time = json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h)$" });
            if words.is_empty() { time } else { json!({ "anyOf": [time, { "enum": words }] }) }
        }
        Kind::Word(words) => json!({ "enum": words }),
        Kind::Words(words) => one_or_list(json!({ "enum": words })),
        Kind::Text => text,
        Kind::Texts => one_or_list(text),
        Kind::List => {
            let items = element.map_or_else(|| text.clone(), |table| json!({ "anyOf": [text, table] }));
            json!({ "type": "array", "items": items })
        }
    }
}

/// Returns the lines of the code blocks of this kind.
fn lines_of(text: &str, kind: &str) -> Vec<Value> {
    let begin = format!("```{kind}\n");
    let blocks = text.split(&begin).skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn accepts(schema: &str, values: &[Value]) {
    for value in values {
        assert!(is_valid(schema, value), "{schema} rejects {value:#}");
    }
}

fn is_valid(schema: &str, value: &Value) -> bool {
    // Exit statuses: 0 valid, 1 invalid; anything else is an error of schema or validator.
    let program = "import json, sys, jsonschema\n\
        schema = json.load(open(sys.argv[1]))\n\
        base = jsonschema.RefResolver('file://' + sys.argv[1], schema)\n\
        jsonschema.Draft7Validator.check_schema(schema)\n\
        errors = list(jsonschema.Draft7Validator(schema, resolver=base).iter_errors(json.load(sys.stdin)))\n\
        for error in errors: print(error.message, list(error.path))\n\
        sys.exit(1 if errors else 0)\n";
    let mut child = Command::new("/usr/bin/python3")
        .args(["-W", "ignore", "-c", program])
        .arg(root(&format!("docs/schema/{schema}")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(value.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    match (output.status.code(), said.contains("Traceback")) {
        (Some(0), false) => true,
        (Some(1), false) => false,
        (code, _) => panic!("{schema}: {code:?} {said}"),
    }
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
