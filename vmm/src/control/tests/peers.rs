//! Clients of QEMU's machine protocol that know nothing of this program: the crate `qapi`, whose types are those of QEMU's
//! schema, and QEMU's own Python package `qemu.qmp` with its `qmp-shell`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use qapi::{Qmp, Stream, qmp};

use super::*;
use crate::screenshot::wall::Wall;

#[test]
fn the_crate_qapi_understands_all_answers() {
    let wall = Arc::<Wall>::default();
    wall.show(2, 1);
    let rig = Rig::with(Some(Arc::clone(&wall) as _), Some(Arc::<devices::Desk>::default() as _));
    let stream = UnixStream::connect(&rig.path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut client = Qmp::new(Stream::new(BufReader::new(stream.try_clone().unwrap()), stream));
    let greeting = client.handshake().unwrap();
    assert_eq!(greeting.version.qemu.major, 10);
    assert!(greeting.version.package.starts_with("optimus-vmm "));

    let status = client.execute(&qmp::query_status {}).unwrap();
    assert!(status.running);
    assert_eq!(status.status, qmp::RunState::running);
    assert_eq!(client.execute(&qmp::query_name {}).unwrap().name.as_deref(), Some("vm"));
    let uuid = client.execute(&qmp::query_uuid {}).unwrap();
    assert_eq!(uuid.UUID, "00000000-0000-0000-0000-000000001234");
    assert_eq!(client.execute(&qmp::query_version {}).unwrap().qemu.minor, 0);
    assert!(client.execute(&qmp::query_kvm {}).unwrap().enabled);
    let cpus = client.execute(&qmp::query_cpus_fast {}).unwrap();
    let threads: Vec<_> = cpus
        .iter()
        .map(|cpu| match cpu {
            qmp::CpuInfoFast::x86_64(base) => (base.thread_id, base.props.as_ref().unwrap().thread_id),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(threads, [(7001, Some(0)), (7002, Some(1))]);
    let blocks = client.execute(&qmp::query_block {}).unwrap();
    let image = blocks[0].inserted.as_ref().unwrap();
    assert_eq!((image.file.as_str(), image.cache.direct), ("/images/a.qcow2", true));
    let vnc = client.execute(&qmp::query_vnc {}).unwrap();
    assert_eq!((vnc.service.as_deref(), vnc.auth.as_deref()), (Some("5901"), Some("vnc")));
    let chardevs = client.execute(&qmp::query_chardev {}).unwrap();
    assert_eq!(chardevs[0].filename, "pty:/dev/pts/7");
    let buses = client.execute(&qmp::query_pci {}).unwrap();
    let behind = buses[0].devices[1].pci_bridge.as_ref().unwrap().devices.as_ref().unwrap();
    assert_eq!((behind[0].id.device, behind[0].regions.len()), (0x1f91, 2));
    let schema = client.execute(&qmp::query_qmp_schema {}).unwrap();
    assert!(schema.len() > 50, "{}", schema.len());
    let commands = client.execute(&qmp::query_commands {}).unwrap();
    assert!(commands.iter().any(|command| command.name == "query-pci"));
    let line = qmp::human_monitor_command { command_line: "info status".into(), cpu_index: None };
    assert_eq!(client.execute(&line).unwrap(), "VM status: running\r\n");

    client.execute(&qmp::stop {}).unwrap();
    assert_eq!(client.execute(&qmp::query_status {}).unwrap().status, qmp::RunState::paused);
    client.execute(&qmp::cont {}).unwrap();
    let events: Vec<_> = client.events().collect();
    assert!(matches!(events.as_slice(), [qmp::Event::STOP { .. }, qmp::Event::RESUME { .. }]), "{events:?}");
    client.execute(&qmp::system_powerdown {}).unwrap();
    client.execute(&qmp::system_reset {}).unwrap();
    let keys = vec![qmp::KeyValue::qcode(qmp::QKeyCode::a.into())];
    client.execute(&qmp::send_key { keys, hold_time: Some(0) }).unwrap();
    let file = rig.path.with_file_name("a.ppm");
    let filename = file.to_str().unwrap().to_owned();
    client.execute(&qmp::screendump { filename, device: None, head: None, format: None }).unwrap();
    assert!(std::fs::read(&file).unwrap().starts_with(b"P6\n2 1\n255\n"));

    let crash = crate::control::Crash {
        text: "Windows stopped: 0x000000e2".into(),
        parameters: [0xe2, 1, 2, 3, u64::MAX],
    };
    rig.announcer
        .announce(&Announcement::Panicked { action: crate::control::PanicAction::Pause, crash: Some(crash) });
    rig.announcer.announce(&Announcement::Reset { guest: true, runs: true });
    rig.announcer.announce(&Announcement::Ended(ShutdownCause::HostUi));
    until(|| rig.announcer.waiting() == 0);
    client.execute(&qmp::quit {}).unwrap();
    let events: Vec<_> = client.events().collect();
    let [
        qmp::Event::GUEST_PANICKED { data: panic, .. },
        qmp::Event::RESET { data: reset, .. },
        qmp::Event::SHUTDOWN { data: shutdown, .. },
    ] = events.as_slice()
    else {
        panic!("{events:?}");
    };
    assert_eq!(panic.action, qmp::GuestPanicAction::pause);
    let Some(qmp::GuestPanicInformation::hyper_v(told)) = &panic.info else { panic!("{panic:?}") };
    assert_eq!((told.arg1, told.arg2, told.arg4, told.arg5), (0xe2, 1, 3, u64::MAX));
    assert_eq!((reset.guest, reset.reason), (true, qmp::ShutdownCause::guest_reset));
    assert_eq!((shutdown.guest, shutdown.reason), (false, qmp::ShutdownCause::host_ui));
    assert_eq!(
        *rig.asked.lock().unwrap(),
        [MachineRequest::PowerButton, MachineRequest::Reset, MachineRequest::Quit]
    );
}

/// A program of the package `qemu.qmp`.
pub(super) fn program(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")), PathBuf::from);
    let path = target.join("qmp-client/bin").join(name);
    assert!(path.exists(), "{} is missing: run scripts/qmp-client, which installs it", path.display());
    path
}

#[test]
fn the_package_qemu_qmp_understands_all_answers() {
    let rig = Rig::new();
    let told = Command::new(program("python"))
        .args(["-c", include_str!("client.py")])
        .arg(&rig.path)
        .output()
        .unwrap();
    let (said, errors) = (String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert!(told.status.success() && said.ends_with("done\n"), "{said}{errors}");
    assert_eq!(
        *rig.asked.lock().unwrap(),
        [MachineRequest::PowerButton, MachineRequest::Reset, MachineRequest::Quit]
    );
}

#[test]
fn qmp_shell_works() {
    let rig = Rig::new();
    let mut shell = Command::new(program("qmp-shell"))
        .arg(&rig.path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = shell.stdin.take().unwrap();
    input
        .write_all(b"query-name\nsend-key keys=[{'type':'qcode','data':'a'}]\nstop\nquery-status\nquery-status x=1\n")
        .unwrap();
    drop(input);
    let told = shell.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&told.stdout);
    for part in [
        "Connected to QEMU 10.0.0",
        r#"{"return": {"name": "vm"}}"#,
        "this machine has neither keyboard nor mouse",
        r#""status": "paused""#,
        "Parameter 'x' is unexpected",
    ] {
        assert!(said.contains(part), "{part}: {said}{}", String::from_utf8_lossy(&told.stderr));
    }
}
