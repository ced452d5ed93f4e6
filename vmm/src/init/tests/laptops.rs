//! The files that laptops get, in `laptops/NAME.toml`. `UPDATE_GOLDEN=1 cargo test -p vmm --lib init` writes them anew, to be read
//! before they are committed.

use std::fs;
use std::path::{Path, PathBuf};

use super::{args, of_root, survey};
use crate::cli::InitArgs;
use crate::config::{self, Config};
use crate::doctor::Survey;
use crate::doctor::tests::fixture::Fixture;
use crate::doctor::tests::laptops;
use crate::host::{HostFacts, HostFiles};
use crate::init::draft::Draft;
use crate::init::text;
use crate::plan::{self, MachinePlan};

/// A laptop that has everything, to have one thing otherwise.
const WHOLE: &str = "model LENOVO | 80WW | RESCUER | ? | ? | 10
    os arch - Arch Linux
    kernel 6.12.1
    cpu GenuineIntel vmx 39 Intel Core i7-7700HQ
    file proc/meminfo MemTotal: 16277000 kB\\nMemAvailable: 9000000 kB
    file sys/devices/system/cpu/online 0-7
    file sys/devices/system/cpu/cpu0/topology/core_cpus_list 0,4
    file sys/devices/system/cpu/cpu1/topology/core_cpus_list 1,5
    file sys/devices/system/cpu/cpu2/topology/core_cpus_list 2,6
    file sys/devices/system/cpu/cpu3/topology/core_cpus_list 3,7
    file sys/devices/system/cpu/cpu4/topology/core_cpus_list 0,4
    file sys/devices/system/cpu/cpu5/topology/core_cpus_list 1,5
    file sys/devices/system/cpu/cpu6/topology/core_cpus_list 2,6
    file sys/devices/system/cpu/cpu7/topology/core_cpus_list 3,7
    pci 00:01.0 8086:1901 060400 pcieport 17aa:3804 1
    pci 00:02.0 8086:591b 030000 i915 17aa:39d1 0
    pci 01:00.0 10de:1c8d 030200 nouveau 17aa:39d0 1 00:01.0
    pci 01:00.1 10de:0fb9 040300 snd_hda_intel 0000:0000 1 00:01.0
    folder sys/class/mdev_bus/0000:00:02.0/mdev_supported_types/i915-GVTg_V5_4
    folder sys/class/mdev_bus/0000:00:02.0/mdev_supported_types/i915-GVTg_V5_8";

/// What is written, and what is read of it.
fn written(args: &InitArgs, survey: &Survey) -> (String, Config) {
    let text = text::of(&Draft::new(args, survey, None).unwrap());
    let config = config::parse_on(&text, Path::new("vm.toml"), &config::Overrides::default(), &|_| true);
    let config = config.unwrap_or_else(|error| panic!("{error}\n{text}"));
    (text, config)
}

fn planned(config: Config, root: &Path) -> MachinePlan {
    let facts = HostFacts::gather_from(&HostFiles::at(root), config.lent_devices());
    plan::plan(config, &facts).unwrap_or_else(|error| panic!("{error}"))
}

/// A line that is a key or a section behind `# `.
fn is_off(line: &str) -> bool {
    let Some(rest) = line.strip_prefix("# ") else { return false };
    let key = rest.split_once(" = ").map_or("", |(key, _)| key);
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    rest.starts_with('[') && rest.ends_with(']') || is_key
}

/// The text with one block of such lines switched on.
fn switched_on(text: &str) -> Vec<String> {
    let lines: Vec<_> = text.lines().collect();
    let mut texts = Vec::new();
    let mut index = 0;
    while index < lines.len() {
        let end = index + lines[index..].iter().take_while(|line| is_off(line)).count();
        if end > index {
            let on = |(at, line): (usize, &&str)| {
                if (index..end).contains(&at) { line[2..].to_owned() } else { (*line).to_owned() }
            };
            texts.push(lines.iter().enumerate().map(on).collect::<Vec<_>>().join("\n"));
        }
        index = end + 1;
    }
    texts
}

#[test]
fn every_laptop_gets_a_machine() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/init/tests/laptops");
    let laptops = laptops::all();
    assert!(laptops.len() >= 10, "{}", laptops.len());
    for (name, description) in laptops {
        let fixture = Fixture::new(&description);
        let asked = args(&["--yes"]);
        let found = of_root(fixture.root(), &asked);
        let (text, config) = written(&asked, &found);
        let path = folder.join(format!("{name}.toml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            text, golden,
            "{name}: run UPDATE_GOLDEN=1 cargo test -p vmm --lib init, and read the difference"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 130), "{name}");
        let gpu = found.gpu.as_ref().map(|gpu| gpu.address);
        let lent = config
            .passthrough
            .iter()
            .find(|device| device.is_dgpu())
            .and_then(|device| device.host.function());
        assert_eq!(lent, gpu, "{name}");
        let plan = planned(config, fixture.root());
        let report = plan::report::report(&plan, &[]).text();
        assert!(gpu.is_none_or(|gpu| report.contains(&gpu.to_string())), "{name}: {report}");
        // What is only suggested is as good.
        for suggested in switched_on(&text) {
            let read =
                config::parse_on(&suggested, Path::new("vm.toml"), &config::Overrides::default(), &|_| true);
            let read = read.unwrap_or_else(|error| panic!("{name}: {error}\n{suggested}"));
            planned(read, fixture.root());
        }
    }
}

