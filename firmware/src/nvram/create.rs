//! Opening a store, and making it from its template at the first run.
//!
//! A new store is written to a file without a name, synced, locked, and only then given its name, without ever replacing a
//! file: of two VMs that start at once, one makes the store and the other finds it in use.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use super::check::{check_not_qcow2, check_size, check_template};
use super::lock::lock;
use super::{BLOCK, NvramError};
use crate::input::{self, InputError};
use crate::new_file::{NewFile, folder_of};

/// The store at `path`, open and locked.
pub(super) fn open_or_create(
    path: &Path,
    template: Option<&Path>,
    size: Option<u64>,
) -> Result<File, NvramError> {
    if let Some(template) = template {
        refuse_template(path, template)?;
    }
    // A store can vanish, or come, between two system calls; each such race settles within a round.
    for _ in 0..8 {
        match open(path)? {
            Some(file) => {
                lock(path, &file)?;
                if is_still_at(path, &file) {
                    return Ok(file);
                }
            }
            None => {
                let template = template.ok_or_else(|| NvramError::Missing { path: path.into() })?;
                if let Some(file) = create(path, template, size)? {
                    return Ok(file);
                }
            }
        }
    }
    Err(NvramError::Open { path: path.into(), source: io::Error::other("the file keeps being replaced") })
}

/// The store at `path`, if there is one; a template that it could be made from, otherwise.
pub(super) fn look(
    path: &Path,
    template: Option<&Path>,
    size: Option<u64>,
) -> Result<Option<File>, NvramError> {
    if let Some(template) = template {
        refuse_template(path, template)?;
    }
    let found = open(path)?;
    if found.is_none() {
        let template = template.ok_or_else(|| NvramError::Missing { path: path.into() })?;
        read_template(template, size)?;
    }
    Ok(found)
}

/// Opens an existing store; `None` when there is none.
fn open(path: &Path) -> Result<Option<File>, NvramError> {
    let error = |source| NvramError::Open { path: path.into(), source };
    match input::open_writable(path) {
        Ok((file, _)) => Ok(Some(file)),
        Err(InputError::Io(source)) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(InputError::NotAFile(_)) => Err(NvramError::NotAFile { path: path.into() }),
        Err(source) => Err(error(source.into())),
    }
}

/// Makes the store; `None` when another process was faster.
fn create(path: &Path, template: &Path, size: Option<u64>) -> Result<Option<File>, NvramError> {
    let content = read_template(template, size)?;
    let error = |source| NvramError::Create { path: path.into(), source };
    let mut new = NewFile::for_place(path, 0o600).map_err(error)?;
    let file = new.file();
    // Whatever the umask took away: the owner reads and writes it.
    file.set_permissions(Permissions::from_mode(0o600)).map_err(error)?;
    file.write_all(&content).map_err(error)?;
    file.sync_all().map_err(error)?;
    lock(path, file)?;
    let Some(file) = new.link(path).map_err(error)? else { return Ok(None) };
    // The name itself must survive a power failure too.
    File::open(folder_of(path)).and_then(|folder| folder.sync_all()).map_err(error)?;
    Ok(Some(file))
}

fn read_template(template: &Path, size: Option<u64>) -> Result<Vec<u8>, NvramError> {
    let error = |source| NvramError::Template { path: template.into(), source };
    let (file, metadata) = input::open(template).map_err(|failed| match failed {
        InputError::NotAFile(_) => NvramError::NotAFile { path: template.into() },
        failed => error(failed.into()),
    })?;
    check_not_qcow2(template, &file)?;
    let length = metadata.len();
    // A code image is likelier than a wrong VARS file, and has a more helpful message: look at the content first.
    let mut head = vec![0; BLOCK];
    if length >= BLOCK as u64 {
        file.read_exact_at(&mut head, 0).map_err(error)?;
    }
    if crate::image::fv::Volume::parse(&head)
        .is_some_and(|volume| volume.guid != crate::image::fv::NV_DATA_FV)
    {
        check_template(template, &head)?;
    }
    check_size(template, length, size)?;
    let mut content = vec![0; usize::try_from(length).map_err(|_| error(ErrorKind::FileTooLarge.into()))?];
    file.read_exact_at(&mut content, 0).map_err(error)?;
    check_template(template, &content)?;
    Ok(content)
}

/// Whether `path` still leads to `file`, and not to one that took its name before it was locked.
fn is_still_at(path: &Path, file: &File) -> bool {
    match (fs::metadata(path), file.metadata()) {
        (Ok(named), Ok(opened)) => (named.dev(), named.ino()) == (opened.dev(), opened.ino()),
        _ => false,
    }
}

fn refuse_template(path: &Path, template: &Path) -> Result<(), NvramError> {
    match (fs::metadata(path), fs::metadata(template)) {
        (Ok(store), Ok(template)) if (store.dev(), store.ino()) == (template.dev(), template.ino()) => {
            Err(NvramError::IsTemplate { path: path.into() })
        }
        _ => Ok(()),
    }
}
