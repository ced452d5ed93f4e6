//! Tests of `vbios dump`, on a made-up sysfs and a made-up acpi_call.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use firmware::option_rom::testing::{AMPERE_STANDARD, ampere, muxless, with_gop};

use super::super::dump::{AcpiCall, Caller, Source, Sysfs, dump};
use super::super::{Answer, CommandError};
use crate::cli::DumpArgs;

const ADDRESS: &str = "0000:01:00.0";

/// Answers as acpi_call with a buffer for so many bytes does.
struct Method {
    rom: Vec<u8>,
    fits: usize,
    requests: Rc<RefCell<Vec<String>>>,
}

impl Caller for Method {
    fn call(&mut self, request: &str) -> io::Result<String> {
        self.requests.borrow_mut().push(request.to_owned());
        let mut words = request.split(' ');
        assert_eq!(words.next(), Some("\\_SB_.PCI0.PEG0.PEGP._ROM"));
        let mut number =
            || usize::from_str_radix(words.next().unwrap().strip_prefix("0x").unwrap(), 16).unwrap();
        let (offset, length) = (number(), number());
        assert!(length <= 0x1000 && offset / 0x1000 == (offset + length - 1) / 0x1000, "{request}");
        let bytes: Vec<u8> =
            (offset..offset + length).map(|at| self.rom.get(at).copied().unwrap_or(0)).collect();
        let shown: Vec<_> = bytes.iter().take(self.fits).map(|byte| format!("{byte:#04x}")).collect();
        let end = if bytes.len() > self.fits { "," } else { "}" };
        Ok(format!("{{{}{end}\0", shown.join(", ")))
    }
}

struct Says(&'static str);

impl Caller for Says {
    fn call(&mut self, _: &str) -> io::Result<String> {
        Ok(self.0.into())
    }
}

struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self { dir: tempfile::tempdir().unwrap() };
        host.put("vendor", b"0x10de\n");
        host.put("device", b"0x1c8d\n");
        host.put("power/control", b"auto\n");
        host.put("power/runtime_status", b"active\n");
        host.put("firmware_node/path", b"\\_SB_.PCI0.PEG0.PEGP\n");
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("devices").join(ADDRESS).join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn output(&self) -> PathBuf {
        self.dir.path().join("gpu.rom")
    }

    fn dump(&self, sources: Vec<Box<dyn Source>>) -> Result<Answer, CommandError> {
        let args = DumpArgs { host: ADDRESS.parse().unwrap(), output: Some(self.output()), force: false };
        dump(&args, &self.dir.path().join("devices"), sources)
    }

    fn acpi(&self, caller: impl Caller + 'static) -> Result<Answer, CommandError> {
        self.dump(vec![Box::new(Sysfs), Box::new(AcpiCall::with(Some(Box::new(caller))))])
    }
}

/// A source that looks at how the GPU is kept while it is read.
struct Watch(PathBuf);

impl Source for Watch {
    fn name(&self) -> &'static str {
        "watch"
    }
    fn read(&mut self, _: &super::super::dump::Gpu) -> Result<Vec<u8>, String> {
        assert_eq!(fs::read_to_string(&self.0).unwrap(), "on");
        Ok(with_gop(0x10de, 0x1c8d))
    }
}

#[test]
fn the_gpu_is_awake_while_it_is_read_and_as_before_afterwards() {
    let host = Host::new();
    let control = host.path("power/control");
    let answer = host.dump(vec![Box::new(Watch(control.clone()))]).unwrap();
    assert_eq!(answer.status, 0);
    assert_eq!(fs::read_to_string(control).unwrap(), "auto");
    assert_eq!(fs::read(host.output()).unwrap(), with_gop(0x10de, 0x1c8d));
    assert_eq!(answer.text, format!("watch: read\n{}: 14336 bytes\n", host.output().display()));
}

#[test]
fn the_rom_comes_from_acpi_when_there_is_no_rom_bar() {
    let rom = muxless(0x10de, 0x1c8d);
    for fits in [1, 42, 681, 0x1000, 0x2000] {
        let host = Host::new();
        let requests = Rc::default();
        let method = Method { rom: rom.clone(), fits, requests: Rc::clone(&requests) };
        let answer = host.acpi(method).unwrap();
        assert_eq!(fs::read(host.output()).unwrap(), rom, "{fits}");
        assert!(answer.text.starts_with("ROM BAR (sysfs): the GPU has no ROM BAR"), "{}", answer.text);
        assert!(answer.text.contains("\nACPI method _ROM: read\n"), "{}", answer.text);
        // No more is read than the chain has.
        let pages = rom.len().div_ceil(0x1000);
        let calls = 0x1000usize.div_ceil(fits.min(0x1000));
        assert_eq!(requests.borrow().len(), pages * calls, "{fits}");
    }
}

