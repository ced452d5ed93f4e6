//! ROMs of devices that are passed through, on a made-up device.

use std::fs;
use std::io;

use devices::memory::HostMemory;
use devices::vfio::host::{HostDevice, IrqInfo, RegionInfo, ResetDone, region};
use devices::vfio::{Identity, Rom};
use firmware::option_rom::testing::{AMPERE_STANDARD, ImageBuilder, ampere, with_gop};
use vmm_sys_util::eventfd::EventFd;
use vocabulary::LentDevice;

use super::{RomFileError, Roms, load};
use crate::config::{self, RomSource};
use crate::finding::{Findings, Section};
use crate::host::HostFacts;
use crate::outcome::{Failure, status};
use crate::plan::{PlannedPassthrough, plan};

/// A device of these IDs and this base class, with a ROM BAR that holds `rom`.
struct Device {
    ids: (u16, u16),
    base_class: u8,
    rom: Vec<u8>,
}

impl HostDevice for Device {
    fn name(&self) -> &str {
        "0000:00:02.0"
    }
    fn region(&self, index: u32) -> Option<RegionInfo> {
        (index == region::ROM).then(|| RegionInfo { size: self.rom.len() as u64, areas: Vec::new() })
    }
    fn read(&self, index: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let mut config = [0; 64];
        config[..2].copy_from_slice(&self.ids.0.to_le_bytes());
        config[2..4].copy_from_slice(&self.ids.1.to_le_bytes());
        config[0x0b] = self.base_class;
        let bytes = if index == region::CONFIG { &config[..] } else { &self.rom };
        data.copy_from_slice(&bytes[offset as usize..offset as usize + data.len()]);
        Ok(())
    }
    fn write(&self, _: u32, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn map(&self, _: u32, _: u64, _: u64) -> io::Result<HostMemory> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn irq(&self, _: u32) -> IrqInfo {
        IrqInfo::default()
    }
    fn set_triggers(&self, _: u32, _: u32, _: &[Option<&EventFd>]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn disable_irq(&self, _: u32) -> io::Result<()> {
        Ok(())
    }
    fn set_intx_unmask(&self, _: &EventFd) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn mask_intx(&self) -> io::Result<()> {
        Ok(())
    }
    fn unmask_intx(&self) -> io::Result<()> {
        Ok(())
    }
    fn wait_for_dma(&self) -> bool {
        false
    }
    fn announce_reset(&self) {}
    fn reset(&self) -> io::Result<ResetDone> {
        Ok(ResetDone::Nothing)
    }
}

fn planned(section: Section, rom: RomSource, identity: Identity) -> PlannedPassthrough {
    PlannedPassthrough {
        section,
        host: LentDevice::Function("0000:00:02.0".parse().unwrap()),
        create: None,
        parent: None,
        identity,
        rom,
        boot_index: None,
        manage: false,
        unasked: false,
        facts: None,
        mdev: None,
    }
}

/// Reads the file, if it is to be one, and gives what the guest sees.
fn of(device: &PlannedPassthrough, host: &dyn HostDevice) -> Result<Rom, RomFileError> {
    let mut roms = Roms::default();
    if let RomSource::File(path) = &device.rom {
        roms.0.insert(0, load(path, device)?);
    }
    roms.of(0, device, host)
}

/// What a file is for a device of this section.
fn file(section: Section, device: &Device, bytes: &[u8]) -> Result<Rom, RomFileError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gpu.rom");
    fs::write(&path, bytes).unwrap();
    of(&planned(section, RomSource::File(path), Identity::default()), device)
}

fn image(rom: Rom) -> Vec<u8> {
    match rom {
        Rom::Image(image) => image.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn efi_drivers_for_virtual_gpus_name_other_devices_and_no_class() {
    let gpu = Device { ids: (0x8086, 0x5917), base_class: 3, rom: Vec::new() };
    let driver = |vendor, device| ImageBuilder::efi(vendor, device, 8).class(0).last().build();
    // That of guides for GVT-g, builds for assigned GPUs, and one that EfiRom was told the class of.
    let classified = ImageBuilder::efi(0x8086, 0xffff, 8).class(0x03_0000).last().build();
    for rom in [driver(0x1f96, 0x0778), driver(0x8086, 0xffff), driver(0x8086, 0x5917), classified] {
        assert_eq!(image(file(Section::Igpu, &gpu, &rom).unwrap()), rom);
        let padded = [rom.clone(), vec![0xff; 512]].concat();
        assert_eq!(image(file(Section::Igpu, &gpu, &padded).unwrap()), rom);
    }
    // What is damaged, has BIOS code, or is for something else than displays is refused, and all of it elsewhere.
    let foreign = with_gop(0x1f96, 0x0778);
    let network = ImageBuilder::efi(0x8086, 0xffff, 8).class(0x02_0000).last().build();
    let cut = &driver(0x1f96, 0x0778)[..0x800];
    for rom in [&foreign, &network, cut] {
        file(Section::Igpu, &gpu, rom).unwrap_err();
    }
    for (section, said) in
        [(Section::Dgpu, "it is for another device"), (Section::Vfio(0), "`rom` in [igpu]")]
    {
        let error = file(section, &gpu, &driver(0x1f96, 0x0778)).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    // One that is for the GPU needs no warning.
    assert_eq!(
        image(file(Section::Igpu, &gpu, &with_gop(0x8086, 0x5917)).unwrap()),
        with_gop(0x8086, 0x5917)
    );
}

#[test]
fn a_rom_bar_without_the_private_images_is_used() {
    // VFIO fills up what the kernel does not take for the ROM.
    let mut bar = ampere(0x10de, 0x25a2)[..AMPERE_STANDARD].to_vec();
    bar.resize(0x8000, 0xff);
    let gpu = Device { ids: (0x10de, 0x25a2), base_class: 3, rom: bar.clone() };
    let shown = |identity| of(&planned(Section::Dgpu, RomSource::Host, identity), &gpu).unwrap();
    assert_eq!(image(shown(Identity::default())), bar);
    let other = image(shown(Identity { device: Some(0x25a0), ..Identity::default() }));
    assert_eq!(other[0x46..0x48], 0x25a0u16.to_le_bytes());

    let broken = Device { rom: [&bar[..0x3000], &[0xff; 0x1000]].concat(), ..gpu };
    let rom = of(&planned(Section::Dgpu, RomSource::Host, Identity::default()), &broken).unwrap();
    assert!(matches!(rom, Rom::Off));
}

/// Nobody knows the IDs of a virtual GPU that is yet to be made, nor waits for its end in a FIFO.
#[test]
fn a_wrong_file_is_found_before_any_device_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let named = |name: &str| folder.path().join(name);
    let good = with_gop(0x8086, 0x5917);
    fs::write(named("cut"), &good[..0x800]).unwrap();
    fs::write(named("empty"), []).unwrap();
    let network = ImageBuilder::efi(0x8086, 0xffff, 8).class(0x02_0000).last().build();
    fs::write(named("network"), network).unwrap();
    fs::write(named("good"), &good).unwrap();
    let made = std::process::Command::new("mkfifo").arg(named("fifo")).status().unwrap();
    assert!(made.success());
    let load = |rom: &str| {
        let text = format!(
            "[firmware]\ncode = \"c.fd\"\n[igpu]\nmdev = \"af5972fb-5530-41a7-0000-fd836204445b\"\n{rom}\
             [[vfio]]\nhost = \"03:00.0\"\nrom = \"{}\"\n",
            named("good").display()
        );
        let config = config::parse(&text, &named("vm.toml")).unwrap();
        let mut problems = Vec::new();
        Roms::load(&plan(config, &HostFacts::default()).unwrap(), &mut problems);
        problems
    };
    assert_eq!(load("rom = \"./good\"\n"), []);
    for (name, said) in [
        ("none", "No such file"),
        (".", "not a regular file"),
        ("fifo", "not a regular file"),
        ("empty", "is no ROM for mdev af5972fb-5530-41a7-0000-fd836204445b: the file is empty"),
        ("cut", "is truncated"),
        ("network", "the class code"),
    ] {
        let problems = load(&format!("rom = \"./{name}\"\n"));
        let [problem] = &problems[..] else { panic!("{name}: {problems:?}") };
        assert!(problem.message().contains(said), "{problem}");
        assert_eq!(problem.location().unwrap().line, 5, "{problem}");
        assert_eq!(Failure::from(Findings::from(problem.clone())).status(), status::CONFIG);
    }
}
