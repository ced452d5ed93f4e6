//! Definitions of mediated devices that mdevctl keeps: `/etc/mdevctl.d/PARENT/UUID`, each a JSON object with `mdev_type`,
//! `start` and `attrs` (mdevctl(8)).

use serde::Deserialize;
use uuid::Uuid;
use vocabulary::NewMdev;

use super::MdevError;
use crate::host::HostFiles;
use crate::host::files::names;

const FOLDER: &str = "etc/mdevctl.d";

#[derive(Deserialize)]
struct Definition {
    mdev_type: String,
    /// Attributes of the parent's own, set in order.
    #[serde(default)]
    attrs: Vec<serde_json::Value>,
}

impl HostFiles {
    /// What mdevctl has defined for `uuid`; `None` if nothing.
    pub(super) fn defined_mdev(&self, uuid: Uuid) -> Result<Option<NewMdev>, MdevError> {
        let parents = names(&self.path(FOLDER));
        let path = |parent: &String| format!("{FOLDER}/{parent}/{uuid}");
        let Some(parent) = parents.into_iter().find(|parent| self.path(path(parent)).is_file()) else {
            return Ok(None);
        };
        let unusable = |why: String| MdevError::Definition { path: format!("/{}", path(&parent)), uuid, why };
        let text = self.text(path(&parent)).map_err(|error| unusable(error.to_string()))?;
        let Definition { mdev_type, attrs } =
            serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
        if !attrs.is_empty() {
            return Err(unusable("it sets attributes of the device, which is left to mdevctl".into()));
        }
        let parent = parent.parse().map_err(unusable)?;
        let kind = mdev_type.parse().map_err(unusable)?;
        Ok(Some(NewMdev { parent, kind }))
    }
}