#[test]
fn a_rom_without_private_images_is_the_last_choice() {
    let host = Host::new();
    let whole = ampere(0x10de, 0x1c8d);
    let standard = whole[..AMPERE_STANDARD].to_vec();
    struct Reads(&'static str, Vec<u8>);
    impl Source for Reads {
        fn name(&self) -> &'static str {
            self.0
        }
        fn read(&mut self, _: &super::super::dump::Gpu) -> Result<Vec<u8>, String> {
            Ok(self.1.clone())
        }
    }
    let bar = || Box::new(Reads("ROM BAR", standard.clone()));
    let answer = host.dump(vec![bar(), Box::new(Reads("nothing", vec![0; 512])), bar()]).unwrap();
    assert_eq!(answer.status, 0);
    assert_eq!(fs::read(host.output()).unwrap(), standard);
    assert!(answer.text.contains("\nROM BAR: read\n"), "{}", answer.text);
    assert!(answer.text.contains("  warning: NVIDIA's private images are missing"), "{}", answer.text);
    assert!(
        answer.text.contains("ROM BAR: NVIDIA's private images are missing in what it gives\n"),
        "{}",
        answer.text
    );
    assert!(!answer.text.contains("again"), "{}", answer.text);

    fs::remove_file(host.output()).unwrap();
    let answer = host.dump(vec![bar(), Box::new(Reads("EEPROM", whole.clone()))]).unwrap();
    assert_eq!(fs::read(host.output()).unwrap(), whole);
    assert!(
        answer
            .text
            .starts_with("ROM BAR: NVIDIA's private images are missing in what it gives\nEEPROM: read\n"),
        "{}",
        answer.text
    );
}

#[test]
fn acpi_is_asked_for_private_images_too() {
    // Whether the standard images end within what has been read or with it, and with filler missing behind.
    for end in [usize::MAX, AMPERE_STANDARD] {
        let rom: Vec<u8> = ampere(0x10de, 0x1c8d).into_iter().take(end).collect();
        let host = Host::new();
        let method = Method { rom: rom.clone(), fits: 4096, requests: Rc::default() };
        assert_eq!(host.acpi(method).unwrap().status, 0);
        assert_eq!(fs::read(host.output()).unwrap(), rom, "{end:#x}");
    }
}

#[test]
fn what_acpi_answers_in_place_of_a_rom_is_told() {
    for (says, told) in [
        ("Error: AE_NOT_FOUND\0", "was answered with \"Error: AE_NOT_FOUND\""),
        ("not called\0", "not called"),
        ("{}\0", "empty buffer"),
        ("{0x00, 0xzz}", "was answered with"),
        ("0x5", "was answered with \"0x5\""),
        ("{0x00, 0x00, 0x00}", "no PCI option ROM"),
    ] {
        let host = Host::new();
        let failure = host.acpi(Says(says)).unwrap_err();
        assert_eq!(failure.status(), 3);
        let message = failure.to_string();
        assert!(message.contains(told), "{message}");
        assert!(
            message.starts_with("the video BIOS of 0000:01:00.0 (10de:1c8d) cannot be read:\n"),
            "{message}"
        );
        assert!(message.contains("optimus-vmm vbios find"), "{message}");
        assert!(!host.output().exists());
    }
}

#[test]
fn another_gpus_rom_is_not_written() {
    let host = Host::new();
    let method = Method { rom: muxless(0x10de, 0x1c91), fits: 4096, requests: Rc::default() };
    let message = host.acpi(method).unwrap_err().to_string();
    assert!(message.contains("are 10de:1c91, expected 10de:1c8d"), "{message}");
}

#[test]
fn a_rom_that_claims_too_much_ends_the_reading() {
    let mut rom = with_gop(0x10de, 0x1c8d);
    rom[0x50..0x52].copy_from_slice(&0xffffu16.to_le_bytes());
    let host = Host::new();
    let message = host.acpi(Method { rom, fits: 4096, requests: Rc::default() }).unwrap_err().to_string();
    assert!(message.contains("the ROM claims 33553920 bytes"), "{message}");
}

#[test]
fn each_source_says_why_it_failed() {
    let host = Host::new();
    // A plain file is no ROM: what was written to switch it is read back.
    host.put("rom", b"");
    fs::remove_dir_all(host.path("firmware_node")).unwrap();
    let message = host.acpi(Says("")).unwrap_err().to_string();
    assert!(message.contains("\nROM BAR (sysfs): no PCI option ROM"), "{message}");
    assert!(
        message.contains("\nACPI method _ROM: the GPU has no node in the host's ACPI tables"),
        "{message}"
    );
    assert_eq!(fs::read(host.path("rom")).unwrap(), b"0");

    host.put("firmware_node/path", b"\\_SB_.PCI0; rm");
    let message = host.acpi(Says("")).unwrap_err().to_string();
    assert!(message.contains("makes no sense"), "{message}");

    host.put("firmware_node/path", b"\\_SB_.PCI0");
    let message = host.dump(vec![Box::new(AcpiCall::with(None))]).unwrap_err().to_string();
    assert!(message.contains("modprobe acpi_call"), "{message}");
}

#[test]
fn a_function_that_does_not_exist_is_refused() {
    let host = Host::new();
    fs::remove_file(host.path("vendor")).unwrap();
    let failure = host.acpi(Says("")).unwrap_err();
    assert_eq!(failure.status(), 3);
    assert!(failure.to_string().contains("lspci -D -d ::0302"), "{failure}");
}
