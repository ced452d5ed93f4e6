//! The firmware's own menu of the TPM (edk2's Tcg2ConfigDxe), as a terminal at the serial port shows it.

use regex::Regex;
use tests::Outcome;
use tests::machine::Machine;
use tests::run::{Options, Running};

use crate::{Scenario, by_hand};

pub(super) const SCENARIOS: &[Scenario] = &[by_hand("ovmfs_menu_shows_the_tpm", menu)];

const DOWN: &str = "\x1b[B";
/// More entries than any of the menus has.
const ENTRIES: usize = 16;

fn menu() -> Outcome {
    // With a screen the terminal has as many lines as that, and the page as a whole.
    let mut machine = Machine::new()?.with_memory("256M").with_screen("adapter = \"bochs\"");
    machine.sections = super::SECTION.into();
    let mut running = machine.start(&Options { interactive: true, ..Options::default() })?;
    // Without anything to boot there is the shell, and behind it the menu.
    running.expect("Shell>")?;
    running.send("exit\r")?;
    running.expect("Move Highlight")?;
    running.send(DOWN)?;
    for entry in ["Device Manager", "TCG2 Configuration"] {
        choose(&mut running, entry)?;
    }
    let page = running.expect(r"(?s)(Current TPM Device.*?PCR Bank: SHA512)")?;
    let page = page.into_iter().next_back().unwrap_or_default();
    // Positions and colours are between the words.
    let page = Regex::new(r"\x1b\[[0-9;]*[A-Za-z]")?.replace_all(&page, "\n");
    let words: Vec<&str> = page.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    for (title, value) in [
        ("Current TPM Device", "TPM 2.0"),
        ("Current Rev of TPM2 ACPI", "Rev 4"),
        ("Interface", "PTP CRB"),
        ("Hash Algorithm", "SHA1, SHA256, SHA384,"),
        ("Current PPI Version", "1.3"),
        ("TPM2 Operation", "<No Action>"),
        ("Number of PCR Banks", "4"),
        ("PCR Bank: SHA256", "[X]"),
    ] {
        // A title of two lines comes before its value, and a choice's value before its title.
        let at = words.iter().position(|word| *word == title);
        let near = at.and_then(|at| words.get(at.saturating_sub(1)..(at + 3).min(words.len())));
        if !near.is_some_and(|near| near.contains(&value)) {
            return Err(running.failure(format!("the menu does not show {title}: {value}, but {words:?}")));
        }
    }
    running.kill().map(drop)
}

/// Goes down to an entry, which is the one with other colours, and presses Enter.
fn choose(running: &mut Running, entry: &str) -> Outcome {
    for _ in 0..ENTRIES {
        let found = running.expect(r"\x1b\[37m\x1b\[40m\x1b\[\d+;04H([A-Za-z0-9][^\x1b]*)")?;
        if found.last().is_some_and(|found| found.trim() == entry) {
            return running.send("\r");
        }
        running.send(DOWN)?;
    }
    Err(running.failure(format!("the menu has no entry {entry}")))
}