/// All combinations of what may be chosen make machines.
#[test]
fn every_choice_is_a_machine() {
    let bare = WHOLE.lines().filter(|line| !line.contains("mdev_bus")).collect::<Vec<_>>().join("\n");
    let folder = tempfile::tempdir().unwrap();
    let iso = folder.path().join("disc.iso");
    fs::write(&iso, "").unwrap();
    let iso = iso.to_str().unwrap();
    for description in [WHOLE, &bare, ""] {
        let fixture = Fixture::new(description);
        for os in ["windows", "linux", "other"] {
            for gpu in [&["--gpu", "none"][..], &[]] {
                for disc in [&["--iso", iso][..], &[]] {
                    for disk in ["d.raw", "d.img", "d.qcow2"] {
                        let words = [&["--yes", "--os", os, "--disk", disk][..], gpu, disc].concat();
                        let asked = args(&words);
                        let (text, config) = written(&asked, &of_root(fixture.root(), &asked));
                        assert_eq!(
                            text.contains("\n[dgpu]\n"),
                            !description.is_empty() && gpu.is_empty(),
                            "{text}"
                        );
                        assert_eq!(text.contains("\n[[cdrom]]\n"), !disc.is_empty(), "{text}");
                        planned(config, fixture.root());
                        for suggested in switched_on(&text) {
                            let read = config::parse_on(
                                &suggested,
                                Path::new("vm.toml"),
                                &config::Overrides::default(),
                                &|_| true,
                            );
                            planned(
                                read.unwrap_or_else(|error| panic!("{error}\n{suggested}")),
                                fixture.root(),
                            );
                        }
                    }
                }
            }
        }
    }
}

/// What is read of a file is what was decided.
#[test]
fn values_are_read_back() {
    let found = survey(WHOLE);
    let (_, config) = written(&args(&["--yes", "games.toml"]), &found);
    assert_eq!(config.name, "games");
    assert_eq!(config.machine.memory.to_string(), "8G");
    assert_eq!((config.cpu.sockets, config.cpu.cores, config.cpu.threads), (1, 3, 1));
    let [dgpu, igpu] = &config.passthrough[..] else { panic!("{:?}", config.passthrough) };
    assert!(dgpu.is_dgpu() && dgpu.manage);
    assert!(!igpu.is_dgpu());
    assert!(config.igpu.is_some());
    assert!(config.firmware.unwrap().code.ends_with("OVMF_CODE.4m.fd"));
}

/// What one change of the host changes in the file: lines that are there then, and were not before.
#[test]
fn the_host_decides() {
    let with = |description: &str, words: &[&str]| {
        written(&args(&[&["--yes"], words].concat()), &survey(description)).0
    };
    let whole = with(WHOLE, &[]);
    for (from, to, words, line) in [
        ("", "", &[][..], "host = \"0000:01:00.0\""),
        ("", "", &[], "type = \"i915-GVTg_V5_4\""),
        ("", "", &[], "ramfb = true"),
        ("", "", &[], "preset = \"optimus\""),
        ("", "", &[], "bus = \"nvme\""),
        ("", "", &[], "backend = \"user\""),
        ("", "", &[], "manage = true"),
        ("", "", &[], "# vbios = \"vbios_10de_1c8d.rom\""),
        ("17aa:39d0", "0000:0000", &[], "# subsystem = \"17aa:39d1\""),
        ("17aa:39d0", "0000:0000", &["--subsystem", "17aa:39d0"], "subsystem = \"17aa:39d0\""),
        (
            "10de:1c8d",
            "10de:1f99",
            &[],
            "# The GPU has its video BIOS itself, as all of its generation: `vbios` is not needed.",
        ),
        ("8086:591b", "8086:9a60", &[], "vnc = \"127.0.0.1:5900\""),
        ("snd_hda_intel", "vfio-pci", &[], "manage = true"),
        ("", "", &["--os", "linux"], "os = \"linux\""),
        ("", "", &["--os", "linux"], "output = \"stdio\""),
        ("", "", &["--memory", "6G", "--cores", "2"], "topology = { sockets = 1, cores = 2 }"),
        ("", "", &["--memory", "6G", "--cores", "2"], "memory = \"6G\""),
    ] {
        let text = with(&WHOLE.replace(from, to), words);
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        assert!(
            (from.is_empty() && words.is_empty()) == whole.lines().any(|other| other == line)
                || line.contains("5900")
                || line.starts_with("manage"),
            "{line}"
        );
    }
    // Bound already: nothing is to be managed.
    let bound = WHOLE.replace("nouveau", "vfio-pci").replace("snd_hda_intel", "vfio-pci");
    let text = with(&bound, &[]);
    assert!(text.contains("\nmanage = false\n") && !text.contains("sudo optimus-vmm run"), "{text}");
    // Too new for GVT-g: no such section, and a screen all the same.
    let new = with(&WHOLE.replace("8086:591b", "8086:9a60"), &[]);
    assert!(!new.contains("igpu") && new.contains("\n[display]\n"), "{new}");
    // Without passt the network is only suggested.
    let fixture = Fixture::new(WHOLE);
    fs::remove_file(fixture.root().join("usr/bin/passt")).unwrap();
    let asked = args(&["--yes"]);
    let text = written(&asked, &of_root(fixture.root(), &asked)).0;
    assert!(
        text.contains("\n# [[net]]\n") && !text.contains("\n[[net]]\n") && text.contains("pacman -S passt"),
        "{text}"
    );
}

/// What a host calls itself cannot become a line of the file.
#[test]
fn names_of_hosts_stay_comments() {
    let fixture = Fixture::new(WHOLE);
    fixture.file(
        "sys/class/dmi/id/product_name",
        "A`\n[kernel]\nimage = \"/etc/shadow\"\n#`\x1b[2J\u{2028}x = 1\n",
    );
    let asked = args(&["--yes"]);
    let (text, config) = written(&asked, &of_root(fixture.root(), &asked));
    assert!(config.kernel.is_none(), "{text}");
    assert!(!text.contains('\x1b') && text.contains("[kernel]"), "{text}");
}
