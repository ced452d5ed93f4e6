//! Whole files or none, whenever the maker dies.

use std::process::Command;
use std::thread;

use super::*;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}

fn made(folder: &Path, named: bool, mode: u32) -> NewFile {
    let mut new = match named {
        false => NewFile::for_place(&folder.join("file"), mode).unwrap(),
        true => NewFile::with_name(folder, mode).unwrap(),
    };
    new.file().write_all(b"new").unwrap();
    new
}

#[test]
fn names_are_given_to_whole_files() {
    for named in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let new = made(dir.path(), named, 0o600);
        assert!(!path.exists());
        assert!(new.link(&path).unwrap().is_some());
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        fs::write(&path, "somebody's").unwrap();
        assert!(made(dir.path(), named, 0o600).link(&path).unwrap().is_none());
        assert_eq!(fs::read(&path).unwrap(), b"somebody's");
        made(dir.path(), named, 0o600).replace(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["file"], "{named}");
        fs::remove_file(&path).unwrap();
        made(dir.path(), named, 0o600).replace(&path).unwrap();
        drop(made(dir.path(), named, 0o600));
        assert_eq!(names(dir.path()), ["file"], "{named}");
    }
}

#[test]
fn leftovers_go_and_living_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    let living = NewFile::with_name(dir.path(), 0o600).unwrap();
    for name in [".optimus-vmm-new-abc", ".optimus-vmm-nvram-abc", ".other"] {
        let file = File::create(dir.path().join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - 2 * ABANDONED).unwrap();
    }
    drop(made(dir.path(), false, 0o600));
    let kept = living.named.as_ref().unwrap().0.file_name().unwrap().to_str().unwrap();
    let mut expected = [".other", kept];
    expected.sort_unstable();
    assert_eq!(names(dir.path()), expected);
}

const VICTIM: &str = "NEW_FILE_TEST_VICTIM";

/// Runs in a process of its own, and is killed in the middle.
#[test]
fn a_kill_leaves_nothing() {
    if let Some(folder) = std::env::var_os(VICTIM) {
        let folder = PathBuf::from(folder);
        let _half = made(&folder, false, 0o600);
        fs::write(folder.join("ready"), "").unwrap();
        loop {
            thread::park();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "new_file::tests::a_kill_leaves_nothing"])
        .env(VICTIM, dir.path())
        .spawn()
        .unwrap();
    while !dir.path().join("ready").exists() {
        assert!(victim.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(10));
    }
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert_eq!(names(dir.path()), ["ready"]);
}
