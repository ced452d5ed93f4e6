//! The driver of `scripts/bench`: measures optimus-vmm side by side with QEMU. See `docs/benchmarks.md`.
//!
//! ```text
//! bench guests FILE [OPTION]…     what needs firmware, as a rule in the lab; writes FILE
//! bench direct FILE [OPTION]…     the start of a kernel without OVMF, as a rule in the lab; writes FILE
//! bench passthrough FILE [OPTION]…  what needs a device of the lab; writes FILE
//! bench pinning FILE [OPTION]…    how long memory takes to be pinned for a device of the lab; writes FILE
//! bench display FILE [OPTION]…    what needs ramfb and VNC; writes FILE
//! bench net FILE [OPTION]…        what needs a network; writes FILE
//! bench exits FILE [OPTION]…      how often a Linux guest leaves the processor; writes FILE
//! bench latency FILE [OPTION]…    how late a guest's timers are on a busy host of several CPUs; writes FILE
//! bench disk FILE [OPTION]…       what fio does in a guest; writes FILE
//! bench payload FILE [OPTION]…    what the guest of `optimus-vmm bench` measures; writes FILE
//! bench native FILE [OPTION]…     what does not; writes FILE
//! bench report FILE PART…         prints the parts as tables and writes them to one FILE
//! ```

mod cyclic;
mod direct;
mod disk;
mod display;
mod exits;
mod guests;
mod host;
mod inside;
mod latency;
mod monitor;
mod native;
mod net;
mod passthrough;
mod payload;
mod picture;
mod pinning;
mod procfs;
mod report;
mod rfb;
mod run;
mod stats;
mod steps;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use monitor::{Bus, Way};
use report::Part;
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What can be chosen.
pub(crate) struct Options {
    /// optimus-vmm.
    pub(crate) program: PathBuf,
    /// The lab's directory, which has firmware and guest.
    pub(crate) lab: PathBuf,
    /// The release of OVMF.
    pub(crate) firmware: String,
    /// Runs of each monitor.
    pub(crate) pairs: usize,
    /// MiB of the guest's memory.
    pub(crate) memory: u64,
    /// vCPUs of the guest.
    pub(crate) cpus: u32,
    /// Exits that a payload causes.
    pub(crate) exits: u32,
    /// The ways of a network card's frames that are measured.
    pub(crate) ways: Vec<Way>,
    /// The buses of a disk that are measured.
    pub(crate) buses: Vec<Bus>,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            program: "target/release/optimus-vmm".into(),
            lab: std::env::var_os("OPTIMUS_LAB_DIR").map_or_else(|| "target/lab".into(), PathBuf::from),
            firmware: "2025.02".into(),
            pairs: 7,
            memory: 512,
            cpus: 1,
            exits: 1_000_000,
            ways: Way::ALL.into(),
            buses: Bus::ALL.into(),
        };
        while let Some(option) = words.next() {
            let value = words.next().ok_or_else(|| format!("{option} needs a value"))?;
            match option.as_str() {
                "--program" => options.program = value.into(),
                "--firmware" => options.firmware = value,
                "--pairs" => options.pairs = value.parse::<usize>()?.max(1),
                "--memory" => options.memory = value.parse::<u64>()?.clamp(256, 1 << 20),
                "--cpus" => options.cpus = value.parse()?,
                "--exits" => options.exits = value.parse::<u32>()?.max(1),
                "--way" => options.ways = vec![Way::of_name(&value)?],
                "--bus" => options.buses = value.split(',').map(Bus::of_name).collect::<Result<_>>()?,
                _ => return Err(format!("unknown option '{option}'").into()),
            }
        }
        Ok(options)
    }
}

/// Progress, for whoever waits.
fn tell(line: &str) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "bench: {line}");
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, format!("{value:#}\n"))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(())
}

fn report(output: &Path, parts: impl Iterator<Item = String>) -> Result<()> {
    let mut all = Vec::new();
    for path in parts {
        let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {path}: {error}"))?;
        let part = Part::from_json(&serde_json::from_str(&text)?)?;
        writeln!(std::io::stdout(), "{}", part.table())?;
        all.push(part.json());
    }
    let name = output.file_stem().unwrap_or_default().to_string_lossy();
    write_json(output, &json!({ "benchmark": name, "parts": all }))
}

fn run() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let (Some(verb), Some(output)) = (words.next(), words.next().map(PathBuf::from)) else {
        return Err(
            "usage: bench guests|direct|native|passthrough|pinning|display|net|exits|latency|disk|payload FILE [OPTION]…, or bench report FILE PART…"
                .into(),
        );
    };
    match verb.as_str() {
        "guests" => {
            let keep = |part: &Part| write_json(&output, &part.json());
            keep(&guests::measure(&Options::parse(words)?, keep)?)
        }
        "direct" => {
            let keep = |part: &Part| write_json(&output, &part.json());
            keep(&direct::measure(&Options::parse(words)?, keep)?)
        }
        "display" => {
            let keep = |part: &Part| write_json(&output, &part.json());
            keep(&display::measure(&Options::parse(words)?, keep)?)
        }
        "net" => {
            let keep = |part: &Part| write_json(&output, &part.json());
            keep(&net::measure(&Options::parse(words)?, keep)?)
        }
        "exits" => {
            let keep = |part: &Part| write_json(&output, &part.json());
            keep(&exits::measure(&Options::parse(words)?, keep)?)
        }
        "latency" => {
            let keep = |part: &Part| write_json(&output, &part.json());
            keep(&latency::measure(&Options::parse(words)?, keep)?)
        }
        "payload" => {
            let keep = |part: &Part| write_json(&output, &part.json());
            keep(&inside::measure(&Options::parse(words)?, keep)?)
        }
        "disk" => {
            let keep = |part: &Part| write_json(&output, &part.json());
            keep(&disk::measure(&Options::parse(words)?, keep)?)
        }
        "passthrough" => write_json(&output, &passthrough::measure(&Options::parse(words)?)?.json()),
        "pinning" => write_json(&output, &pinning::measure(&Options::parse(words)?)?.json()),
        "native" => write_json(&output, &native::measure(&Options::parse(words)?)?.json()),
        "report" => report(&output, words),
        _ => Err(format!("unknown verb '{verb}'").into()),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
