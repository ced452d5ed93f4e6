//! Disk images made for a test.

use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::lab::{self, call};
use crate::machine::{Disk, Format, Kernel};

/// An empty disk of so many MiB.
pub fn empty(path: &Path, format: Format, mib: u64, serial: &str) -> Outcome<Disk> {
    let size = format!("{mib}M");
    call("qemu-img", &["create", "-q", "-f", format.name(), &path.display().to_string(), &size])?;
    Ok(Disk::new(path, format, serial))
}

/// A copy of the Debian disk, to be written.
pub fn debian(path: &Path, format: Format) -> Outcome<Disk> {
    let source = lab::guest("debian.qcow2")?;
    match format {
        Format::Qcow2 => {
            std::fs::copy(source, path)?;
        }
        Format::Raw => {
            let [from, to] = [&source, path].map(|path| path.display().to_string());
            call("qemu-img", &["convert", "-W", "-f", "qcow2", "-O", "raw", &from, &to])?;
        }
    }
    Ok(Disk::new(path, format, "debian"))
}

/// The content of an image as plain bytes, whatever its format: what qemu-img reads in it.
pub fn content(disk: &Disk) -> Outcome<PathBuf> {
    let plain = disk.path.with_extension("plain");
    let [from, to] = [&disk.path, &plain].map(|path| path.display().to_string());
    call("qemu-img", &["convert", "-f", disk.format.name(), "-O", "raw", &from, &to])?;
    Ok(plain)
}

/// Requires that an image is in order; qcow2 has much that can be wrong.
///
/// Leaked clusters (status 3 of qemu-img) are all that a killed process may leave.
pub fn check(disk: &Disk) -> Outcome {
    if disk.format == Format::Qcow2 {
        let path = disk.path.display().to_string();
        let script = "qemu-img check -f qcow2 \"$0\" || [ $? = 3 ]";
        call("sh", &["-c", script, &path])?;
    }
    Ok(())
}

/// A disc with these files, from which firmware boots this program if there is one (El Torito, for EFI).
pub fn disc(path: &Path, files: &[(&str, Vec<u8>)], program: Option<&[u8]>) -> Outcome<PathBuf> {
    let tree = path.with_extension("tree");
    std::fs::create_dir_all(&tree)?;
    for (name, content) in files {
        std::fs::write(tree.join(name), content)?;
    }
    let mut words: Vec<String> = ["-quiet", "-R", "-o"].map(String::from).into();
    words.push(path.display().to_string());
    if let Some(program) = program {
        let partition = bootable(&path.with_extension("esp"), program)?;
        std::fs::rename(partition.path, tree.join("esp.img"))?;
        words.extend(["-e", "esp.img", "-no-emul-boot"].map(String::from));
    }
    words.push(tree.display().to_string());
    call("genisoimage", &words)?;
    Ok(path.into())
}

/// A disc as distributions make theirs today, by xorriso: what firmware starts is in a partition behind the files (El Torito, and GPT for
/// those who write it to a stick), and is Debian's GRUB for discs. That starts the small Linux guest, told what to do, from the disc.
pub fn installer(path: &Path, words: &str) -> Outcome<PathBuf> {
    let tree = path.with_extension("tree");
    for directory in [".disk", "boot/grub"] {
        std::fs::create_dir_all(tree.join(directory))?;
    }
    // The file by which this GRUB knows its disc.
    std::fs::write(tree.join(".disk/info"), "optimus-vmm's small guest\n")?;
    let kernel = Kernel::small(words)?;
    std::fs::copy(&kernel.image, tree.join("vmlinuz"))?;
    if let Some(initrd) = &kernel.initrd {
        std::fs::copy(initrd, tree.join("initrd.img"))?;
    }
    let entry = format!("echo GRUB-FROM-DISC\nlinux /vmlinuz {}\ninitrd /initrd.img\nboot\n", kernel.cmdline);
    std::fs::write(tree.join("boot/grub/grub.cfg"), entry)?;
    let partition = bootable(&path.with_extension("esp"), &std::fs::read(lab::guest("grubcd.efi")?)?)?;
    let [disc, partition, tree] = [path, &partition.path, &tree].map(|path| path.display().to_string());
    let made_of =
        ["-as", "mkisofs", "-quiet", "-R", "-o", &disc, "-append_partition", "2", "0xef", &partition];
    let started =
        ["-appended_part_as_gpt", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot", &tree];
    call("xorriso", &[&made_of[..], &started].concat())?;
    Ok(path.into())
}

/// A disk of 64 MiB in sectors of 512 or 4096 bytes, which is a FAT file system with this program to boot.
pub fn bootable_in_sectors(path: &Path, sector: u32, program: &[u8]) -> Outcome<Disk> {
    let application = path.with_extension("efi");
    std::fs::write(&application, program)?;
    let image = path.display().to_string();
    std::fs::File::create(path)?.set_len(64 << 20)?;
    call("mkfs.vfat", &["-S", &sector.to_string(), &image])?;
    call("mmd", &["-i", &image, "::/EFI", "::/EFI/BOOT"])?;
    call("mcopy", &["-i", &image, &application.display().to_string(), "::/EFI/BOOT/BOOTX64.EFI"])?;
    Ok(Disk::new(path, Format::Raw, "esp"))
}

/// A disk whose only content is an EFI system partition's file system, with this program to boot.
pub fn bootable(path: &Path, program: &[u8]) -> Outcome<Disk> {
    let application = path.with_extension("efi");
    std::fs::write(&application, program)?;
    let image = path.display().to_string();
    let _ = std::fs::remove_file(path);
    call("mformat", &["-C", "-i", &image, "-T", "16384", "-h", "16", "-s", "63", "::"])?;
    call("mmd", &["-i", &image, "::/EFI", "::/EFI/BOOT"])?;
    call("mcopy", &["-i", &image, &application.display().to_string(), "::/EFI/BOOT/BOOTX64.EFI"])?;
    Ok(Disk::new(path, Format::Raw, "esp").bootable())
}
