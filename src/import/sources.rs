//! Access to the files of the old configuration, with limits.

use std::{
    cell::Cell,
    io::{self, ErrorKind},
    path::{Component, Path, PathBuf},
    rc::Rc,
};

/// The largest file, in bytes.
pub const MAX_SIZE: usize = 1 << 20;
/// The most files of one import, including those that other files name.
const MAX_FILES: usize = 64;
/// The most bytes of all these files.
const MAX_ALL: usize = 4 << 20;

/// Reads a file, at most [`MAX_SIZE`] and one more byte of it.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// A source that has been read.
#[derive(Clone)]
pub struct Source {
    /// Its path as it is shown.
    pub path: Rc<str>,
    /// Its text.
    pub text: Rc<str>,
}

impl Source {
    /// Decodes a file: UTF-8, with or without a byte order mark, or UTF-16 with one. Other bytes are replaced by
    /// U+FFFD.
    ///
    /// # Errors
    /// Returns an error if the file is too large.
    pub fn new(path: &str, bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MAX_SIZE {
            return Err(format!("larger than {MAX_SIZE} bytes"));
        }
        let wide = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
            let units: Vec<u16> = rest.as_chunks().0.iter().map(|two| unit(*two)).collect();
            String::from_utf16_lossy(&units)
        };
        let text = match bytes {
            [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
            [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
            [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
            all => String::from_utf8_lossy(all).into_owned(),
        };
        Ok(Self { path: path.into(), text: text.into() })
    }

    /// Returns the path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(&*self.path)
    }
}

/// The files that an import may read.
pub struct Sources<'a> {
    read: ReadFile<'a>,
    left: Cell<usize>,
    bytes_left: Cell<usize>,
}

/// Why a file was not read.
#[derive(Debug, PartialEq, Eq)]
pub enum Unread {
    /// It does not exist.
    Missing,
    /// The reason.
    Failed(String),
}

impl<'a> Sources<'a> {
    /// Returns the files that `read` can read.
    #[must_use]
    pub const fn new(read: ReadFile<'a>) -> Self {
        Self { read, left: Cell::new(MAX_FILES), bytes_left: Cell::new(MAX_ALL) }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Returns why it was not read: it does not exist, it is not readable, or too much was read already.
    pub fn read(&self, path: &Path) -> Result<Source, Unread> {
        let left = self.left.get().checked_sub(1);
        let left = left.ok_or_else(|| Unread::Failed(format!("more than {MAX_FILES} files")))?;
        self.left.set(left);
        let bytes = (self.read)(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Unread::Missing,
            ErrorKind::PermissionDenied => Unread::Failed(format!("{error}: try sudo")),
            _ => Unread::Failed(error.to_string()),
        })?;
        let left = self.bytes_left.get().checked_sub(bytes.len());
        self.bytes_left
            .set(left.ok_or_else(|| Unread::Failed(format!("more than {MAX_ALL} bytes in all files")))?);
        Source::new(&path.to_string_lossy(), &bytes).map_err(Unread::Failed)
    }
}

/// Returns the root of the file system that a file is part of: `/mnt` for `/mnt/etc/ppp/peers/x` and `below`
/// `etc/ppp/peers`, so that a copied configuration is read with its own files, not with those of this host.
#[must_use]
pub fn root_of(path: &Path, below: &str) -> PathBuf {
    let Some(directory) = path.parent() else { return PathBuf::from("/") };
    let mut rest = directory.components();
    for part in Path::new(below).components().rev() {
        if rest.next_back() != Some(part) {
            return PathBuf::from("/");
        }
    }
    rest.as_path().to_owned()
}

/// Returns the place of an absolute path below a root; `None` for a path that is not absolute or has `..`.
#[must_use]
pub fn within(root: &Path, path: &str) -> Option<PathBuf> {
    let rest = Path::new(path.strip_prefix('/')?);
    let plain = rest.components().all(|part| matches!(part, Component::Normal(_)));
    (plain && !path.contains('\0')).then(|| root.join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copied_configuration_is_read_below_its_own_root() {
        let root = root_of(Path::new("/mnt/old/etc/ppp/peers/x"), "etc/ppp/peers");
        assert_eq!(
            within(&root, "/etc/ppp/options.pptp").unwrap(),
            Path::new("/mnt/old/etc/ppp/options.pptp")
        );
        assert_eq!(root_of(Path::new("/etc/ppp/peers/x"), "etc/ppp/peers"), Path::new("/"));
        assert_eq!(root_of(Path::new("x"), "etc/ppp/peers"), Path::new("/"));
        assert_eq!(root_of(Path::new("etc/ppp/peers/x"), "etc/ppp/peers"), Path::new(""));
        for wrong in ["etc/x", "/etc/../x", "/a\0b", ""] {
            assert_eq!(within(Path::new("/"), wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn number_and_size_of_files_are_limited() {
        let large = |_: &Path| Ok(vec![b'x'; MAX_SIZE + 1]);
        assert!(matches!(Sources::new(&large).read(Path::new("x")), Err(Unread::Failed(_))));
        let small = |_: &Path| Ok(Vec::new());
        let sources = Sources::new(&small);
        let read = (0..200).filter(|_| sources.read(Path::new("x")).is_ok()).count();
        assert_eq!(read, MAX_FILES);
        let full = |_: &Path| Ok(vec![b'x'; MAX_SIZE]);
        let sources = Sources::new(&full);
        let read = (0..200).filter(|_| sources.read(Path::new("x")).is_ok()).count();
        assert_eq!(read, MAX_ALL / MAX_SIZE);
    }

    #[test]
    fn text_of_windows_is_decoded() {
        let wide = b"\xff\xfe[\0V\0]\0";
        assert_eq!(&*Source::new("x", wide).unwrap().text, "[V]");
        assert_eq!(&*Source::new("x", b"\xef\xbb\xbf[V]").unwrap().text, "[V]");
    }
}
