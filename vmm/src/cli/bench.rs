//! The command line of `optimus-vmm bench`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};
use vocabulary::{HostPciAddress, PciAddress};

use super::parse_seconds;

/// Help on what is measured, and on what the numbers mean.
const BENCH_HELP: &str = "The machine of the vm.toml is started with a guest of optimus-vmm's own, which measures and needs neither firmware nor disks.
Its consoles and its control socket are left out. docs/bench.md says what each number means.

Exit status:
  0      all was measured; what the machine cannot do is listed
  2      the command line or the vm.toml is wrong
  3      the host is not ready for the machine
  5      the guest crashed; what was measured before is shown
  6      the guest hung, or a device or the host failed; what was measured before is shown
  128+N  ended by signal N";

/// The arguments of `bench`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = BENCH_HELP)]
pub struct BenchArgs {
    /// The machine's configuration
    #[arg(value_name = "VM.TOML")]
    pub config: PathBuf,

    /// Measure this function of the machine: by its address in the guest such as 01:00.0, or on the host such as
    /// 0000:01:00.0. Without, the GPU of [dgpu] is measured, or else the first that is passed through
    #[arg(long, value_name = "ADDRESS")]
    pub device: Option<DeviceAddress>,

    /// What may be done to the device: registers that can be read, written, or ask for an interrupt or DMA
    #[arg(long, value_name = "FILE.toml")]
    pub describe: Option<PathBuf>,

    /// Measure for so many seconds. All measures share them; below 30 some have too few samples for a percentile of 99.9
    #[arg(long, value_name = "SECONDS", value_parser = parse_duration, default_value = "30")]
    pub duration: Duration,

    /// Write the report to FILE as JSON, too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Compare with an earlier report, which --json has written
    #[arg(long, value_name = "FILE.json")]
    pub baseline: Option<PathBuf>,

    /// Draw the report, and the baseline's beside it, as FILE.svg or FILE.png
    #[arg(long, value_name = "FILE.svg", value_parser = PathBufValueParser::new().try_map(plot))]
    pub plot: Option<PathBuf>,

    /// Have optimus-vmm answer the port and the memory that are measured so many microseconds later than it could, to see
    /// that this shows
    #[arg(long, value_name = "MICROSECONDS", value_parser = parse_microseconds, default_value = "0")]
    pub delay: Duration,
}

/// The arguments of `bench-elsewhere`, which `scripts/bench payload` has for its comparison.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ElsewhereArgs {
    /// Write the guest, an ELF file with PVH's entry
    #[arg(long, value_name = "FILE.elf", required_unless_present = "memory")]
    pub payload: Option<PathBuf>,

    /// Measure by the guest that runs in another program's machine, whose memory this file is
    #[arg(long, value_name = "FILE")]
    pub memory: Option<PathBuf>,

    /// Measure for so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = parse_duration, default_value = "30")]
    pub duration: Duration,

    /// Write the report to FILE as JSON, too
    #[arg(long, value_name = "FILE", requires = "memory")]
    pub json: Option<PathBuf>,
}

/// The arguments of `bench-start`, by which `bench` starts its machine again.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct StartArgs {
    /// The machine's configuration
    #[arg(value_name = "VM.TOML")]
    pub config: PathBuf,
}

/// A function as the user names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceAddress {
    /// By its address in the guest, `01:00.0`.
    Guest(PciAddress),
    /// By its address on the host, `0000:01:00.0`.
    Host(HostPciAddress),
}

impl FromStr for DeviceAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let segment = text.matches(':').count() > 1;
        let said = |error: <PciAddress as FromStr>::Err| error.to_string();
        if segment {
            text.parse().map(Self::Host).map_err(said)
        } else {
            text.parse().map(Self::Guest).map_err(said)
        }
    }
}

/// A file whose name says what it is to be.
fn plot(path: PathBuf) -> Result<PathBuf, &'static str> {
    let is = |ending: &str| path.extension().is_some_and(|its| its.eq_ignore_ascii_case(ending));
    if is("svg") || is("png") {
        Ok(path)
    } else {
        Err("plots are SVG or PNG files: write a name that ends in .svg or .png")
    }
}

/// A second to an hour.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let time = parse_seconds(text)?;
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(3600));
    if (least..=most).contains(&time) { Ok(time) } else { Err("write 1 to 3600 seconds".into()) }
}

/// Up to ten milliseconds.
fn parse_microseconds(text: &str) -> Result<Duration, String> {
    const MOST: u64 = 10_000;
    match text.parse() {
        Ok(microseconds @ 0..=MOST) => Ok(Duration::from_micros(microseconds)),
        _ => Err(format!("write a whole number of microseconds up to {MOST}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_a_segment_are_the_hosts() {
        assert_eq!("01:00.0".parse(), Ok(DeviceAddress::Guest(PciAddress::new(1, 0, 0).unwrap())));
        assert_eq!("0000:01:00.1".parse(), Ok(DeviceAddress::Host(HostPciAddress::new(0, 1, 0, 1).unwrap())));
        for wrong in ["", "gpu", "1:2", "0000:01:00.9"] {
            assert!(wrong.parse::<DeviceAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn plots_are_of_two_kinds() {
        for (name, good) in [("a.svg", true), ("a.PNG", true), ("a.jpg", false), ("svg", false), ("", false)]
        {
            assert_eq!(plot(name.into()).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn durations_have_bounds() {
        for (text, expected) in [
            ("1", Some(1000)),
            ("2.5", Some(2500)),
            ("3600", Some(3_600_000)),
            ("0.9", None),
            ("3601", None),
            ("x", None),
        ] {
            let found = parse_duration(text).ok();
            assert_eq!(found, expected.map(Duration::from_millis), "{text}");
        }
        for (text, expected) in [
            ("0", Some(0)),
            ("50", Some(50)),
            ("10000", Some(10_000)),
            ("10001", None),
            ("-1", None),
            ("1.5", None),
        ] {
            assert_eq!(parse_microseconds(text).ok(), expected.map(Duration::from_micros), "{text}");
        }
    }
}
