//! Descriptions of devices: which registers may be read and written, and how a device is asked for an interrupt and for DMA.
//!
//! Nothing of this can be found out by trying: a read may take something from a queue, and a write may start anything. What nobody has
//! described is therefore not touched.

use std::path::{Path, PathBuf};

use firmware::input;
use serde::Deserialize;

use crate::bench::payload::layout::MOST_STEPS;

/// A register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Register {
    /// Which base address register it is behind, 0 to 5.
    pub(super) bar: u8,
    /// Bytes from there, a multiple of 4.
    pub(super) offset: u64,
}

/// A write of four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Write {
    pub(super) bar: u8,
    pub(super) offset: u64,
    pub(super) value: u32,
}

/// How the device is asked for an interrupt.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Interrupt {
    /// Before the first.
    #[serde(default)]
    pub(super) setup: Vec<Write>,
    /// What raises one.
    pub(super) raise: Write,
    /// What the handler writes, so that there can be another.
    pub(super) acknowledge: Option<Write>,
}

/// A write that prepares or starts DMA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) bar: u8,
    pub(super) offset: u64,
    /// What is written.
    pub(super) value: Option<u64>,
    /// Or the address of a page of guest memory for the device, and so many bytes more.
    pub(super) buffer: Option<u64>,
    /// How many bytes are written, 4 or 8.
    #[serde(default = "four")]
    pub(super) bytes: u8,
}

const fn four() -> u8 {
    4
}

/// What shows that DMA is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Done {
    pub(super) bar: u8,
    pub(super) offset: u64,
    /// The bits that count.
    pub(super) mask: u32,
    /// What they are then.
    pub(super) value: u32,
}

/// How the device is asked for DMA.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dma {
    pub(super) steps: Vec<Step>,
    pub(super) done: Done,
}

/// What is known of a kind of device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::bench) struct Description {
    /// Vendor and device, in hexadecimal with a colon; without it, a file of the user's is for whatever is measured.
    pub(super) id: Option<String>,
    /// A register that reads without consequences.
    pub(super) read: Option<Register>,
    /// A write without consequences.
    pub(super) write: Option<Write>,
    pub(super) interrupt: Option<Interrupt>,
    pub(super) dma: Option<Dma>,
}

/// A description cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// It cannot be read.
    #[error("cannot read the description {}: {why}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said, or what it is.
        why: String,
    },
    /// It says something else than a description does.
    #[error("{} describes no device: {why}\ndocs/bench.md says how it is written", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// More than any description has.
const LONGEST: u64 = 64 << 10;

/// Reads a file of the user's.
pub(in crate::bench) fn read(path: &Path) -> Result<Description, DescriptionError> {
    let wrong = |why: String| DescriptionError::Wrong { path: path.into(), why };
    let bytes = input::read(path, LONGEST)
        .map_err(|error| DescriptionError::Read { path: path.into(), why: error.to_string() })?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is no text in UTF-8".into()))?;
    parse(&text).map_err(wrong)
}

fn parse(text: &str) -> Result<Description, String> {
    let description: Description =
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    description.check()?;
    Ok(description)
}

impl Description {
    /// What is known of devices with these IDs by this program, `vendor:device`.
    pub(in crate::bench) fn known(id: &str, class: u32) -> Option<Self> {
        const ALL: [&str; 3] = [
            include_str!("known/edu.toml"),
            include_str!("known/e1000e.toml"),
            include_str!("known/ivshmem.toml"),
        ];
        let known = ALL.iter().filter_map(|text| parse(text).ok());
        known.into_iter().find(|known| known.id.as_deref() == Some(id)).or_else(|| nvidia(id, class))
    }

    /// The IDs of the device that this describes, if it names others than these, `vendor:device` in small letters.
    pub(super) fn of_another(&self, id: &str) -> Option<&str> {
        self.id.as_deref().filter(|described| !described.eq_ignore_ascii_case(id))
    }

    /// That offsets and numbers are possible. That they are inside the device's memory shows when it is there.
    fn check(&self) -> Result<(), String> {
        let place = |what: &str, bar: u8, offset: u64, bytes: u8| {
            if bar > 5 {
                return Err(format!("{what} is behind base address register {bar}, and there are 0 to 5"));
            }
            if !offset.is_multiple_of(bytes.into()) || offset >= 1 << 46 {
                return Err(format!(
                    "{what} has the offset {offset:#x}, which is no multiple of {bytes} within a device's memory"
                ));
            }
            Ok(())
        };
        if let Some(id) = &self.id {
            let half = |half: &str| half.len() == 4 && half.bytes().all(|digit| digit.is_ascii_hexdigit());
            if !id.split_once(':').is_some_and(|(vendor, device)| half(vendor) && half(device)) {
                return Err("`id` is not written as vendor and device, such as \"10de:1f95\"".into());
            }
        }
        let write = |what: &str, write: &Write| place(what, write.bar, write.offset, 4);
        if let Some(read) = &self.read {
            place("`read`", read.bar, read.offset, 4)?;
        }
        self.write.iter().try_for_each(|one| write("`write`", one))?;
        if let Some(interrupt) = &self.interrupt {
            if interrupt.setup.len() > MOST_STEPS {
                let count = interrupt.setup.len();
                return Err(format!("`interrupt.setup` has {count} writes: write {MOST_STEPS} at most"));
            }
            interrupt.setup.iter().try_for_each(|one| write("a write of `interrupt.setup`", one))?;
            write("`interrupt.raise`", &interrupt.raise)?;
            interrupt.acknowledge.iter().try_for_each(|one| write("`interrupt.acknowledge`", one))?;
        }
        if let Some(dma) = &self.dma {
            if dma.steps.is_empty() || dma.steps.len() > MOST_STEPS {
                return Err(format!("`dma.steps` has {} steps: write 1 to {MOST_STEPS}", dma.steps.len()));
            }
            for step in &dma.steps {
                if !matches!(step.bytes, 4 | 8) {
                    return Err(format!("a step of `dma.steps` writes {} bytes: write 4 or 8", step.bytes));
                }
                place("a step of `dma.steps`", step.bar, step.offset, step.bytes)?;
                match (step.value, step.buffer) {
                    (Some(_), None) => {}
                    (None, Some(0..4096)) => {}
                    (None, Some(_)) => {
                        return Err("a step of `dma.steps` is behind the buffer, which has 4096 bytes".into());
                    }
                    _ => return Err("a step of `dma.steps` needs either `value` or `buffer`".into()),
                }
            }
            place("`dma.done`", dma.done.bar, dma.done.offset, 4)?;
            if dma.done.value & !dma.done.mask != 0 {
                return Err("`dma.done` waits for bits that are not in its mask".into());
            }
        }
        Ok(())
    }
}

