//! Disk images made for a test.

use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::lab::{self, call};
use crate::machine::{Disk, Format};

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
