//! Messages never contain a password, however the file is mangled, and arbitrary bytes do not make the reader
//! panic.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

use std::{fs, path::Path};

use pptpctl::testing::profile::{Profiles, Style};
use proptest::prelude::*;

const SECRET: &str = "Xy7-qQ!zz";

/// Returns everything that could be shown about a text.
fn shown(text: &str) -> String {
    let mut all = String::new();
    for private in [true, false] {
        let profiles = Profiles::from_text(Path::new("p.toml"), text, private);
        all += &profiles.report().render(Style::Plain);
        all += &profiles.report().render(Style::Terminal { is_colour: true, columns: None });
        all += &format!("{:?}", profiles.report());
        for (name, profile) in profiles.iter() {
            all += &profiles.get(name.as_str()).err().map(|error| error.to_string()).unwrap_or_default();
            all += &format!("{profile:?}");
            all += &profile.map(|p| serde_json::to_string(&p.summary()).unwrap()).unwrap_or_default();
        }
    }
    all
}

#[test]
fn password_is_hidden_in_malformed_files() {
    let head = "[profile.a]\nserver = 'a.example'\nuser = 'u'\n";
    for line in [
        "password = \"SECRET\"\nmtu = 'x'",
        "password = 'SECRET' mtu",
        "password = SECRET",
        "password = \"SECRET",
        "password = 'SECRET\nmtu = 3",
        "password = \"\"\"\nSECRET\n\"\"\"\nmtu = 'x'",
        "password = \"\"\"\nSECRET\nmtu = 1\nSECRET\n",
        "password = '''SECRET\nserver = 3\nSECRET'''\nserver = 1",
        "password = [\"SECRET\"]",
        "password = [\n  \"SECRET\",\n  3\n",
        "password = { inline = \"SECRET\" }",
        "password = { SECRET = 1 }",
        "password = { \"SECRET\" = 1, file = 3 }",
        "password.SECRET = 1",
        "password.\"SECRET\".x = 1",
        "password.inline = 'SECRET'",
        "password.file = 'SECRET'",
        "password.command = 'SECRET'",
        "password.command = ['x', 'SECRET', 3]",
        "password.credential = '/SECRET'",
        "password.fd = 'SECRET'",
        "password.file.x = 'SECRET'",
        "password = 1979-05-27T07:32:00Z # SECRET",
        "\"password\" = 'SECRET'\nmtu = 1",
        "\"p\\u0061ssword\" = ['SECRET']\nmtu = 1",
        "\"p\\u0061ssword\" = 'SECRET' x",
        "'password' = ['SECRET']",
        "Password = 'SECRET'",
        "PASSWORD = 'SECRET'",
        "pasword = 'SECRET'",
        "passwort = 'SECRET'",
        "pass = 'SECRET'",
        "pw = 'SECRET'",
        "secret = 'SECRET'",
        "authkey = 'SECRET'",
        "key = 'SECRET'",
        "pass-word = \"\"\"\n\nSECRET\"\"\"",
        "hunter = 'SECRET'",
        "hunter = { x = ['SECRET'], y.z = 'SECRET' }",
        "timeouts = { connect = 3, hunter = 'SECRET' }",
        "timeouts = { password = 'SECRET', connect = 3 }",
        "routes = [{ to = 3, password = 'SECRET' }]",
        "mtu = { password = 'SECRET' }",
        "mtu = [{ x = 'SECRET' }] # password",
        "password = 'x'\npassword = 'SECRET'",
        "password = 'SECRET'\npassword.file = '/x'",
        "password = 'SECRET'\n[profile.a.password]\nfile = 3",
        "[profile.a.password]\ninline = 'SECRET'\nfile = 3",
        "mtu = 'x' # password SECRET",
        "# old password: SECRET\nmtu =",
        "password 'SECRET'",
        "password: 'SECRET'",
        "password = \n  'SECRET'",
        "password\n= 'SECRET'",
        "password\t=\t'SECRET\u{1}'",
        "password = 'SECRET\\' x",
        "phone = 3 password = 'SECRET'",
        "[profile.b]\npassword = 'SECRET'\n[profile.b]\nmtu = 1",
        "[password]\nx = 'SECRET'",
        "[profile]\npassword = 'SECRET'",
        "[[profile.x]]\npassword = 'SECRET'",
        "[profile.x]\r\npassword = 'SECRET'\r\nmtu = x\r\n",
    ] {
        for text in [
            format!("{head}{line}\n"),
            format!("{line}\n{head}"),
            line.to_owned(),
            format!("profile.a.{line}"),
        ] {
            let text = text.replace("SECRET", SECRET);
            let output = shown(&text);
            assert!(!output.contains(SECRET), "{text}\n----\n{output}");
        }
    }
}

