//! First runs, wrong files, locks, and what a kill at any moment leaves behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const TEMPLATE: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const SIZE: u64 = 0x8_4000;

fn template_bytes() -> Vec<u8> {
    fs::read(TEMPLATE).expect("Debian's package ovmf is needed for this test")
}

fn open(path: &Path) -> Result<NvramStore, NvramError> {
    open_with(path, Some(Path::new(TEMPLATE)), Some(SIZE))
}

/// Opens a store and checks what it holds, as whoever shows it to a guest.
fn open_with(path: &Path, template: Option<&Path>, size: Option<u64>) -> Result<NvramStore, NvramError> {
    let store = NvramStore::open(path, template, size)?;
    let mut bytes = vec![0; store.size()];
    store.read(&mut bytes, 0)?;
    store.check(&bytes)?;
    Ok(store)
}

fn contents(store: &NvramStore) -> Vec<u8> {
    let mut bytes = vec![0; store.size()];
    store.read(&mut bytes, 0).unwrap();
    bytes
}

fn dir_with(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    (dir, path)
}

#[test]
fn first_run_copies_the_template_and_the_second_keeps_the_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vm_VARS.fd");
    let mut store = open(&path).unwrap();
    assert_eq!(contents(&store), template_bytes());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    store.write(0x64, b"variable").unwrap();
    store.erase(0x4_2fff).unwrap();
    assert!(store.flusher().is_dirty());
    store.sync().unwrap();
    assert!(!store.flusher().is_dirty());
    drop(store);
    let store = open(&path).unwrap();
    assert_eq!(&contents(&store)[0x64..0x6c], b"variable");
    // Without the template too, once the store is there; and nothing else was left in the directory.
    drop(store);
    open_with(&path, None, None).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!(fs::read(TEMPLATE).unwrap(), template_bytes());
}

#[test]
fn second_opener_is_refused_until_the_first_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vm_VARS.fd");
    let first = open(&path).unwrap();
    let message = open(&path).unwrap_err().to_string();
    assert!(message.contains("vm_VARS.fd is in use") && message.contains("(this same process)"), "{message}");
    let flusher = first.flusher();
    drop(first);
    assert!(open(&path).is_err(), "a flusher still needs the file");
    drop(flusher);
    open(&path).unwrap();
}

#[test]
fn other_process_that_holds_the_store_is_named() {
    let (_dir, path) = dir_with("vm_VARS.fd", &template_bytes());
    // python3 locks as QEMU does: an OFD read lock on a few bytes.
    let script = "import fcntl,struct,sys\n\
        f=open(sys.argv[1],'r+b')\n\
        fcntl.fcntl(f,37,struct.pack('hhqqi4x',0,0,100,1,0))\n\
        print('locked',flush=True)\n\
        sys.stdin.read()";
    let mut child = Command::new("python3")
        .args(["-c", script, path.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed for this test");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "locked\n");
    let message = open(&path).unwrap_err().to_string();
    assert!(message.contains(&format!("(process {}, python3", child.id())), "{message}");
    drop(child.stdin.take());
    child.wait().unwrap();
    open(&path).unwrap();
}

#[test]
fn racing_first_runs_give_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vm_VARS.fd");
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| open(&path))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(matches!(error, NvramError::InUse { .. }), "{error}");
    }
}

