//! An archive of the facts of a host, to be sent with a report and read elsewhere by `--sysroot`.
//!
//! What goes in is a closed list ([`Copier`]): nothing is copied because it is in a directory. Files that hold more than is needed are cut down
//! to the lines that are read. So no serial numbers, no addresses of network cards, no names of file systems or users get in.

mod copier;
mod lists;

use std::io::Write;
use std::path::Path;

use firmware::new_file::NewFile;

use self::copier::Copier;
use super::facts::Context;

/// What is put into an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    /// A file with these bytes; a program may be executed.
    File(Vec<u8>, Kind),
    /// A symbolic link.
    Link(String),
    /// An empty directory.
    Folder,
}

/// Who may do what with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Program,
}

/// Writes the archive, and says how many files it has.
pub(super) fn write(context: &Context) -> Result<usize, String> {
    let path = context.capture.as_deref().ok_or("it has no name")?;
    let bytes = archive(context).map_err(|error| error.to_string())?;
    save(path, &bytes.1)
        .map_err(|error| error.to_string())?
        .ok_or("there is a file of this name: choose another, or remove it")?;
    Ok(bytes.0)
}

/// `None` if there is a file already.
fn save(path: &Path, bytes: &[u8]) -> std::io::Result<Option<()>> {
    let mut new = NewFile::for_place(path, 0o666)?;
    new.file().write_all(bytes)?;
    new.file().sync_all()?;
    Ok(new.link(path)?.map(drop))
}

/// How many files there are, and the archive of them.
fn archive(context: &Context) -> std::io::Result<(usize, Vec<u8>)> {
    let files = context.files();
    let entries = Copier::new(&files).copy(context.dgpu);
    let mut builder = tar::Builder::new(Vec::new());
    for (path, entry) in &entries {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        match entry {
            Entry::File(bytes, kind) => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(if *kind == Kind::Program { 0o755 } else { 0o644 });
                header.set_size(bytes.len() as u64);
                builder.append_data(&mut header, path, bytes.as_slice())?;
            }
            Entry::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                builder.append_link(&mut header, path, target)?;
            }
            Entry::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                header.set_size(0);
                builder.append_data(&mut header, path, std::io::empty())?;
            }
        }
    }
    Ok((entries.len(), builder.into_inner()?))
}
