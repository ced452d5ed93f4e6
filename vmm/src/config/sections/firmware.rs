//! The firmware: what its images are, and which they are where the file names none.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Firmware;
use super::super::file::FirmwareSection;
use super::firmware_paths;
use crate::finding::Resolver;
use crate::finding::Section;

/// What a firmware image is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum FirmwareKind {
    /// OVMF, of which the variables are kept.
    #[default]
    Ovmf,
    /// A flat image of any content, without variables.
    Raw,
}

impl Firmware {
    /// All its files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let Self { kind: _, code, vars, vars_template } = self;
        [Some(code), Some(vars), vars_template.as_ref()].into_iter().flatten().map(PathBuf::as_path)
    }
}

impl Resolver {
    /// The firmware. `exists` tells whether the host has a file.
    pub fn firmware(
        &mut self,
        section: FirmwareSection,
        name: &str,
        exists: &dyn Fn(&Path) -> bool,
    ) -> Firmware {
        let FirmwareSection { kind, code, vars, vars_template } = section;
        let code = match code {
            Some(code) => self.path(code),
            None if kind == FirmwareKind::Raw => {
                let message = "a raw firmware image must be named: there is none to choose by default";
                self.problem_with_help(
                    Section::Firmware.key("kind"),
                    message,
                    "add `code = \"…\"` to [firmware]",
                );
                PathBuf::new()
            }
            None => firmware_paths::installed_code(exists).unwrap_or_else(|| {
                let message = "no OVMF firmware is installed where distributions put it";
                self.problem_with_help(Section::Firmware.key("code"), message, firmware_paths::INSTALL_HINT);
                PathBuf::new()
            }),
        };
        let vars = self.path(vars.unwrap_or_else(|| format!("{name}_VARS.fd")));
        if kind == FirmwareKind::Raw {
            return Firmware { kind, code, vars, vars_template: None };
        }
        let vars_template = match vars_template {
            Some(template) => Some(self.path(template)),
            None => firmware_paths::template_for(&code),
        };
        let clashes = [
            (vars == code, "vars", "the machine would write its variables over the firmware's code"),
            (
                vars_template.as_ref() == Some(&vars),
                "vars",
                "the machine would write its variables over their template",
            ),
            (vars_template.as_ref() == Some(&code), "vars_template", "this is the firmware's code"),
        ];
        for (_, key, message) in clashes.into_iter().filter(|(clash, ..)| *clash) {
            self.problem(Section::Firmware.key(key), message);
        }
        Firmware { kind, code, vars, vars_template }
    }
}
