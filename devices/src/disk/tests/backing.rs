//! Backing files: nothing about them is guessed, and no chain goes on for ever.

use super::*;

fn allow(options: &mut DiskOptions) {
    options.allow_backing = true;
}

/// An overlay in `dir` with this header, whether there is such a file or not.
fn overlay(dir: &Path, name: &str, backing: &str, format: Option<&str>) -> PathBuf {
    let path = create(dir, name, "qcow2", "", 1 << 20);
    rebase(&path, backing, format);
    path
}

fn rebase(path: &Path, backing: &str, format: Option<&str>) {
    let mut args = vec!["rebase", "-u", "-f", "qcow2", "-b", backing];
    args.extend(format.iter().flat_map(|format| ["-F", format]));
    args.push(text(path));
    // qemu-img does not let the format be left out any more: take the extension's type away.
    if format.is_none() {
        args.splice(args.len() - 1..args.len() - 1, ["-F", "raw"]);
    }
    qemu_img_ok(&args);
    if format.is_none() {
        let bytes = std::fs::read(path).unwrap();
        let at = bytes.windows(4).position(|bytes| bytes == [0xe2, 0x79, 0x2a, 0xca]).unwrap();
        edit(path, at as u64, &[0x12, 0x34, 0x56, 0x78]);
    }
}

#[test]
fn a_format_is_never_guessed() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret.img");
    std::fs::write(&secret, pattern(1, 1 << 20)).unwrap();
    // A raw base on which a guest has put a header that names a file of the host.
    let forged = overlay(dir.path(), "base.img", text(&secret), Some("raw"));
    let top = overlay(dir.path(), "top.qcow2", "base.img", None);
    let said = refused(&top, allow).to_string();
    assert!(said.contains("not its format") && said.contains("base.img"), "{said}");
    assert!(said.contains(&format!("qemu-img rebase -u -b base.img -F FORMAT {}", text(&top))), "{said}");
    // One level down.
    let middle = overlay(dir.path(), "middle.qcow2", text(&forged), None);
    let over = overlay(dir.path(), "over.qcow2", "middle.qcow2", Some("qcow2"));
    let said = refused(&over, allow).to_string();
    assert!(said.contains("not its format") && said.contains(text(&middle)), "{said}");
    // The command works.
    let plain = dir.path().join("plain.img");
    std::fs::write(&plain, pattern(2, 1 << 20)).unwrap();
    rebase(&top, "plain.img", None);
    let said = refused(&top, allow).to_string();
    let command = said.split('`').nth(1).unwrap().replace("FORMAT", "raw");
    qemu_img_ok(&command.split_whitespace().skip(1).collect::<Vec<_>>());
    assert_eq!(read(open_with(&top, allow).as_mut(), 0, 4096), pattern(2, 1 << 20)[..4096]);
}

#[test]
fn chains_end() {
    let dir = tempfile::tempdir().unwrap();
    let own = overlay(dir.path(), "own.qcow2", "own.qcow2", Some("qcow2"));
    assert!(refused(&own, allow).to_string().contains("is its own backing file"));
    let read_only = |options: &mut DiskOptions| {
        options.read_only = true;
        options.allow_backing = true;
    };
    assert!(refused(&own, read_only).to_string().contains("is its own backing file"));
    let a = overlay(dir.path(), "a.qcow2", "b.qcow2", Some("qcow2"));
    overlay(dir.path(), "b.qcow2", "link.qcow2", Some("qcow2"));
    std::os::unix::fs::symlink("a.qcow2", dir.path().join("link.qcow2")).unwrap();
    assert!(refused(&a, allow).to_string().contains("is its own backing file"), "under another name");
    assert!(refused(&a, read_only).to_string().contains("is its own backing file"));
    // Under a hard link, and one level down.
    std::fs::hard_link(&a, dir.path().join("hard.qcow2")).unwrap();
    rebase(&dir.path().join("b.qcow2"), "hard.qcow2", Some("qcow2"));
    let c = overlay(dir.path(), "c.qcow2", "b.qcow2", Some("qcow2"));
    assert!(refused(&c, read_only).to_string().contains("is its own backing file"));
}

#[test]
fn chains_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("0.img");
    std::fs::write(&base, pattern(3, 1 << 20)).unwrap();
    let mut below = "0.img".to_owned();
    let template = overlay(dir.path(), "template.qcow2", "0000.qcow2", Some("qcow2"));
    let bytes = std::fs::read(template).unwrap();
    let place = bytes.windows(10).position(|bytes| bytes == b"0000.qcow2").unwrap();
    let first = overlay(dir.path(), "0001.qcow2", &below, Some("raw"));
    for level in 2..=101 {
        below = format!("{:04}.qcow2", level - 1);
        let mut bytes = bytes.clone();
        bytes[place..place + 10].copy_from_slice(below.as_bytes());
        std::fs::write(dir.path().join(format!("{level:04}.qcow2")), bytes).unwrap();
    }
    drop(open_with(&first, allow));
    let hundred = dir.path().join("0100.qcow2");
    let mut disk = open_with(&hundred, allow);
    assert_eq!(read(disk.as_mut(), 0, 1 << 20), pattern(3, 1 << 20));
    write(disk.as_mut(), 512, &[1; 512]);
    drop(disk);
    let said = refused(&dir.path().join("0101.qcow2"), allow).to_string();
    assert!(said.contains("more than 100 backing files") && said.contains("qemu-img convert"), "{said}");
}

