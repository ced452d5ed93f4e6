//! What is left of an image when its process dies.

use super::*;

const SIZE: u64 = 64 << 20;
/// Tells the process to kill which image to write.
const IMAGE: &str = "OPTIMUS_TEST_KILLED_IMAGE";

/// The image as it would be found after a kill at this moment: what reached the kernel, checked by qemu-img.
fn found(path: &Path, format: &str) -> Vec<u8> {
    let copy = path.with_extension("found");
    std::fs::copy(path, &copy).unwrap();
    if format == "qcow2" {
        check(&copy);
    }
    contents(&copy, format)
}

/// Leaked clusters are tolerable, everything else is damage.
fn check(path: &Path) {
    let output = qemu_img(&["check", text(path)]);
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 3)), "{code:?}: {}{}", lossy(&output.stdout), lossy(&output.stderr));
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_moment_leaves_a_consistent_image() {
    let dir = tempfile::tempdir().unwrap();
    for (name, format, options) in [
        ("a.img", "raw", ""),
        ("a.qcow2", "qcow2", ""),
        ("b.qcow2", "qcow2", "cluster_size=4096,refcount_bits=64"),
    ] {
        let path = create(dir.path(), name, format, options, SIZE);
        let mut disk =
            Disk::start(open_with(&path, |_| {}), feature::FLUSH | feature::WRITE_ZEROES | feature::DISCARD);
        let mut flushed = Vec::new();
        let mut written = Vec::new();
        for step in 0..24u64 {
            // Far apart, so that tables are needed for each.
            let sector = step * 37 % 24 * (SIZE / 512 / 24);
            let data = pattern(step, 16 << 10);
            disk.write(sector, &data);
            written.push((sector, data));
            if step % 3 == 2 {
                assert_eq!(disk.request(4, 0, &[], 0).0, 0);
                flushed.append(&mut written);
            }
            if step % 4 == 1 {
                let now = found(&path, format);
                for (sector, data) in &flushed {
                    let at = *sector as usize * 512;
                    assert!(
                        now[at..at + data.len()] == data[..],
                        "{name}: lost sector {sector} at step {step}"
                    );
                }
            }
        }
    }
}

/// Not a test: the process that [`flushed_data_survives_sigkill`] kills. It prints what it has flushed.
#[test]
#[ignore = "run by flushed_data_survives_sigkill as the process to kill"]
fn writer_to_kill() {
    let path = PathBuf::from(std::env::var_os(IMAGE).expect("started by hand"));
    let mut disk = Disk::start(open_with(&path, |_| {}), feature::FLUSH);
    for step in 0u64.. {
        for part in 0..3 {
            let place = (step * 3 + part) * 89 % 2000;
            disk.write(place * 64, &place_data(step, place));
        }
        assert_eq!(disk.request(4, 0, &[], 0).0, 0);
        println!("\nflushed {step}");
    }
}

fn place_data(step: u64, place: u64) -> Vec<u8> {
    pattern(step << 16 | place, 8192)
}

#[test]
fn flushed_data_survives_sigkill() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().unwrap();
    for (round, name) in
        ["a.qcow2", "b.qcow2", "c.img", "d.qcow2", "e.qcow2", "f.qcow2"].into_iter().enumerate()
    {
        let format = if name.ends_with("img") { "raw" } else { "qcow2" };
        let path = create(dir.path(), name, format, "", SIZE);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "virtio::blk::tests::kill::writer_to_kill"])
            .env(IMAGE, &path)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            let flushed = lines.filter_map(|line| line.strip_prefix("flushed ")?.parse::<u64>().ok());
            flushed.inspect(|_| begun.send(()).unwrap_or_default()).last()
        });
        // On a busy machine that takes a while.
        has_begun.recv().unwrap();
        std::thread::sleep(Duration::from_millis(250 + 37 * round as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        let last = reader.join().unwrap().expect("something was flushed");
        if format == "qcow2" {
            check(&path);
        }
        let now = contents(&path, format);
        // The last 600 writes are all to different places; those under way at the kill may or may not be there.
        for step in last.saturating_sub(200)..=last {
            for part in 0..3 {
                let place = (step * 3 + part) * 89 % 2000;
                let at = place as usize * 64 * 512;
                assert!(
                    now[at..at + 8192] == place_data(step, place)[..],
                    "{name}: lost step {step} of {last}"
                );
            }
        }
    }
}
