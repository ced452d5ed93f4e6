//! The system that is set up: its files below a root directory, which is `/` as a rule.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use firmware::input;
use serde::{Deserialize, Serialize};

use crate::host::HostFiles;

/// More than any file of a configuration has, in bytes.
const LONGEST: u64 = 1 << 20;

/// The bytes of a file, as text where they are that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Bytes {
    Text(String),
    Raw(Vec<u8>),
}

/// A file: its bytes, permissions and owner.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Content {
    /// Permission bits, at most 0o7777.
    pub(super) mode: u32,
    /// User and group; `None` leaves them to whoever makes the file.
    pub(super) owner: Option<(u32, u32)>,
    bytes: Bytes,
}

/// By bytes and permissions: an owner that this process cannot choose is no change of the user's.
impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.mode == other.mode && self.bytes() == other.bytes()
    }
}

impl Content {
    /// A file that is made.
    pub(super) fn new(text: &str, mode: u32) -> Self {
        Self { mode, owner: None, bytes: Bytes::Text(text.into()) }
    }

    /// The same file with another text.
    pub(super) fn with_text(&self, text: String) -> Self {
        Self { bytes: Bytes::Text(text), ..self.clone() }
    }

    /// What is in it.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Text(text) => text.as_bytes(),
            Bytes::Raw(bytes) => bytes,
        }
    }

    /// What is in it, if it is text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.bytes {
            Bytes::Text(text) => Some(text),
            Bytes::Raw(_) => None,
        }
    }
}

/// A root directory. Paths below it are relative: `etc/fstab`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Root(PathBuf);

impl Root {
    pub(super) fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(super) fn dir(&self) -> &Path {
        &self.0
    }

    /// Whether it is the system that runs.
    pub(super) fn is_live(&self) -> bool {
        self.0 == Path::new("/")
    }

    pub(super) fn files(&self) -> HostFiles {
        HostFiles::at(&self.0)
    }

    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }

    pub(super) fn has(&self, below: &str) -> bool {
        self.path(below).exists()
    }

    /// Where a program of the system's is, below the root.
    pub(super) fn program(&self, name: &str) -> Option<String> {
        const FOLDERS: [&str; 6] = ["usr/sbin", "usr/bin", "sbin", "bin", "usr/local/sbin", "usr/local/bin"];
        FOLDERS.iter().map(|folder| format!("{folder}/{name}")).find(|below| {
            fs::metadata(self.path(below))
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
    }

    /// Whether there is such a program.
    pub(super) fn runs(&self, name: &str) -> bool {
        self.program(name).is_some()
    }

    /// A file with its permissions; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read, is no regular file, or is reached by a symbolic link: to write there would change another file than the one that
    /// is named.
    pub(super) fn read(&self, below: &str) -> io::Result<Option<Content>> {
        self.refuse_links(below)?;
        let path = self.path(below);
        if fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
            let why = "it is a symbolic link, which is not replaced";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let (file, metadata) = match input::open(&path) {
            Ok(opened) => opened,
            Err(error) => {
                return match io::Error::from(error) {
                    error if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    error => Err(error),
                };
            }
        };
        let bytes = read_all(&file)?;
        Ok(Some(Content {
            mode: metadata.permissions().mode() & 0o7777,
            owner: Some((metadata.uid(), metadata.gid())),
            bytes: String::from_utf8(bytes).map_or_else(|error| Bytes::Raw(error.into_bytes()), Bytes::Text),
        }))
    }

    /// Refuses paths that lead out of the root: by `..`, or by a symbolic link, whose target would be looked for in the system that runs.
    fn refuse_links(&self, below: &str) -> io::Result<()> {
        let refuse = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        let mut path = self.0.clone();
        let parts: Vec<_> = Path::new(below).components().collect();
        if parts.is_empty() || parts.iter().any(|part| !matches!(part, Component::Normal(_))) {
            return refuse(format!("{below} is no path below the root"));
        }
        for part in parts.iter().take(parts.len() - 1) {
            path.push(part);
            if !self.is_live() && fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
                return refuse(format!(
                    "{} is a symbolic link, which may lead out of {}",
                    path.display(),
                    self.0.display()
                ));
            }
        }
        Ok(())
    }

    /// The folders above `below` that do not exist, outermost first.
    pub(super) fn missing_folders(&self, below: &str) -> Vec<String> {
        let mut missing: Vec<_> = Path::new(below)
            .ancestors()
            .skip(1)
            .take_while(|folder| !folder.as_os_str().is_empty() && !self.0.join(folder).exists())
            .filter_map(|folder| folder.to_str().map(str::to_owned))
            .collect();
        missing.reverse();
        missing
    }
}

fn read_all(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        let why = format!("it has more than {LONGEST} bytes, as no configuration has");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}
