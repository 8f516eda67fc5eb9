//! The recipes of packages in `contrib/packaging` and `contrib/openwrt` against the sources. `contrib/extended rpm` builds and installs the RPM.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test; clippy.toml exempts only the functions marked as one"
)]

use std::{fs, path::Path, process::Command};

const RPM: &str = "rpm/pptpctl.spec";
const ARCH: &str = "arch/PKGBUILD";
const ALPINE: &str = "alpine/APKBUILD";
const NIX: &str = "nix/default.nix";
const OPENWRT: &str = "../openwrt/Makefile";

#[test]
fn recipes_have_version_and_licence_of_the_manifest() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(field(RPM, "Version:"), version);
    assert_eq!(field(ARCH, "pkgver="), version);
    assert_eq!(field(ALPINE, "pkgver="), version);
    assert_eq!(field(OPENWRT, "PKG_VERSION:="), version);
    assert_eq!(field(RPM, "License:"), env!("CARGO_PKG_LICENSE"));
    assert_eq!(field(ARCH, "license="), format!("({})", env!("CARGO_PKG_LICENSE")));
    assert_eq!(field(ALPINE, "license="), format!("\"{}\"", env!("CARGO_PKG_LICENSE")));
    assert_eq!(field(OPENWRT, "PKG_LICENSE:="), env!("CARGO_PKG_LICENSE"));
    assert!(read(NIX).contains("(builtins.readFile ../../../Cargo.toml)).package"));
    assert!(read(RPM).contains(&format!("BuildRequires:  cargo >= {}\n", env!("CARGO_PKG_RUST_VERSION"))));
}

#[test]
fn every_recipe_installs_by_make_install() {
    for recipe in [RPM, ARCH, ALPINE, NIX] {
        assert_eq!(read(recipe).matches("make install DESTDIR=").count(), 1, "{recipe}");
    }
}

/// PPP is built in: only what profiles may use is suggested.
#[test]
fn no_recipe_requires_a_ppp_daemon() {
    let requires = |recipe: &str, start: &str| -> Vec<String> {
        let text = read(recipe);
        text.lines().filter_map(|line| line.strip_prefix(start)).map(|rest| rest.trim().to_owned()).collect()
    };
    assert_eq!(requires(RPM, "Requires"), ["(pre):  shadow-utils"]);
    assert_eq!(requires(ARCH, "depends="), ["(gcc-libs glibc)"]);
    assert_eq!(requires(ALPINE, "depends="), [""; 0]);
}

#[test]
fn rpm_lists_every_directory_that_is_installed() {
    let spec = read(RPM);
    let listed = spec.split("%files\n").nth(1).unwrap();
    for path in [
        "%{_bindir}/pptpctl\n",
        "%{_sbindir}/pptp\n",
        "%{_mandir}/man*/*\n",
        "bash-completion/completions/*\n",
        "fish/vendor_completions.d/*\n",
        "zsh/site-functions/*\n",
        "%{_unitdir}/*\n",
        "%{_sysusersdir}/*\n",
        "%attr(700, root, root) %{_sysconfdir}/pptpctl/secrets\n",
        "%config(noreplace) %{_sysconfdir}/pptpctl/profiles.toml\n",
    ] {
        assert!(listed.contains(path), "{path}");
    }
    assert!(read(ARCH).contains("backup=(etc/pptpctl/profiles.toml)"));
}

#[test]
fn shell_recipes_are_shell() {
    for (shell, recipe) in [("bash", ARCH), ("sh", ALPINE), ("sh", "alpine/pptpctl.pre-install")] {
        let output = Command::new(shell).arg("-n").arg(path(recipe)).output().unwrap();
        assert!(output.status.success(), "{recipe}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Returns what follows a word at the start of a line.
fn field(recipe: &str, start: &str) -> String {
    let text = read(recipe);
    let mut values = text.lines().filter_map(|line| line.strip_prefix(start));
    values.next().unwrap_or_else(|| panic!("{recipe}: no {start}")).trim().to_owned()
}

fn read(recipe: &str) -> String {
    fs::read_to_string(path(recipe)).unwrap()
}

fn path(recipe: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/packaging").join(recipe)
}
