//! Render nodes of the host's GPUs (Linux Documentation/gpu/drm-uapi.rst, "Render nodes").

use std::fs;
use std::path::{Path, PathBuf};

use vocabulary::LentDevice;

use super::HostFiles;
use super::files::names;

impl HostFiles {
    /// The render node of the GPU which `device` is, or is a part of; all of them for a device that is part of none. What one
    /// GPU has, another can hardly use.
    pub(crate) fn render_nodes(&self, device: LentDevice) -> Vec<PathBuf> {
        let home = fs::canonicalize(self.device_path(device)).unwrap_or_default();
        let own =
            home.ancestors().map(|parent| render_nodes(&parent.join("drm"))).find(|nodes| !nodes.is_empty());
        let nodes = own.unwrap_or_else(|| render_nodes(&self.path("sys/class/drm")));
        nodes.into_iter().map(|node| self.path("dev/dri").join(node)).collect()
    }
}

fn render_nodes(directory: &Path) -> Vec<String> {
    names(directory).into_iter().filter(|name| name.starts_with("renderD")).collect()
}
