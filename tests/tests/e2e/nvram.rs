//! What the guest writes to its variable store is there at the next run.

use tests::Outcome;
use tests::lab;
use tests::machine::{Disk, Format, Machine};
use tests::run::Options;

use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[scenario("boot_entries_survive_the_run", 60, entries)];

fn entries() -> Outcome {
    // As an installer does, with efibootmgr; a read-only disk will do for that.
    let esp = Disk::new(lab::guest("debian.raw")?, Format::Raw, "debian").readonly();
    let mut machine = Machine::small("test=bootentry")?.with_tools()?.with_disk(esp);
    let first = machine.run(&Options::default())?;
    first.passed("bootentry")?;
    machine.set_words("test=bootentries")?;
    let second = machine.run(&Options::default())?;
    second.passed("bootentries")?;
    let entry = |text: &str| text.lines().find(|line| line.contains("Kept by NVRAM")).map(str::to_owned);
    let (before, after) = (entry(first.section("efibootmgr")?), entry(second.section("efibootmgr")?));
    second.ensure(
        before.is_some() && before == after,
        format!("the entry was {before:?} in the first run and is {after:?} in the second"),
    )
}
