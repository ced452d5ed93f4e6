//! Making writes durable, and remembering that it failed once.
//!
//! Linux reports a failed write-back to one fsync(2) only, and may drop the pages: the next call succeeds although
//! data is gone. So after one failure no flush of the image succeeds, as with QEMU (block/file-posix.c,
//! `page_cache_inconsistent`): whoever waits for it learns that what was written since the last good flush is in doubt.

use std::fs::File;
use std::io;

use super::engine::for_good;

/// The flushes of one file.
#[derive(Debug)]
pub(super) struct Durable {
    sync: fn(&File) -> io::Result<()>,
    /// Why the first failing flush failed.
    failed: Option<(io::ErrorKind, String)>,
}

impl Default for Durable {
    fn default() -> Self {
        Self::with(File::sync_data)
    }
}

impl Durable {
    /// Flushes by `sync`.
    pub(super) fn with(sync: fn(&File) -> io::Result<()>) -> Self {
        Self { sync, failed: None }
    }

    /// Makes what was written to `file` durable; fails for good once it has failed.
    pub(super) fn sync(&mut self, file: &File) -> io::Result<()> {
        if let Some((kind, reason)) = &self.failed {
            let message = format!(
                "an earlier flush failed ({reason}), and what was written before it may be lost; \
                 flushes of this image fail until the virtual machine is started anew"
            );
            return Err(for_good(*kind, message));
        }
        loop {
            match (self.sync)(file) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = Some((error.kind(), error.to_string()));
                    return Err(error);
                }
                Ok(()) => return Ok(()),
            }
        }
    }
}
