//! Devices are held by commands no longer than they are needed.

use std::io;

use devices::display::{Change, Cursor, Frame, View};
use vmm_sys_util::eventfd::EventFd;

use super::*;
use crate::screenshot::wall::Wall;

fn resources(screen: Arc<dyn Screen>) -> Resources {
    Resources {
        devices: Mutex::new(Some(Devices { screen: Some(screen), functions: Arc::new(Vec::new) })),
        input: None,
        run: Arc::new(|_, _| ()),
        files: Arc::new([]),
        drives: Vec::new(),
        pointer: Mutex::default(),
        closing: AtomicBool::new(false),
        delays: Delays::default(),
    }
}

#[test]
fn the_end_takes_devices_from_commands_that_are_not_done() {
    let wall = Arc::<Wall>::default();
    wall.show(2, 1);
    // As the thread of a command that takes long keeps it.
    let resources = resources(Arc::clone(&wall) as _);
    let pci = || resources.perform(&Slow::Pci { text: false }, &Cancel::default());
    pci().unwrap();
    resources.close();
    assert_eq!(Arc::strong_count(&wall), 1);
    let folder = tempfile::tempdir().unwrap();
    let shot = Slow::Screenshot(folder.path().join("a.png"), Format::Png);
    for refusal in [pci().unwrap_err(), resources.perform(&shot, &Cancel::default()).unwrap_err()] {
        assert_eq!(refusal.to_string(), ENDS);
    }
}

#[test]
fn a_locked_tray_is_not_opened_without_force() {
    let identity =
        ::devices::atapi::Identity { model: "A B".into(), revision: "1".into(), serial: "2".into() };
    let drive = ::devices::atapi::Drive::new(identity, None);
    let resources = Resources {
        drives: vec![CdDrive { name: "cdrom[0]".into(), drive: Arc::clone(&drive) }],
        delays: Delays { patience: Duration::ZERO, ..Delays::default() },
        ..resources(Arc::new(Wall::default()))
    };
    for _ in 0..2 {
        // The first tells of the reset.
        drive.command(&[0x1e, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    }
    let eject = |drive, force| resources.perform(&Slow::Eject { drive, force }, &Cancel::default());
    let refusal = eject(0, false).unwrap_err().to_string();
    assert!(refusal.contains("the guest has locked the tray of cdrom[0]"), "{refusal}");
    assert!(!drive.status().open);
    // The request has gone with the command.
    let events = || match drive.command(&[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0, 0, 0]) {
        ::devices::atapi::Reply::Data(data) => data.get(4).copied(),
        _ => None,
    };
    assert_eq!(events(), Some(0));
    let cancel = Cancel::default();
    cancel.set();
    let patient = Resources {
        drives: resources.drives.clone(),
        delays: Delays { patience: Duration::MAX, ..Delays::default() },
        ..self::resources(Arc::new(Wall::default()))
    };
    let refusal = patient.perform(&Slow::Eject { drive: 0, force: false }, &cancel).unwrap_err();
    assert_eq!((refusal.to_string().as_str(), events()), ("the command was given up", Some(0)));
    eject(0, true).unwrap();
    assert!(drive.status().open);
    assert_eq!(eject(1, true).unwrap_err().to_string(), "Device 'cdrom[1]' not found");
}

/// A screen that notes, of each look at it, whether there was something in a folder when it ended.
struct Watched {
    wall: Wall,
    folder: tempfile::TempDir,
    written: Arc<AtomicBool>,
}

struct Look {
    view: Box<dyn View>,
    folder: std::path::PathBuf,
    written: Arc<AtomicBool>,
}

impl Screen for Watched {
    fn view(&self) -> io::Result<Box<dyn View>> {
        let (folder, written) = (self.folder.path().to_owned(), Arc::clone(&self.written));
        Ok(Box::new(Look { view: self.wall.view()?, folder, written }))
    }

    fn blank_reason(&self) -> Option<String> {
        self.wall.blank_reason()
    }
}

impl View for Look {
    fn changed(&self) -> &EventFd {
        self.view.changed()
    }

    fn set_interest(&mut self, interested: bool) {
        self.view.set_interest(interested);
    }

    fn look(&mut self) -> Change {
        self.view.look()
    }

    fn frame(&self) -> &Frame {
        self.view.frame()
    }

    fn cursor(&self) -> Option<&Cursor> {
        self.view.cursor()
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        let is_empty = std::fs::read_dir(&self.folder).unwrap().next().is_none();
        self.written.store(!is_empty, Ordering::Relaxed);
    }
}

#[test]
fn a_screen_is_let_go_before_its_picture_is_written() {
    let written = Arc::<AtomicBool>::default();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    let screen = Arc::new(Watched { wall: Wall::default(), folder, written: Arc::clone(&written) });
    screen.wall.show(2, 1);
    let resources = resources(Arc::clone(&screen) as _);
    resources.perform(&Slow::Screenshot(path.clone(), Format::Png), &Cancel::default()).unwrap();
    assert!(path.exists() && !written.load(Ordering::Relaxed));
}
