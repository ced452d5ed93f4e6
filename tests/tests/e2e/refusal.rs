//! What the host cannot give, and what another machine holds: refused with a clear word, and nothing lost.

use tests::bad_input::{check, config, files};
use tests::machine::{Disk, Format};
use tests::run::{Finished, Options};
use tests::{Outcome, ensure, image, program};

use crate::crash::application;
use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("files_of_a_running_machine_are_refused", 20, in_use),
    scenario("what_the_host_cannot_give_is_refused", 10, too_much),
    scenario("bad_input_is_refused", 40, bad_input),
];

fn in_use() -> Outcome {
    let first = application(&program::spin())?;
    let disk = image::empty(&first.file("disk.qcow2"), Format::Qcow2, 16, "data")?;
    let raw = image::empty(&first.file("disk.img"), Format::Raw, 16, "raw")?;
    let first = first.with_disk(disk.clone()).with_disk(raw.clone());
    let mut running = first.start(&Options::default())?;
    running.expect("APPLICATION-UP")?;

    for disk in [disk.clone(), raw] {
        let second = application(&program::spin())?.with_disk(disk.clone());
        let refused = second.run(&Options::default())?;
        refusal(&refused, &[2, 3], &[&disk.path.display().to_string(), "use"])?;
    }
    let mut third = application(&program::spin())?;
    std::os::unix::fs::symlink(first.vars(), third.vars())?;
    let refused = third.run(&Options::default())?;
    refusal(&refused, &[2, 3], &["_VARS.fd", "use"])?;

    // The first is not disturbed, and when it has gone, everything is free again.
    let _ = running.kill()?;
    image::check(&disk)?;
    third = third.with_disk(Disk::new(disk.path, Format::Qcow2, "data"));
    let mut running = third.start(&Options::default())?;
    running.expect("APPLICATION-UP")?;
    Ok(())
}

fn too_much() -> Outcome {
    // More memory than the host has, in huge pages of which it has none, and more processors than KVM does.
    let huge = application(&program::spin())?.with_key("hugepages = \"2M\"").run(&Options::default())?;
    refusal(&huge, &[3], &["hugepages"])?;
    let mut pinned = application(&program::spin())?;
    pinned.cpu_keys.push("pin = [1023]".into());
    let pinned = pinned.run(&Options::default())?;
    refusal(&pinned, &[3], &["the host has no CPU 1023", "lscpu -e", "vm.toml"])?;
    let mut bridged = application(&program::spin())?;
    bridged.sections = "[[net]]\nbackend = \"bridge\"\ninterface = \"br-none\"\n".into();
    let bridged = bridged.run(&Options::default())?;
    refusal(&bridged, &[3], &["the host has no bridge br-none", "backend = \"user\"", "vm.toml"])?;
    let memory = application(&program::spin())?.with_memory("900G").run(&Options::default())?;
    refusal(&memory, &[2, 3], &["memory"])
}

/// Every wrong file and every wrong configuration.
fn bad_input() -> Outcome {
    let failures: Vec<String> = config()
        .chain(files())
        .filter_map(|case| check(case, &[2]).err())
        .map(|failed| failed.message().unwrap_or_default().to_owned())
        .collect();
    ensure(failures.is_empty(), failures.join("\n\n"))
}

/// Refused before anything ran: the status, the words, and one message without a backtrace.
pub(crate) fn refusal(finished: &Finished, statuses: &[i32], words: &[&str]) -> Outcome {
    finished.ensure(statuses.contains(&finished.status), format!("expected a status of {statuses:?}"))?;
    for word in words {
        finished.said(word)?;
    }
    finished.ensure(finished.serial.is_empty(), "a machine that is refused must not start")?;
    finished.ensure(!finished.stderr.contains("panicked at"), "that is not a message")
}
