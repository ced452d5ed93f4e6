//! The kernel that is started in place of a boot loader.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Overrides;
use super::super::file::KernelSection;
use super::super::reading::text;
use crate::finding::{Resolver, Section};

/// Who starts a kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Boot {
    /// The firmware.
    #[default]
    Firmware,
    /// The machine itself, without firmware.
    Direct,
}

/// A kernel to start in place of a boot loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// The kernel image.
    pub image: PathBuf,
    /// Who starts it.
    pub boot: Boot,
    /// The initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// The command line, without a final NUL.
    pub cmdline: String,
    /// It is a program of ours, and what is said of kernels is not meant for it.
    pub ours: bool,
}

impl Resolver {
    /// The kernel.
    pub fn kernel(&mut self, section: Option<KernelSection>, overrides: &Overrides) -> Option<Kernel> {
        if let Some(image) = &overrides.payload {
            let (image, cmdline) = (image.clone(), String::new());
            return Some(Kernel { image, boot: Boot::Direct, initrd: None, cmdline, ours: true });
        }
        let Overrides { kernel, initrd, append, direct, .. } = overrides;
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        if let Some(append) = append
            && let Err(why) = text::check_command_line(append)
        {
            self.problem(Section::Kernel.key("cmdline"), why);
        }
        let (image, own_initrd, cmdline, boot) = match section {
            Some(section) => (Some(section.image), section.initrd, section.cmdline, section.boot),
            None => (None, None, String::new(), Boot::Firmware),
        };
        let Some(image) = kernel.as_ref().map(absolute).or_else(|| image.map(|image| self.path(image)))
        else {
            for (key, given) in
                [("initrd", initrd.is_some()), ("cmdline", append.is_some()), ("boot", *direct)]
            {
                if given {
                    self.problem_with_help(
                        Section::Kernel.key(key),
                        "there is no kernel that this is for",
                        "give a kernel by `--kernel` or by `image` in [kernel]",
                    );
                }
            }
            return None;
        };
        Some(Kernel {
            image,
            boot: if *direct { Boot::Direct } else { boot },
            initrd: initrd.as_ref().map(absolute).or_else(|| own_initrd.map(|initrd| self.path(initrd))),
            cmdline: append.clone().unwrap_or(cmdline),
            ours: false,
        })
    }
}
