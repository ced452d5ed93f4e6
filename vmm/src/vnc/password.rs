//! VNC authentication: RFC 6143 §7.2.2. A challenge is encrypted by DES with the password as key. It keeps clients without
//! the password out of a private network and is no protection on others: docs/display.md describes ssh.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use des::Des;
use des::cipher::{BlockCipherEncrypt, KeyInit};
use firmware::input;

/// The length of a challenge.
pub(super) const CHALLENGE: usize = 16;
/// What counts of a password.
const COUNTS: usize = 8;
/// More of a first line is not read.
const LONGEST_LINE: u64 = 4096;

/// Why a password cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The file cannot be read.
    #[error("cannot read the VNC password {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Others can read the file.
    #[error(
        "others can read the VNC password {path} (mode {mode:04o}): make it yours alone with `chmod 600 {path}`"
    )]
    Public {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error(
        "the VNC password {path} belongs to the user with number {owner}, who can read and change it, and not to the one \
         who runs this (number {user}): make it yours with `chown {user} {path}`"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who runs this program.
        user: u32,
    },
    /// There is no password in the file.
    #[error("the first line of {path} is empty: write the VNC password there, of which 8 characters count")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// A password as DES has it.
#[derive(Clone)]
pub struct Password(Des);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

impl Password {
    /// Reads the first line of a file that is this user's own, also root's, and that nobody else can read.
    ///
    /// # Errors
    /// The file cannot be read, or is another user's, or others can read it, or its first line is empty.
    pub fn read(path: &Path) -> Result<Self, PasswordError> {
        let failed = |source| PasswordError::Read { path: path.into(), source };
        let (file, metadata) = input::open(path).map_err(|error| failed(error.into()))?;
        let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
        if owner != user {
            return Err(PasswordError::Foreign { path: path.into(), owner, user });
        }
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(PasswordError::Public { path: path.into(), mode });
        }
        let mut text = Vec::new();
        file.take(LONGEST_LINE).read_to_end(&mut text).map_err(failed)?;
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let password = line.strip_suffix(b"\r").unwrap_or(line);
        if password.is_empty() {
            return Err(PasswordError::Empty { path: path.into() });
        }
        if password.len() > COUNTS {
            tracing::warn!("VNC uses only the first 8 bytes of the password in {}", path.display());
        }
        Ok(Self::new(password))
    }

    /// A password of which the first 8 bytes count.
    pub fn new(password: &[u8]) -> Self {
        let mut key = [0; COUNTS];
        // The first implementation took the bits of each byte in the wrong order, and so have all since.
        for (key, byte) in key.iter_mut().zip(password) {
            *key = byte.reverse_bits();
        }
        Self(Des::new(&key.into()))
    }

    /// What a client that knows the password answers.
    pub(super) fn answer(&self, challenge: [u8; CHALLENGE]) -> [u8; CHALLENGE] {
        let mut answer = challenge;
        for block in answer.chunks_exact_mut(8) {
            if let Ok(block) = block.try_into() {
                self.0.encrypt_block(block);
            }
        }
        answer
    }

    /// Whether this is the answer, in a time that does not depend on it.
    pub(super) fn accepts(&self, challenge: [u8; CHALLENGE], answer: [u8; CHALLENGE]) -> bool {
        let differences = self.answer(challenge).iter().zip(answer).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differences) == 0
    }
}
