//! Measuring with the same guest in another program's machine, so that both can be compared: that program starts the payload by its PVH entry
//! and has the guest's memory in a file, which is mapped here.
//!
//! Nothing of the machine is known but its memory. Its port 0x80, which takes POST codes on PCs, and an address where PCs without a TPM have
//! nothing, stand for the registers that our own machine has to be measured by.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::time::{Instant, SystemTime};

use devices::GuestRam;
use statistics::{Counter, Host, Machine, Report};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};
use vocabulary::AddressRange;

use super::course::{self, Shared};
use super::probe::{self, Probe};
use super::{Answer, BenchError, Tell, host, payload, table, with_unwritten};
use crate::cli::ElsewhereArgs;
use crate::host::HostFiles;
use crate::outcome::{Failure, status};

/// The port that is read.
const PORT: u64 = 0x80;
/// The memory that is read.
const NOWHERE: u64 = 0xfed4_0000;
/// Where SeaBIOS puts configuration space of a Q35 machine, and how much of it.
const ECAM: (u64, u64) = (0xb000_0000, 1 << 28);

/// Writes the payload, or measures by one that runs.
///
/// # Errors
/// A file cannot be written, or the memory cannot be mapped.
pub fn run(args: &ElsewhereArgs, mut tell: Tell) -> Result<Answer, BenchError> {
    let failed = |path: &Path, source: io::Error| Failure::Write { path: path.into(), source };
    if let Some(path) = &args.payload {
        std::fs::write(path, payload::image()).map_err(|source| failed(path, source))?;
    }
    let Some(memory) = &args.memory else {
        return Ok(Answer { text: String::new(), complaint: None, status: status::SUCCESS });
    };
    let began = (Instant::now(), SystemTime::now());
    let load = host::load(&HostFiles::default());
    let ram = map(memory).map_err(|source| failed(memory, source))?;
    let found = Shared::default();
    course::elsewhere(&ram, args.duration, probes(), &found, &mut tell);
    let mut found = std::mem::take(&mut *found.lock());
    let end = found.end.take();
    let report = Report {
        program: "another program".into(),
        unix_seconds: began.1.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        duration: began.0.elapsed().as_secs_f64(),
        host: Host { load, ..host::facts(&HostFiles::default(), None) },
        machine: Machine { memory_mib: size(&ram) >> 20, vcpus: 1, device: None },
        measures: found.measures,
        missing: found.missing,
        counters: found.counters.into_iter().collect::<Vec<Counter>>(),
        advice: Vec::new(),
    };
    let written = args
        .json
        .as_deref()
        .map_or(Ok(()), |path| std::fs::write(path, report.to_json()).map_err(|source| failed(path, source)));
    let complaint = end.and_then(Result::err).map(|why| format!("not everything could be measured: {why}"));
    let status = if complaint.is_some() { status::RUNTIME } else { status::SUCCESS };
    let unwritten: Vec<Failure> = written.err().into_iter().collect();
    let (status, complaint) = with_unwritten((status, complaint), &unwritten);
    Ok(Answer { text: table::text(&report), complaint, status })
}

/// The memory of a guest in a file, all of it from address 0 on.
fn map(path: &Path) -> io::Result<GuestRam> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let size = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let range = (GuestAddress(0), size, Some(FileOffset::new(file, 0)));
    GuestRam::from_ranges_with_files([range]).map_err(io::Error::other)
}

fn size(ram: &GuestRam) -> u64 {
    ram.iter().map(GuestMemoryRegion::len).sum()
}

/// Exits and configuration cycles of a PC.
fn probes() -> Vec<Probe> {
    let mut probes = probe::of_exits(AddressRange::new(ECAM.0, ECAM.1));
    for probe in &mut probes {
        match probe.id {
            "exit.port" => probe.command.address = PORT,
            "exit.mmio" => probe.command.address = NOWHERE,
            _ => {}
        }
    }
    probes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::payload::layout::Kind;

    #[test]
    fn the_file_is_the_guests_memory() {
        use std::os::unix::fs::FileExt;
        use vm_memory::Bytes;

        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8 << 20).unwrap();
        let ram = map(file.path()).unwrap();
        assert_eq!(size(&ram), 8 << 20);
        ram.write_slice(b"here", GuestAddress(0x20_3000)).unwrap();
        let mut found = [0; 4];
        file.as_file().read_exact_at(&mut found, 0x20_3000).unwrap();
        assert_eq!(&found, b"here");
        assert!(map(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn registers_of_ours_are_replaced() {
        let probes = probes();
        let address =
            |id: &str| probes.iter().find(|probe| probe.id == id).map(|probe| probe.command.address);
        assert_eq!(address("exit.port"), Some(PORT));
        assert_eq!(address("exit.mmio"), Some(NOWHERE));
        assert_eq!(address("config.ecam"), Some(ECAM.0));
        assert!(probes.iter().any(|probe| probe.command.kind == Kind::Cf8));
    }
}
