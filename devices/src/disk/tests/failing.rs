//! Files that fail: flushes that are lost, and files that must not grow.

use std::cell::Cell;
use std::fs::File;
use std::io;

use super::durable::Durable;
use super::engine::is_final;
use super::qcow2::{Access, Header, ImageFile, Qcow2Image};
use super::raw::{Mode, RawFile};
use super::*;

thread_local! {
    /// Flushes until one fails, once.
    static FAIL_IN: Cell<Option<u32>> = const { Cell::new(None) };
}

fn sync(file: &File) -> io::Result<()> {
    match FAIL_IN.get() {
        Some(0) => {
            FAIL_IN.set(None);
            Err(io::Error::from_raw_os_error(libc::EIO))
        }
        Some(left) => {
            FAIL_IN.set(Some(left - 1));
            file.sync_data()
        }
        None => file.sync_data(),
    }
}

fn raw(path: &Path) -> Box<dyn BlockBackend> {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut raw = RawFile::new(file, 1 << 20, false, Mode::Cached, true);
    raw.durable = Durable::with(sync);
    Box::new(raw)
}

fn qcow2(path: &Path) -> Box<dyn BlockBackend> {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let header = Header::read(&file).unwrap();
    let mut file = ImageFile::new(file, None).unwrap();
    file.durable = Durable::with(sync);
    let access = Access { read_only: false, discard: true };
    Box::new(Qcow2Image::open(file, header, access, None, text(path)).unwrap())
}

#[test]
fn after_one_failed_flush_none_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    for format in ["raw", "qcow2"] {
        let path = create(dir.path(), format, format, "", 1 << 20);
        let mut disk = if format == "raw" { raw(&path) } else { qcow2(&path) };
        write(disk.as_mut(), 0, &[1; 512]);
        disk.flush().unwrap();
        FAIL_IN.set(Some(0));
        let error = disk.flush().unwrap_err();
        assert_eq!((error.raw_os_error(), is_final(&error)), (Some(libc::EIO), false));
        assert_eq!(FAIL_IN.get(), None, "the file would let the next one pass");
        for _ in 0..3 {
            write(disk.as_mut(), 0, &[2; 512]);
            let error = disk.flush().unwrap_err();
            assert!(is_final(&error));
            let error = error.to_string();
            assert!(
                error.contains("an earlier flush failed") && error.contains("Input/output error"),
                "{error}"
            );
        }
        assert_eq!(read(disk.as_mut(), 0, 512), [2; 512]);
    }
}

#[test]
fn a_flush_that_fails_at_any_stage_leaves_a_consistent_image() {
    let dir = tempfile::tempdir().unwrap();
    for stage in 0..6 {
        let path = create(dir.path(), "a.qcow2", "qcow2", "cluster_size=512,refcount_bits=64", 4 << 20);
        let mut disk = qcow2(&path);
        write(disk.as_mut(), 0, &pattern(1, 100 << 10));
        disk.flush().unwrap();
        FAIL_IN.set(Some(stage));
        let _ = try_write(disk.as_mut(), 1 << 20, &pattern(2, 2 << 20));
        let _ = disk.discard(0, 50 << 10);
        let _ = disk.flush();
        drop(disk);
        FAIL_IN.set(None);
        let code = qemu_img(&["check", "-q", text(&path)]).status.code();
        assert!(matches!(code, Some(0 | 3)), "stage {stage}: {code:?}");
        assert!(
            contents(&path, "qcow2")[50 << 10..100 << 10] == pattern(1, 100 << 10)[50 << 10..],
            "{stage}"
        );
        drop(open_with(&path, |_| {}));
    }
}

/// A cluster that reads as zeroes keeps what it held before. After a loss of power that must not show.
#[test]
fn data_in_a_zero_cluster_is_durable_before_the_cluster_shows() {
    let dir = tempfile::tempdir().unwrap();
    let path = create(dir.path(), "a.qcow2", "qcow2", "", 1 << 20);
    let mut disk = qcow2(&path);
    write(disk.as_mut(), 0, &[1; 1 << 16]);
    disk.flush().unwrap();
    disk.write_zeroes(0, 1 << 16, false).unwrap();
    disk.flush().unwrap();
    write(disk.as_mut(), 4096, &[2; 4096]);
    FAIL_IN.set(Some(100));
    disk.flush().unwrap();
    assert_eq!(FAIL_IN.take(), Some(98), "once before the L2 entry is written, and once after it");
    assert_eq!(read(disk.as_mut(), 0, 4096), [0; 4096]);
}

/// Which image the process with a limit writes.
const IMAGE: &str = "OPTIMUS_TEST_LIMITED_IMAGE";

/// Not a test: what [`a_file_size_limit_is_an_io_error`] runs with a limit of 512 KiB.
#[test]
#[ignore = "run by a_file_size_limit_is_an_io_error with a limit"]
fn writer_with_a_limit() {
    let path = PathBuf::from(std::env::var_os(IMAGE).expect("started by hand"));
    let mut disk = open_with(&path, |_| {});
    let mut failed = 0;
    for at in 0..1024u64 {
        match try_write(disk.as_mut(), at << 12, &[at as u8 | 1; 4096]) {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EFBIG), "{error}");
                failed += 1;
            }
        }
    }
    assert!(failed > 100, "{failed}");
    // What is there can be written and read on.
    write(disk.as_mut(), 0, &[0xff; 4096]);
    disk.flush().unwrap();
    assert_eq!(read(disk.as_mut(), 0, 4096), [0xff; 4096]);
}

#[test]
fn a_file_size_limit_is_an_io_error() {
    let dir = tempfile::tempdir().unwrap();
    for options in ["", "cluster_size=4k", "cluster_size=512"] {
        let path = create(dir.path(), "a.qcow2", "qcow2", options, 4 << 20);
        // The binary ignores the signal for itself.
        let test = "disk::tests::failing::writer_with_a_limit";
        let program = std::env::current_exe().unwrap();
        let script = "trap '' XFSZ; ulimit -f 512; exec \"$0\" --ignored --exact \"$1\"";
        let output = Command::new("bash")
            .args(["-c", script, text(&program), test])
            .env(IMAGE, &path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{options}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
        let code = qemu_img(&["check", "-q", text(&path)]).status.code();
        assert!(matches!(code, Some(0 | 3)), "{options}: {code:?}");
    }
}