#[test]
fn valid_inline_password_is_stored_and_hidden() {
    let text = format!("profile.a = {{ server = 'a.example', user = 'u', password = '{SECRET}' }}");
    let profiles = Profiles::from_text(Path::new("p"), &text, true);
    assert_eq!(profiles.get("a").unwrap().password.kind(), "inline");
    assert!(!shown(&text).contains(SECRET));
    let refused = Profiles::from_text(Path::new("p"), &text, false);
    assert!(refused.get("a").unwrap_err().to_string().contains("chmod 600 p"));
}

#[test]
fn fuzz_corpus_does_not_leak() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/profile");
    let mut count = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let text = String::from_utf8_lossy(&fs::read(entry.unwrap().path()).unwrap()).into_owned();
        let planted = format!("{text}\npassword = '{SECRET}'\n{text}");
        assert!(!shown(&text).is_empty() && !shown(&planted).contains(SECRET), "{planted}");
        count += 1;
    }
    assert!(count > 5, "only {count} files");
}

/// Files with a placeholder for the password in several syntactic forms.
const SHAPES: [&str; 5] = [
    "[profile.a]\nserver = 'a.example'\nuser = 'u'\npassword = 'SECRET'\nmtu = 1400\nroutes = ['10.0.0.0/8']\n",
    "[profile.a]\nserver = \"a\"\nuser = \"u\"\npassword = \"\"\"\nSECRET\"\"\"\nmtu = 1400\n",
    "profile.a = { server = 'a', user = 'u', password = \"SECRET\", mtu = 3 }\n",
    "[profile.a]\nuser = 'u'\n[profile.a.timeouts]\nconnect = 3\n[profile.b]\npassword='SECRET'\nauth = ['pap']\n",
    "[profile.a]\npassword.file = '/SECRET'\npassword.command = [\n 'echo',\n 'SECRET',\n]\nmtu = [\n3]\n",
];

/// Generates edits: a position and the character to insert there; `None` deletes one character.
fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, Option<char>)>> {
    let piece = prop::option::of(prop::sample::select(vec![
        '"', '\'', '=', '[', ']', '{', '}', '\n', '#', ',', '.', '\\', 'x',
    ]));
    prop::collection::vec((any::<prop::sample::Index>(), piece), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mangled_files_do_not_leak(shape in prop::sample::select(SHAPES.to_vec()), edits in edits()) {
        // One private-use character stands for the secret, so that no edit lands inside it.
        let mut text: Vec<char> = shape.replace("SECRET", "\u{e000}").chars().collect();
        for (at, piece) in edits {
            let at = at.index(text.len());
            match piece {
                Some(piece) => text.insert(at, piece),
                None if text[at] != '\u{e000}' => { text.remove(at); }
                None => {}
            }
        }
        let text = text.into_iter().collect::<String>().replace('\u{e000}', SECRET);
        let output = shown(&text);
        prop_assert!(!output.contains(SECRET), "{text}\n----\n{output}");
    }

    #[test]
    fn reader_accepts_arbitrary_text(text in "\\PC{0,200}") {
        shown(&text);
    }

    #[test]
    fn reader_accepts_arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        shown(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn reader_accepts_toml_fragments(parts in prop::collection::vec(prop::sample::select(vec![
        "[profile.a]\n", "[", "]", "\n", "=", "'", "\"\"\"", "{", "}", ",", ".", "#", "\r\n", "\t", "\\u00e4", "ü",
        "server", "user", "password", "routes", "retry", "timeouts", "to", "'10.0.0.0/8'", "'5s'", "true", "0x1f", "-1",
        "1e9", "[[", "]]", "default", "mode", "'replace'", "auth", "mppe", "\u{feff}", "\u{0}",
    ]), 0..40)) {
        shown(&parts.concat());
    }
}