/// GPUs of NVIDIA tell what they are in the first register of BAR 0 (PMC_BOOT_0 in NVIDIA's open-gpu-doc). No register is known by which
/// all of them raise an interrupt.
fn nvidia(id: &str, class: u32) -> Option<Description> {
    const DISPLAY: u32 = 0x03;
    let display = class >> 16 == DISPLAY && id.starts_with("10de:");
    display.then(|| Description { read: Some(Register { bar: 0, offset: 0 }), ..Description::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_are_known_are_right() {
        for (id, interrupts, dma) in
            [("1234:11e8", true, true), ("8086:10d3", true, false), ("1af4:1110", false, false)]
        {
            let known = Description::known(id, 0).unwrap();
            assert!(known.read.is_some());
            assert_eq!((known.interrupt.is_some(), known.dma.is_some()), (interrupts, dma), "{id}");
        }
        let gpu = Description::known("10de:1f95", 0x03_0200).unwrap();
        assert_eq!((gpu.read, gpu.write), (Some(Register { bar: 0, offset: 0 }), None));
        // Its audio function is none, nor is another vendor's GPU.
        assert_eq!(Description::known("10de:10fa", 0x04_0300), None);
        assert_eq!(Description::known("1002:5046", 0x03_0000), None);
    }

    #[test]
    fn a_description_of_another_device_is_told() {
        let described = parse("id = \"10DE:1f95\"").unwrap();
        assert_eq!(described.of_another("10de:1f95"), None);
        assert_eq!(described.of_another("10de:10fa"), Some("10DE:1f95"));
        assert_eq!(parse("").unwrap().of_another("10de:10fa"), None);
        let write = "{ bar = 0, offset = 0, value = 0 }";
        let long = format!("[interrupt]\nsetup = [{}]\nraise = {write}", format!("{write},").repeat(33));
        assert!(parse(&long).unwrap_err().contains("33 writes"));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, expected) in [
            ("read = { bar = 6, offset = 0 }", "base address register 6"),
            ("read = { bar = 0, offset = 2 }", "no multiple of 4"),
            ("read = { bar = 0, offset = 0x7fffffffffffff00 }", "within a device's memory"),
            ("read = { bar = 0 }", "missing field `offset`"),
            ("reed = { bar = 0, offset = 0 }", "unknown field `reed`"),
            ("write = { bar = 0, offset = 0, value = 0x100000000 }", "write = "),
            ("[interrupt]\nraise = { bar = 0, offset = 1, value = 1 }", "`interrupt.raise`"),
            ("[interrupt]\n", "missing field `raise`"),
            ("id = \"10de\"", "vendor and device"),
            ("id = \"10de:1f95:1\"", "vendor and device"),
            ("[dma]\nsteps = []\ndone = { bar = 0, offset = 0, mask = 1, value = 0 }", "0 steps"),
            (
                "[dma]\nsteps = [{ bar = 0, offset = 4, value = 1, bytes = 8 }]\ndone = { bar = 0, offset = 0, mask = 1, value = 0 }",
                "multiple of 8",
            ),
            (
                "[dma]\nsteps = [{ bar = 0, offset = 0 }]\ndone = { bar = 0, offset = 0, mask = 1, value = 0 }",
                "either `value` or `buffer`",
            ),
            (
                "[dma]\nsteps = [{ bar = 0, offset = 0, buffer = 4096 }]\ndone = { bar = 0, offset = 0, mask = 1, value = 0 }",
                "behind the buffer",
            ),
            (
                "[dma]\nsteps = [{ bar = 0, offset = 0, value = 1 }]\ndone = { bar = 0, offset = 0, mask = 1, value = 2 }",
                "not in its mask",
            ),
            ("\u{1}", "1"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(expected), "{text}: {why}");
        }
    }

    #[test]
    fn files_that_are_none_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let missing = read(&folder.path().join("none")).unwrap_err();
        assert!(matches!(missing, DescriptionError::Read { .. }));
        let long = folder.path().join("long");
        std::fs::write(&long, "#".repeat(65 << 10)).unwrap();
        for path in [long.as_path(), Path::new("/dev/null"), folder.path()] {
            assert!(matches!(read(path), Err(DescriptionError::Read { .. })), "{}", path.display());
        }
    }
}
