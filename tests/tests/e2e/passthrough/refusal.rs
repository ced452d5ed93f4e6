//! Devices that cannot be passed through: one sentence, status 3 (or 2 where vm.toml contradicts itself), and a
//! host that is as before. What is about the state of the host is in `unfit`.

use tests::machine::Machine;
use tests::passthrough::{Function, Gpu, Passthrough, Rom};
use tests::run::Options;
use tests::vfio::{HostFunction, VFIO, View, ids};
use tests::{Outcome, ensure, program};

use crate::crash::application;
use crate::refusal::refusal;
use crate::{Scenario, scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("devices_that_cannot_be_passed_are_refused", 40, table),
    scenario("locked_memory_that_does_not_suffice_is_refused", 15, locked_memory),
];

/// The functions that the cases are about.
struct Host {
    gpu: HostFunction,
    audio: HostFunction,
    edu: HostFunction,
    /// The graphics function's.
    rom: Vec<u8>,
}

/// How the functions are bound before the program runs.
enum Before {
    /// edu to vfio-pci, the card's functions to none.
    Edu,
    /// The graphics function to vfio-pci, and the audio function of its group to its own driver.
    AudioBusy,
    /// The whole card to vfio-pci.
    Card,
    /// Nothing to anything.
    Nothing,
}

/// Something that is refused.
struct Case {
    name: &'static str,
    before: Before,
    ask: fn(&Host, &Machine) -> Outcome<Passthrough>,
    status: i32,
    /// What the message must say; `@GPU@`, `@AUDIO@` and `@EDU@` stand for the addresses.
    words: &'static [&'static str],
}

fn edu(host: &Host, guest: &str) -> Function {
    Function { host: host.edu.address.clone(), guest: guest.into(), manage: false }
}

fn gpu(host: &Host, rom: Rom) -> Outcome<Passthrough> {
    let others = vec![host.audio.address.clone()];
    let gpu = Gpu { host: host.gpu.address.clone(), others, ids: None, rom, manage: false };
    Ok(Passthrough { gpu: Some(gpu), functions: Vec::new() })
}

/// A ROM of the card's own, changed: in its PCI data structure (PCI Firmware Specification 3.0, 5.1.2) the
/// vendor ID is at offset 4 and the device ID at 6; byte 0x18 of the header points there.
fn rom_of_another(host: &Host, machine: &Machine) -> Outcome<Passthrough> {
    let mut rom = host.rom.clone();
    let at = rom.get(0x18..0x1a).and_then(|it| it.try_into().ok()).map(u16::from_le_bytes);
    let at = usize::from(at.ok_or("the card's ROM is too short")?);
    let ids = rom.get_mut(at + 4..at + 8).ok_or("the card's ROM has no PCI data structure")?;
    ids.copy_from_slice(&[0xde, 0x10, 0x34, 0x12]);
    // The bytes of an image add up to zero.
    let sum = rom.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(last) = rom.last_mut() {
        *last = last.wrapping_sub(sum);
    }
    let path = machine.file("other.rom");
    std::fs::write(&path, rom)?;
    gpu(host, Rom::File(path))
}