#[test]
fn wrong_stores_are_refused_and_left_alone() {
    let good = template_bytes();
    let code = fs::read("/usr/share/OVMF/OVMF_CODE_4M.fd").unwrap();
    let small = fs::read("/usr/share/OVMF/OVMF_VARS.fd").unwrap();
    let mut no_store = good.clone();
    no_store[0x48..0x58].fill(0x11);
    let mut damaged = good.clone();
    damaged[0x10] ^= 0x55;
    let cases: [(&str, &[u8], &str); 8] = [
        ("empty", &[], "has 0 bytes"),
        ("short", &good[..5000], "has 5000 bytes"),
        ("other layout", &small, "do not mix"),
        ("code", &code[..0x8_4000], "holds firmware code"),
        ("blank", &[0xff; 0x8_4000], "is blank"),
        ("zeros", &[0; 0x8_4000], "is blank"),
        ("no variables", &no_store, "holds no variables"),
        ("damaged header", &damaged, "valid firmware volume header; delete it"),
    ];
    for (what, bytes, expected) in cases {
        let (_dir, path) = dir_with("vm_VARS.fd", bytes);
        let message = open(&path).unwrap_err().to_string();
        assert!(message.contains(expected), "{what}: {message}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "{what}");
    }
}

#[test]
fn wrong_templates_and_paths() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vm_VARS.fd");
    let try_with =
        |template: &str| open_with(&path, Some(Path::new(template)), Some(SIZE)).unwrap_err().to_string();
    assert!(try_with("/nonexistent").contains("template /nonexistent"));
    assert!(try_with("/tmp").contains("/tmp is not a regular file"));
    assert!(try_with("/usr/share/OVMF/OVMF_CODE_4M.fd").contains("holds firmware code"));
    assert!(try_with("/usr/share/OVMF/OVMF_VARS.fd").contains("do not mix"));
    assert!(!path.exists(), "a failed first run leaves nothing");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

    let missing = open_with(&path, None, None).unwrap_err();
    assert!(matches!(missing, NvramError::Missing { .. }), "{missing}");
    assert!(matches!(open(dir.path()), Err(NvramError::NotAFile { .. })));
    assert!(matches!(open(Path::new("/dev/null")), Err(NvramError::NotAFile { .. })));
    let no_directory = open(&dir.path().join("none/vm_VARS.fd")).unwrap_err();
    assert!(matches!(no_directory, NvramError::Create { .. }), "{no_directory}");

    fs::copy(TEMPLATE, &path).unwrap();
    let same = open_with(&path, Some(&path), None).unwrap_err();
    assert!(matches!(same, NvramError::IsTemplate { .. }), "{same}");
}

/// Fedora ships its flash images in qcow2 format. The command in the message gives a file that is accepted.
#[test]
fn images_in_qcow2_format_are_refused_with_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let container = dir.path().join("OVMF_VARS_4M.qcow2");
    let convert = |arguments: &[&str]| {
        let done = Command::new("qemu-img").arg("convert").args(arguments).status().unwrap();
        assert!(done.success());
    };
    convert(&["-f", "raw", "-O", "qcow2", TEMPLATE, container.to_str().unwrap()]);
    let store = dir.path().join("vm_VARS.fd");
    for (what, result) in [
        ("template", open_with(&store, Some(&container), Some(SIZE))),
        ("store", open_with(&container, None, Some(SIZE))),
    ] {
        let message = result.unwrap_err().to_string();
        let command = format!(
            "`qemu-img convert -O raw {} {}`",
            container.display(),
            container.with_extension("fd").display()
        );
        assert!(message.contains("is in qcow2 format") && message.contains(&command), "{what}: {message}");
    }
    let raw = container.with_extension("fd");
    convert(&["-O", "raw", container.to_str().unwrap(), raw.to_str().unwrap()]);
    open_with(&store, Some(&raw), Some(SIZE)).unwrap();
}

#[test]
fn store_stopped_while_its_first_block_was_rewritten_is_accepted() {
    let good = template_bytes();
    // The first block erased, and then programmed up to each byte of the headers.
    for written in (0..0x68).chain([0x100, 0xfff, 0x1000]) {
        let mut torn = good.clone();
        torn[written..0x1000].fill(0xff);
        let (_dir, path) = dir_with("vm_VARS.fd", &torn);
        open(&path).unwrap_or_else(|error| panic!("stopped after {written:#x} bytes: {error}"));
    }
}

#[test]
fn writes_outside_the_unit_are_refused() {
    let (_dir, path) = dir_with("vm_VARS.fd", &template_bytes());
    let mut store = open(&path).unwrap();
    for (offset, length) in [(SIZE, 1), (SIZE - 1, 2), (u64::MAX, 1), (u64::MAX - 3, 4)] {
        assert!(matches!(store.write(offset, &vec![0; length]), Err(NvramError::OutOfRange { .. })));
    }
    assert!(matches!(store.erase(SIZE), Err(NvramError::OutOfRange { .. })));
    assert!(store.erase(u64::MAX).is_err());
    store.write(SIZE, &[]).unwrap();
    let mut two = [0; 2];
    store.read(&mut two, SIZE - 2).unwrap();
    assert!(matches!(store.read(&mut two, SIZE - 1), Err(NvramError::Read { .. })));
    assert!(store.check(&template_bytes()[1..]).is_err());
    assert_eq!(fs::read(&path).unwrap(), template_bytes());
}

