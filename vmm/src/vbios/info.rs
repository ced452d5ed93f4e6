//! `vbios info`: every image of a ROM file, and whether it fits.

use firmware::option_rom::{Expect, MAX_SIZE, parse};

use super::report::Report;
use super::{Answer, CommandError, read};
use crate::cli::InfoArgs;
use crate::outcome::status;

pub(super) fn run(args: &InfoArgs) -> Result<Answer, CommandError> {
    let too_large = "to look for ROMs in a BIOS update or a flash dump, use `optimus-vmm vbios find`";
    let bytes = read(&args.file, "the ROM file", MAX_SIZE as u64, too_large)?;
    let expect = args.device.map(|id| Expect::new(id.vendor, id.device));
    let rom = parse(&bytes).map_err(|source| CommandError::Rom { path: args.file.clone(), source })?;
    let report = Report::new(&rom, &bytes, expect);
    let text = match args.json {
        true => report.json()?,
        false => report.text(&args.file),
    };
    Ok(Answer { text, status: if report.usable { status::SUCCESS } else { status::CONFIG } })
}
