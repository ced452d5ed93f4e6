//! `--screenshot`: one picture of the screen in a run.

use std::path::{Path, PathBuf};

use devices::display::Screen;

use crate::outcome::Failure;
use crate::screenshot::{self, Format, MachineFile};

/// The picture that is to be taken, if one is wanted and was not taken yet.
pub(in crate::machine) struct Shot {
    path: Option<PathBuf>,
    /// What the machine is made from.
    files: Vec<MachineFile>,
}

impl Shot {
    /// Looks at the place of the file already, since the run may be long.
    pub(in crate::machine) fn new(path: Option<&Path>, files: Vec<MachineFile>) -> Result<Self, Failure> {
        if let Some(path) = path {
            screenshot::check_place(path, &files)
                .map_err(|source| Failure::Write { path: path.into(), source })?;
        }
        Ok(Self { path: path.map(Path::to_owned), files })
    }

    /// Takes it now. The caller waits, for the guest's next step may change what is seen.
    pub(in crate::machine) fn now(&mut self, screen: Option<&dyn Screen>) {
        let (Some(path), Some(screen)) = (self.path.take(), screen) else { return };
        match screenshot::save(screen, &path, Format::Png, &self.files) {
            Ok(size) => tracing::info!("{}: {} × {} pixels", path.display(), size.width, size.height),
            Err(error) => tracing::warn!("{error}"),
        }
    }

    /// Takes it if that was not done before.
    pub(in crate::machine) fn at_end(mut self, screen: Option<&dyn Screen>) {
        self.now(screen);
    }
}
