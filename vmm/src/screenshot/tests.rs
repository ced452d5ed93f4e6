//! Pictures are read back with a decoder.

use std::io::Cursor as Reader;

use proptest::prelude::*;

use super::wall::Wall;
use super::*;

/// Width, height and pixels of a PNG file.
fn decode(file: &[u8]) -> Frame {
    let mut reader = png::Decoder::new(Reader::new(file)).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
    let pixels = bytes.chunks(3).map(|rgb| u32::from_be_bytes([0, rgb[0], rgb[1], rgb[2]])).collect();
    Frame { width: info.width, height: info.height, pixels }
}

fn frame(width: u32, height: u32, color: u32) -> Frame {
    Frame { width, height, pixels: vec![color; (width * height) as usize] }
}

fn pointer(x: i32, y: i32) -> Cursor {
    let pixels = vec![0xffff_0000, 0x8000_ff00, 0x0012_3456, 0xff00_00ff];
    Cursor { x, y, hot_x: 1, hot_y: 0, width: 2, height: 2, pixels }
}

#[test]
fn the_pointer_is_drawn_around_its_hot_spot() {
    let seen = decode(&encode(&frame(4, 2, 0x20_2020), Some(&pointer(2, 0))).unwrap());
    assert_eq!(
        seen.pixels,
        [0x20_2020, 0xff_0000, 0x10_9010, 0x20_2020, 0x20_2020, 0x20_2020, 0x00_00ff, 0x20_2020]
    );
}

#[test]
fn a_pointer_may_lie_outside() {
    for (x, y, last) in [(-9, 0, 0), (i32::MIN, i32::MIN, 0), (i32::MAX, 1, 0), (1, -1, 0x00_00ff), (2, 5, 0)]
    {
        let seen = decode(&encode(&frame(2, 1, 0), Some(&pointer(x, y))).unwrap());
        assert_eq!(seen.pixels, [0, last], "{x} {y}");
    }
}

#[test]
fn a_frame_that_is_not_what_it_says_is_refused() {
    assert!(encode(&Frame { width: 2, height: 2, pixels: vec![0; 3] }, None).is_err());
    assert!(encode(&Frame::default(), None).is_err());
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        width in 1_u32..40,
        height in 1_u32..40,
        seed in prop::collection::vec(0_u32..1 << 24, 1..64),
    ) {
        let pixels = seed.iter().copied().cycle().take((width * height) as usize).collect();
        let frame = Frame { width, height, pixels };
        prop_assert_eq!(decode(&encode(&frame, None).unwrap()), frame);
    }

    #[test]
    fn no_pointer_is_too_odd(
        x in any::<i32>(), y in any::<i32>(), hot_x in any::<u32>(), hot_y in any::<u32>(),
        width in any::<u32>(), height in any::<u32>(), pixels in prop::collection::vec(any::<u32>(), 0..99),
    ) {
        let cursor = Cursor { x, y, hot_x, hot_y, width, height, pixels };
        prop_assert!(encode(&frame(5, 3, 0), Some(&cursor)).is_ok());
    }
}

#[test]
fn a_file_is_replaced_as_a_whole_or_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    fs::write(&path, "old").unwrap();
    let blank = save(&Wall::with(Frame::default()), &path, Format::Png, &[]).unwrap_err().to_string();
    assert!(blank.ends_with("blank: no driver yet"), "{blank}");
    assert_eq!(fs::read(&path).unwrap(), b"old");

    let size = save(&Wall::with(frame(3, 2, 0x12_3456)), &path, Format::Png, &[]).unwrap();
    assert_eq!(size, Size { width: 3, height: 2 });
    assert_eq!(decode(&fs::read(&path).unwrap()), frame(3, 2, 0x12_3456));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_is_no_file_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let error = save(&Wall::with(frame(1, 1, 0)), folder.path(), Format::Png, &[]).unwrap_err();
    assert!(error.to_string().contains("no file"), "{error}");
    let error =
        save(&Wall::with(frame(1, 1, 0)), &folder.path().join("none/a.png"), Format::Png, &[]).unwrap_err();
    assert!(error.to_string().contains("none/a.png"), "{error}");
}

/// A client of the control socket names the machine's own disk.
#[test]
fn a_file_that_is_in_use_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let [disk, link] = ["disk.img", "link.png"].map(|name| folder.path().join(name));
    fs::write(&disk, "data").unwrap();
    fs::hard_link(&disk, &link).unwrap();
    let open = fs::File::open(&disk).unwrap();
    for path in [&disk, &link] {
        let error = check_place(path, &[]).unwrap_err().to_string();
        assert!(error.contains("the machine itself uses this file"), "{error}");
    }
    drop(open);
    check_place(&link, &[]).unwrap();
}

/// A client of the control socket names a file that was read when the machine started.
#[test]
fn a_file_of_the_machine_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let [rom, link, symlink, picture] =
        ["gpu.rom", "a.png", "b.png", "c.png"].map(|name| folder.path().join(name));
    fs::write(&rom, "data").unwrap();
    fs::hard_link(&rom, &link).unwrap();
    std::os::unix::fs::symlink(&rom, &symlink).unwrap();
    let files =
        [("the ROM of [dgpu]".into(), rom.clone()), ("the kernel".into(), folder.path().join("gone"))];
    let wall = Wall::with(frame(1, 1, 0));
    for path in [&rom, &link, &symlink] {
        let error = save(&wall, path, Format::Png, &files).unwrap_err().to_string();
        assert!(error.contains("this is the ROM of [dgpu], which the machine is made from"), "{error}");
    }
    assert_eq!(fs::read(&rom).unwrap(), b"data");
    save(&wall, &picture, Format::Png, &files).unwrap();
    save(&wall, &picture, Format::Png, &files).unwrap();
}
