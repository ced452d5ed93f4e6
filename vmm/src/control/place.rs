//! Where the control sockets of a user's machines are: a folder that nobody else can enter.
//!
//! It is `optimus-vmm` in the user's runtime folder (`$XDG_RUNTIME_DIR`, "XDG Base Directory Specification"; or `/run/user/UID`,
//! where systemd puts it), or `/tmp/optimus-vmm-UID` where there is none. The folder is used only if it is the user's own and
//! closed to others: in `/tmp` anybody could have made it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use firmware::new_file::may_make;
use rustix::fs::FlockOperation;

use crate::socket::Listener;

/// What follows a machine's name in its socket's.
pub(crate) const SUFFIX: &str = ".sock";
/// Clients that may wait to be accepted.
const WAITING: i32 = 16;
/// How long another start may keep the folder.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no place for sockets.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    /// The folder cannot be made or looked at.
    #[error("cannot use the folder {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It is not safe.
    #[error(
        "the folder {path} {why}, so others could reach the machine: remove it, or choose another place with \
         --control unix:PATH"
    )]
    Unsafe {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The socket cannot be made.
    #[error("cannot make the socket {path}: {source}")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the kernel said, or who is there.
        #[source]
        source: io::Error,
    },
}

/// The folders that this user's sockets may be in, the preferred one first, whether they exist or not.
pub(crate) fn folders() -> Vec<PathBuf> {
    candidates(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from), own_user(), &is_ours)
}

/// Our user's number.
pub(crate) fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn is_ours(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|found| found.is_dir() && found.uid() == own_user())
}

fn candidates(runtime: Option<PathBuf>, user: u32, usable: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    // A variable that was kept from another user's session is of no use.
    for base in runtime.into_iter().chain([PathBuf::from(format!("/run/user/{user}"))]) {
        let folder = base.join("optimus-vmm");
        if base.is_absolute() && usable(&base) && !found.contains(&folder) {
            found.push(folder);
        }
    }
    found.push(PathBuf::from(format!("/tmp/optimus-vmm-{user}")));
    found
}

/// Checks that only we can enter `folder`.
pub(crate) fn check(folder: &Path) -> Result<(), PlaceError> {
    let found =
        fs::symlink_metadata(folder).map_err(|source| PlaceError::Folder { path: folder.into(), source })?;
    let refuse = |why: String| Err(PlaceError::Unsafe { path: folder.into(), why });
    if !found.is_dir() {
        return refuse("is no folder".into());
    }
    if found.uid() != own_user() {
        return refuse(format!("belongs to the user with number {}", found.uid()));
    }
    match found.mode() & 0o777 {
        0o700 => Ok(()),
        mode => refuse(format!("has the permissions {mode:03o} and not 700")),
    }
}

/// Listens at the socket of the machine `name`.
pub(crate) fn listen(name: &str) -> Result<(Listener, PathBuf), PlaceError> {
    // The last one always exists.
    let folder = folders().into_iter().next().unwrap_or_else(|| PathBuf::from("/tmp"));
    listen_in(&folder, name)
}

pub(super) fn listen_in(folder: &Path, name: &str) -> Result<(Listener, PathBuf), PlaceError> {
    let failed = |source| PlaceError::Folder { path: folder.into(), source };
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    check(folder)?;
    // One at a time: of two that find the same dead socket, the second would remove the first one's live one.
    let lock = File::open(folder).map_err(failed)?;
    wait_for(&lock).map_err(failed)?;
    let path = folder.join(format!("{name}{SUFFIX}"));
    listen_at(&path).map(|listener| (listener, path))
}

/// Whether [`listen`] would succeed, as far as that can be known without making anything.
pub(crate) fn look(name: &str) -> Result<(), PlaceError> {
    let folder = folders().into_iter().next().unwrap_or_else(|| PathBuf::from("/tmp"));
    look_in(&folder, name)
}

