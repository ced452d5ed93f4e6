//! CD drives: OVMF boots from a disc, and Linux' driver sees discs change.

use std::path::Path;
use std::process::Command;

use tests::image;
use tests::machine::Machine;
use tests::run::Options;
use tests::{Outcome, binary, ensure, program};

use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("cdrom_boots_through_ovmf", 40, boots),
    scenario("cdrom_changes_discs_under_linux", 60, changes),
];

/// A section for a drive.
fn drive(disc: &Path, more: &str) -> String {
    format!("[[cdrom]]\npath = \"{}\"\n{more}", disc.display())
}

/// From the second of two drives, since it stands first in the boot order.
fn boots() -> Outcome {
    let mut machine = Machine::new()?;
    let plain = image::disc(&machine.file("plain.iso"), &[("word", b"nothing".to_vec())], None)?;
    let disc = image::disc(&machine.file("boot.iso"), &[], Some(&program::power_off()))?;
    machine.sections = drive(&plain, "boot_index = 1\n") + &drive(&disc, "boot_index = 0\n");
    let finished = machine.run(&Options::default().within(300))?;
    finished.status(0)?;
    finished.printed("APPLICATION-UP")
}

/// What the driver reads, a change with its leave, and one without.
fn changes() -> Outcome {
    let mut machine = Machine::small("test=cdrom")?.directly();
    let data: Vec<u8> =
        (0..4_000_000u32).flat_map(|at| (at.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()).collect();
    let files = |word: &str| [("word", word.as_bytes().to_vec()), ("data", data.clone())];
    let first = image::disc(&machine.file("first.iso"), &files("first"), None)?;
    let second = image::disc(&machine.file("second.iso"), &files("second"), None)?;
    let sum = Command::new("sha256sum").arg(first.with_extension("tree").join("data")).output()?.stdout;
    let sum = String::from_utf8_lossy(&sum).chars().take(64).collect::<String>();
    machine.sections = drive(&first, "");
    let mut running = machine.start(&Options { interactive: true, ..Options::default().within(600) })?;
    let ctl = |words: &[&str]| -> Outcome<(bool, String)> {
        let output = Command::new(binary::path()?).args(["ctl", "machine", "cdrom"]).args(words).output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
    };
    let must = |words: &[&str]| ctl(words).and_then(|(done, said)| ensure(done, said));
    let insert = second.display().to_string();
    running.expect("DISC first")?;
    running.expect(&sum)?;
    // It is mounted, and nothing in this guest answers to requests for the disc.
    let (done, said) = ctl(&["insert", &insert])?;
    ensure(!done && said.contains("the guest has locked the tray of cdrom[0]"), said)?;
    running.send("\n")?;
    running.expect("DISC-FREE")?;
    must(&["insert", &insert])?;
    running.send("\n")?;
    running.expect("DISC second")?;
    must(&["insert", "--force", &first.display().to_string()])?;
    running.send("\n")?;
    running.expect("DISC-GONE")?;
    running.expect("DISC first")?;
    running.wait()?.passed("cdrom")
}