#[test]
fn only_files_are_backing_files() {
    let dir = tempfile::tempdir().unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("fifo"), rustix::fs::Mode::RWXU).unwrap();
    let cases = [
        ("fifo", "raw", "a pipe or socket"),
        ("/dev/zero", "raw", "a character device"),
        (".", "raw", "a directory"),
        ("none.qcow2", "qcow2", "does not exist"),
        ("json:{\"driver\":\"null-co\"}", "raw", "not the plain path of a file"),
        ("nbd://localhost/x", "raw", "not the plain path of a file"),
        ("file:base.img", "raw", "not the plain path of a file"),
        ("base.vmdk", "vmdk", "whose format is vmdk"),
        ("base.vmdk", "QCOW2", "whose format is QCOW2"),
        ("top.qcow2", "raw", "is its own backing file"),
    ];
    for (backing, format, word) in cases {
        let path = create(dir.path(), "top.qcow2", "qcow2", "", 1 << 20);
        // qemu-img does not write all of these names.
        forge(&path, backing, format);
        let said = refused(&path, allow).to_string();
        assert!(said.contains(word) && said.contains(text(&path)), "{backing}: {said}");
    }
}

/// Writes the name and format of a backing file into a header, as QEMU places them.
fn forge(path: &Path, backing: &str, format: &str) {
    let mut extension = 0xe279_2acau32.to_be_bytes().to_vec();
    extension.extend((format.len() as u32).to_be_bytes());
    extension.extend(format.as_bytes());
    extension.resize(extension.len().next_multiple_of(8) + 8, 0);
    edit(path, 112, &extension);
    edit(path, 4096, backing.as_bytes());
    edit(path, 8, &4096u64.to_be_bytes());
    edit(path, 16, &(backing.len() as u32).to_be_bytes());
}

#[test]
fn names_are_resolved_from_where_the_image_is() {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["images", "links"] {
        std::fs::create_dir(dir.path().join(folder)).unwrap();
    }
    std::fs::write(dir.path().join("base.img"), pattern(4, 1 << 20)).unwrap();
    let top = overlay(&dir.path().join("images"), "top.qcow2", "../base.img", Some("raw"));
    assert_eq!(read(open_with(&top, allow).as_mut(), 0, 512), pattern(4, 512));
    // Through a link, from where the link is, as QEMU does it.
    let link = dir.path().join("links/top.qcow2");
    std::os::unix::fs::symlink(&top, &link).unwrap();
    assert_eq!(read(open_with(&link, allow).as_mut(), 0, 512), pattern(4, 512));
    std::fs::remove_file(dir.path().join("base.img")).unwrap();
    std::fs::write(dir.path().join("base:1.img"), pattern(5, 1 << 20)).unwrap();
    forge(&top, "../base:1.img", "raw");
    assert_eq!(read(open_with(&top, allow).as_mut(), 0, 512), pattern(5, 512), "a colon in a file's name");
}

#[test]
fn sizes_need_not_match() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base.img");
    for len in [0, 1, 700, 4096, (1 << 20) - 1, 2 << 20] {
        let data = pattern(6, len);
        std::fs::write(&base, &data).unwrap();
        let top = overlay(dir.path(), "top.qcow2", "base.img", Some("raw"));
        let mut expected = data.clone();
        expected.resize(1 << 20, 0);
        let mut disk = open_with(&top, allow);
        assert!(read(disk.as_mut(), 0, 1 << 20) == expected, "{len}");
        write(disk.as_mut(), 512, &[8; 512]);
        expected[512..1024].fill(8);
        drop(disk);
        assert!(contents(&top, "qcow2") == expected, "{len}");
    }
}

#[test]
fn damage_behind_is_no_damage_of_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let base = create(dir.path(), "base.qcow2", "qcow2", "", 1 << 20);
    qemu_io(&base, &["write -P 1 0 64k"]);
    let l2 = u64_at(&base, u64_at(&base, 40)) & 0x00ff_ffff_ffff_fe00;
    edit(&base, l2, &(1u64 << 40).to_be_bytes());
    let top = overlay(dir.path(), "top.qcow2", "base.qcow2", Some("qcow2"));
    let mut disk = open_with(&top, allow);
    let error = try_read(disk.as_mut(), 0, 512).unwrap_err();
    assert!(error.to_string().contains("in a backing file"), "{error}");
    write(disk.as_mut(), 1 << 19, &[1; 512]);
    disk.flush().unwrap();
    drop(disk);
    assert_eq!(u64_at(&top, 72), 0);
}

#[test]
fn a_backing_file_that_is_written_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let base = create(dir.path(), "base.qcow2", "qcow2", "", 1 << 20);
    let top = overlay(dir.path(), "top.qcow2", "base.qcow2", Some("qcow2"));
    let writer = open_with(&base, |_| {});
    let mut options = DiskOptions::new(&top);
    allow(&mut options);
    let error = open_disk(&options).err().unwrap();
    assert!(error.is_in_use() && error.to_string().contains(text(&base)), "{error}");
    drop(writer);
}
