//! The process is killed with SIGKILL while the guest writes: what the guest had flushed is there.

use std::fs::File;
use std::os::unix::fs::FileExt;

use tests::image;
use tests::machine::{Format, Machine};
use tests::run::{Options, numbers};
use tests::{Outcome, ensure};

use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("killed_during_nvram_writes", 100, nvram),
    scenario("killed_during_writes_to_raw", 35, || records(Format::Raw, 150)),
    scenario("killed_during_writes_to_qcow2", 25, || records(Format::Qcow2, 150)),
];

fn nvram() -> Outcome {
    let mut machine = Machine::small("test=variables from=0")?;
    let mut last = 0;
    // Odd numbers, so that the kill comes at different places of the store and of its reclaim.
    for writes in [23, 130, 61] {
        let mut running = machine.start(&Options::default())?;
        running.expect(&format!("VARIABLE-WRITTEN {}\\D", last + writes))?;
        let killed = running.kill()?;
        killed.status(128 + 9)?;
        last = killed.last_number("VARIABLE-WRITTEN").ok_or_else(|| killed.failure("nothing was written"))?;

        // The store is as large as before, and firmware and kernel find everything in it.
        let sizes = [machine.vars(), machine.firmware.1.clone()]
            .map(|path| std::fs::metadata(path).map(|it| it.len()));
        let [Ok(size), Ok(template)] = sizes else { return Err("the variable store is gone".into()) };
        ensure(size == template, format!("the variable store has {size} bytes now, not {template}"))?;

        machine.set_words("test=variables_left")?;
        let left = machine.run(&Options::default())?;
        left.passed("variables_left")?;
        for slot in 0..8 {
            // The last announced value of this name, or that of the write which the kill cut short.
            let announced = (0..=last).rev().find(|value| value % 8 == slot);
            let Some(announced) = announced else { continue };
            let found = |value: u64| left.serial.contains(&format!("VARIABLE {slot}: value {value} "));
            left.ensure(
                found(announced) || (announced + 8 == last + 1 && found(last + 1)),
                format!("variable {slot} lost the value {announced}; the last announced was {last}"),
            )?;
        }
        last += 1;
        machine.set_words(&format!("test=variables from={last}"))?;
    }
    Ok(())
}

/// The qcow2 disk without firmware, the other one through it.
fn records(format: Format, count: u64) -> Outcome {
    let machine = Machine::small("test=records records=4000")?;
    let machine = if format == Format::Qcow2 { machine.directly() } else { machine };
    let disk = image::empty(&machine.file("data"), format, 64, "data")?;
    let machine = machine.with_disk(disk.clone());
    let mut running = machine.start(&Options::default())?;
    running.expect(&format!("RECORD-FLUSHED {count}\\D"))?;
    let killed = running.kill()?;
    killed.status(128 + 9)?;
    let flushed: Vec<_> = numbers(&killed.serial, "RECORD-FLUSHED").collect();

    image::check(&disk)?;
    let content = File::open(image::content(&disk)?)?;
    for number in flushed {
        let expected: Vec<u8> = format!("record {number}\n").bytes().cycle().take(4096).collect();
        let mut found = vec![0; 4096];
        content.read_exact_at(&mut found, number * 4096)?;
        killed.ensure(found == expected, format!("record {number} was flushed and is not in the image"))?;
    }
    // The machine can be used again at once: nothing is left locked.
    let again = machine.start(&Options::default())?;
    drop(again);
    Ok(())
}