fn look_in(folder: &Path, name: &str) -> Result<(), PlaceError> {
    if folder.symlink_metadata().is_err() {
        return may_make(folder).map_err(|source| PlaceError::Folder { path: folder.into(), source });
    }
    check(folder)?;
    look_at(&folder.join(format!("{name}{SUFFIX}")))
}

/// Whether [`listen_at`] would succeed.
pub(crate) fn look_at(path: &Path) -> Result<(), PlaceError> {
    Listener::look(path).map_err(|source| PlaceError::Socket { path: path.into(), source })
}

/// Locks the folder. Who has it needs it for a moment only.
fn wait_for(lock: &File) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let why = "another process keeps it locked; `fuser -v` shows which";
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Listens at `path`.
pub(crate) fn listen_at(path: &Path) -> Result<Listener, PlaceError> {
    Listener::bind(path, WAITING).map_err(|source| PlaceError::Socket { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn names(found: &[PathBuf]) -> Vec<&str> {
        found.iter().filter_map(|path| path.to_str()).collect()
    }

    #[test]
    fn the_runtime_folder_comes_first_if_it_is_ours() {
        let all = |_: &Path| true;
        assert_eq!(
            names(&candidates(Some("/x".into()), 7, &all)),
            ["/x/optimus-vmm", "/run/user/7/optimus-vmm", "/tmp/optimus-vmm-7"]
        );
        assert_eq!(
            names(&candidates(Some("/run/user/7".into()), 7, &all)),
            ["/run/user/7/optimus-vmm", "/tmp/optimus-vmm-7"]
        );
        assert_eq!(
            names(&candidates(Some("relative".into()), 7, &all)),
            ["/run/user/7/optimus-vmm", "/tmp/optimus-vmm-7"]
        );
        assert_eq!(names(&candidates(Some("/x".into()), 7, &|_| false)), ["/tmp/optimus-vmm-7"]);
    }

    #[test]
    fn folder_and_socket_are_private() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("optimus-vmm");
        let (listener, path) = listen_in(&folder, "vm").unwrap();
        assert_eq!(path, folder.join("vm.sock"));
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        drop(listener);
        assert!(!path.exists());
        listen_in(&folder, "vm").unwrap();
    }

    #[test]
    fn a_folder_that_others_can_enter_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("optimus-vmm");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).unwrap();
        let error = listen_in(&folder, "vm").unwrap_err().to_string();
        assert!(error.contains("has the permissions 750 and not 700"), "{error}");

        let link = base.path().join("link");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        let error = listen_in(&link, "vm").unwrap_err().to_string();
        assert!(error.contains("is no folder"), "{error}");
        if own_user() == 0 {
            rustix::fs::chown(&folder, Some(rustix::fs::Uid::from_raw(1)), None).unwrap();
            let error = listen_in(&folder, "vm").unwrap_err().to_string();
            assert!(error.contains("belongs to the user with number 1"), "{error}");
        }
    }

    #[test]
    fn a_live_socket_is_left_alone_and_a_dead_one_replaced() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("optimus-vmm");
        let (live, path) = listen_in(&folder, "vm").unwrap();
        let error = listen_in(&folder, "vm").unwrap_err().to_string();
        assert!(error.contains("vm.sock") && error.contains("another program listens there"), "{error}");
        assert!(UnixStream::connect(&path).is_ok());
        assert_eq!(look_in(&folder, "vm").unwrap_err().to_string(), error);
        look_in(&folder, "other").unwrap();
        look_in(&base.path().join("none"), "vm").unwrap();
        assert!(look_in(&base.path().join("none/none"), "vm").is_err());
        assert!(!base.path().join("none").exists());
        // As after SIGKILL: the file stays, and nobody listens.
        fs::rename(&path, folder.join("kept")).unwrap();
        drop(live);
        fs::rename(folder.join("kept"), &path).unwrap();
        assert!(UnixStream::connect(&path).is_err());
        look_in(&folder, "vm").unwrap();
        assert!(path.exists());
        let (_live, path) = listen_in(&folder, "vm").unwrap();
        assert!(UnixStream::connect(path).is_ok());
    }
}
