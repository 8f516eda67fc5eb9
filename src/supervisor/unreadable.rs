//! Files that root can read and an unprivileged child cannot: which mode, of the file or of a directory above it,
//! keeps it out. The child gains no rights for them.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// A directory or file on the way to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Component {
    path: PathBuf,
    /// Permission bits.
    mode: u32,
    is_dir: bool,
}

/// Returns a sentence about each of these files, which a child has reported as unreadable.
#[must_use]
pub fn notes(files: &[String]) -> Vec<String> {
    files.iter().map(|file| note(Path::new(file))).collect()
}

fn note(file: &Path) -> String {
    let (obstacle, remedy) = match obstacle(&components(file)) {
        Some(Component { path, mode, is_dir: true }) => {
            let dir = path.display();
            (format!("{dir} has mode {mode:04o}"), format!("; `chmod o+x {dir}` lets it in"))
        }
        Some(Component { path, mode, .. }) => {
            let real = path.display();
            let what = if path == file { "it".to_owned() } else { real.to_string() };
            (format!("{what} has mode {mode:04o}"), format!("; `chmod o+r {real}` lets it read"))
        }
        None => (
            "its mode allows it, so an access list or a security module refuses it".to_owned(),
            String::new(),
        ),
    };
    format!(
        "the resolver process, which has no root rights, may not read {}: {obstacle}; names are looked up without it{remedy}",
        file.display()
    )
}

/// Returns the first component that other users may not pass or read.
fn obstacle(components: &[Component]) -> Option<Component> {
    let needed = |is_dir| if is_dir { 0o001 } else { 0o004 };
    components.iter().find(|component| component.mode & needed(component.is_dir) == 0).cloned()
}

/// Returns the directories above a file, outermost first, and the file; symbolic links are followed.
fn components(file: &Path) -> Vec<Component> {
    let Ok(real) = fs::canonicalize(file) else { return Vec::new() };
    let mut paths: Vec<&Path> = real.ancestors().collect();
    paths.reverse();
    let component = |path: &Path| {
        let data = fs::metadata(path).ok()?;
        Some(Component { path: path.to_owned(), mode: data.mode() & 0o7777, is_dir: data.is_dir() })
    };
    paths.into_iter().filter_map(component).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn obstacle_is_named_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        // Other users may pass the directories above, as in /etc.
        let base = fs::canonicalize(dir.path()).unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        set(&base, 0o755);
        let (private, file, link) = (base.join("private"), base.join("private/hosts"), base.join("link"));
        fs::create_dir(&private).unwrap();
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let below = |path: &Path| {
            let all = components(path);
            let at = all.iter().position(|component| component.path == base).unwrap();
            obstacle(&all[at..]).map(|component| (component.path, component.mode))
        };
        set(&private, 0o755);
        set(&file, 0o644);
        assert_eq!(below(&file), None);
        set(&file, 0o600);
        assert_eq!(below(&file), Some((file.clone(), 0o600)));
        assert_eq!(below(&link), Some((file.clone(), 0o600)), "the link's target");
        set(&private, 0o750);
        assert_eq!(below(&file), Some((private.clone(), 0o750)), "the directory comes first");
    }

    #[test]
    fn note_says_what_helps() {
        let file = Component { path: "/etc/hosts".into(), mode: 0o600, is_dir: false };
        let dir = Component { path: "/etc".into(), mode: 0o711, is_dir: true };
        assert_eq!(obstacle(&[dir, file.clone()]), Some(file));
        assert!(note(Path::new("/nonexistent")).contains("a security module"));
    }
}