/// Where and how far the victim of the next test writes.
const VICTIM: std::ops::Range<usize> = 0x1_0000..0x1_4000;

/// Not a test by itself: the process that the next one kills. Programs one byte after the other, round after round.
/// Without that one's variable in the environment, there is nothing to do.
#[test]
fn victim() {
    let Some(path) = std::env::var_os("VICTIM_STORE") else { return };
    let mut store = open_with(Path::new(&path), None, None).unwrap();
    println!("writing");
    for round in (0..=u8::MAX).cycle() {
        for at in VICTIM {
            store.write(at as u64, &[round]).unwrap();
        }
    }
}

#[test]
fn a_killed_process_leaves_a_prefix() {
    for pause in [1, 3, 7, 20, 60] {
        let (_dir, path) = dir_with("vm_VARS.fd", &template_bytes());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "nvram::tests::victim", "--nocapture"])
            .env("VICTIM_STORE", &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.ends_with("writing")));
        std::thread::sleep(std::time::Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
        // The lock died with the process, and all that it wrote is there: one round up to a byte, behind it the
        // round before (in the first round, the erased bytes of the template).
        let store = open(&path).unwrap();
        let area = &contents(&store)[VICTIM];
        let round = area[0];
        let written = area.iter().take_while(|byte| **byte == round).count();
        let rest = &area[written..];
        assert!(rest.iter().all(|byte| *byte == rest[0]), "{written:#x} bytes of round {round}");
        assert!(rest.is_empty() || rest[0] == round.wrapping_sub(1), "{round} over {}", rest[0]);
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Program(u64, u8),
    Write(u64, Vec<u8>),
    Erase(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (0..SIZE, any::<u8>()).prop_map(|(at, value)| Operation::Program(at, value)),
        1 => (0..SIZE + 64, proptest::collection::vec(any::<u8>(), 0..64)).prop_map(|(at, data)| Operation::Write(at, data)),
        1 => (0..SIZE + 4096).prop_map(Operation::Erase),
    ]
}

fn apply(store: &mut NvramStore, operation: &Operation) -> bool {
    match operation {
        Operation::Program(at, value) => store.write(*at, &[*value]),
        Operation::Write(at, data) => store.write(*at, data),
        Operation::Erase(at) => store.erase(*at),
    }
    .is_ok()
}

fn apply_to_model(model: &mut [u8], operation: &Operation) -> bool {
    let (at, data) = match operation {
        Operation::Program(at, value) => (*at, vec![*value]),
        Operation::Write(at, data) => (*at, data.clone()),
        Operation::Erase(at) => (at / 4096 * 4096, vec![0xff; 4096]),
    };
    let at = at as usize;
    match model.get_mut(at..at + data.len()) {
        Some(target) => {
            target.copy_from_slice(&data);
            true
        }
        None => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    // Whatever the process has done when it dies, the file is what those operations made of it: the file is read
    // while the store is still open and unsynced, as the next process would see it after a SIGKILL.
    #[test]
    fn file_equals_the_model_after_every_operation(operations in proptest::collection::vec(operation(), 1..24)) {
        let (_dir, path) = dir_with("vm_VARS.fd", &template_bytes());
        let mut model = template_bytes();
        let mut store = open(&path).unwrap();
        for operation in &operations {
            prop_assert_eq!(apply(&mut store, operation), apply_to_model(&mut model, operation), "{:?}", operation);
            prop_assert!(fs::read(&path).unwrap() == model, "file after {:?}", operation);
        }
    }

    #[test]
    fn random_content_is_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
        prop_assert!(check_template(Path::new("x"), &bytes).is_err());
        prop_assert!(check::check_store(Path::new("x"), &bytes).is_err());
    }

    #[test]
    fn mutated_content_is_judged_without_panic(edits in proptest::collection::vec((0usize..0x80, any::<u8>()), 1..16)) {
        let mut bytes = template_bytes();
        for (at, value) in edits {
            bytes[at] = value;
        }
        let _ = check::check_store(Path::new("x"), &bytes);
    }
}