const CASES: &[Case] = &[
    Case {
        name: "no such device",
        before: Before::Nothing,
        ask: |_, _| Ok(Passthrough::functions(&["0000:7f:00.0"])),
        status: 3,
        words: &["0000:7f:00.0", "lspci"],
    },
    Case {
        name: "not bound, and not to be bound",
        before: Before::Nothing,
        ask: |host, _| Ok(Passthrough::functions(&[&host.edu.address])),
        status: 3,
        words: &["@EDU@", "vfio-pci", "manage = true"],
    },
    Case {
        name: "a group with a busy member",
        before: Before::AudioBusy,
        ask: |host, _| Ok(Passthrough::functions(&[&host.gpu.address])),
        status: 3,
        words: &["@GPU@", "@AUDIO@", "snd_hda_intel", "group"],
    },
    Case {
        name: "two devices at one address",
        before: Before::Edu,
        ask: |host, _| {
            let functions = vec![
                edu(host, "01:00.0"),
                Function { host: host.gpu.address.clone(), ..edu(host, "01:00.0") },
            ];
            Ok(Passthrough { gpu: None, functions })
        },
        status: 3,
        words: &["vm.toml:", "01:00.0", "vfio[0]"],
    },
    Case {
        name: "another device where the GPU is",
        before: Before::Edu,
        ask: |host, _| Ok(Passthrough { functions: vec![edu(host, "01:00.0")], ..gpu(host, Rom::Off)? }),
        status: 3,
        words: &["vm.toml:", "01:00.0", "dgpu"],
    },
    Case {
        name: "one device twice",
        before: Before::Edu,
        ask: |host, _| {
            Ok(Passthrough { gpu: None, functions: vec![edu(host, "01:00.0"), edu(host, "02:00.0")] })
        },
        status: 2,
        words: &["vm.toml:", "@EDU@ is passed through by [[vfio]] (line "],
    },
    Case {
        name: "a ROM file that is not there",
        before: Before::Card,
        ask: |host, _| gpu(host, Rom::File("/none.rom".into())),
        status: 2,
        words: &["vm.toml:", "/none.rom", "No such file"],
    },
    Case {
        name: "a ROM file that is no ROM",
        before: Before::Card,
        ask: |host, machine| {
            let path = machine.file("noise.rom");
            std::fs::write(&path, [0x5a; 8192])?;
            gpu(host, Rom::File(path))
        },
        status: 2,
        words: &["vm.toml:", "noise.rom", "ROM"],
    },
    Case {
        name: "a ROM file of another GPU",
        before: Before::Card,
        ask: rom_of_another,
        status: 2,
        words: &["vm.toml:", "other.rom", "10de:1234", "1002:5046"],
    },
];

impl Host {
    fn find() -> Outcome<Self> {
        let [gpu, audio, edu] = [ids::GPU, ids::AUDIO, ids::EDU].map(HostFunction::find);
        let gpu = gpu?;
        let rom = gpu.rom()?;
        Ok(Self { gpu, audio: audio?, edu: edu?, rom })
    }

    fn all(&self) -> [&HostFunction; 3] {
        [&self.gpu, &self.audio, &self.edu]
    }

    fn prepare(&self, before: &Before) -> Outcome<Vec<View>> {
        let [gpu, audio, edu] = match before {
            Before::Edu => [None, None, Some(VFIO)],
            Before::AudioBusy => [Some(VFIO), Some("snd_hda_intel"), None],
            Before::Card => [Some(VFIO), Some(VFIO), None],
            Before::Nothing => [None, None, None],
        };
        for (function, driver) in self.all().into_iter().zip([gpu, audio, edu]) {
            function.bind(driver)?;
        }
        self.all().into_iter().map(HostFunction::view).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for function in self.all() {
            let _ = function.bind(None);
        }
    }
}

fn table() -> Outcome {
    let host = Host::find()?;
    let mut failures = Vec::new();
    for case in CASES {
        if let Err(failed) = refused(&host, case) {
            failures.push(format!("{}: {}", case.name, failed.message().unwrap_or_default()));
        }
    }
    ensure(failures.is_empty(), failures.join("\n\n"))
}

fn refused(host: &Host, case: &Case) -> Outcome {
    let views = host.prepare(&case.before)?;
    let machine = application(&program::spin())?;
    let passthrough = (case.ask)(host, &machine)?;
    let finished = machine.with_passthrough(passthrough).run(&Options::default())?;
    let words: Vec<String> = case
        .words
        .iter()
        .map(|word| {
            word.replace("@GPU@", &host.gpu.address)
                .replace("@AUDIO@", &host.audio.address)
                .replace("@EDU@", &host.edu.address)
        })
        .collect();
    refusal(&finished, &[case.status], &words.iter().map(String::as_str).collect::<Vec<_>>())?;
    views.iter().try_for_each(View::compare)
}

/// Without the capabilities that lift the limit or let a process raise it.
fn locked_memory() -> Outcome {
    let host = Host::find()?;
    let views = host.prepare(&Before::Edu)?;
    let machine = application(&program::spin())?.with_functions(&[&host.edu.address]);
    let options = Options::default().under([
        "prlimit",
        "--memlock=67108864:67108864",
        "setpriv",
        "--bounding-set=-ipc_lock,-sys_resource",
    ]);
    let finished = machine.run(&options)?;
    // What there is and what is needed, in MiB: the guest has 256.
    refusal(&finished, &[3], &["memlock", "64M", "256M"])?;
    views.iter().try_for_each(View::compare)
}
