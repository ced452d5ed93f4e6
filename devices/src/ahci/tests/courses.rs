//! What a guest sees in the course of a command, and of one that is ended early.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::super::fis::TaskFile;
use super::super::port::Port;
use super::super::registers::port as p;
use super::super::table::Fault;
use super::commands::read;
use super::*;

/// A disc that takes until it is told to go on. When nobody can tell it any more, it fails.
struct Slow {
    begun: Sender<()>,
    go: Mutex<Receiver<()>>,
}

impl Medium for Slow {
    fn blocks(&self) -> u32 {
        1000
    }

    fn read(&self, _block: u32, data: &mut [u8]) -> io::Result<()> {
        let _ = self.begun.send(());
        self.go.lock().unwrap().recv().map_err(io::Error::other)?;
        data.fill(0xee);
        Ok(())
    }
}

fn with_slow_disc() -> (Bench, Receiver<()>, Sender<()>) {
    let ((begun, begins), (go, goes)) = (channel(), channel());
    let bench = with(Arc::new(Slow { begun, go: Mutex::new(goes) }));
    bench.start(DRIVE);
    bench.settle();
    (bench, begins, go)
}

/// OVMF polls for the cause of either frame, and then reads once how many bytes have come.
#[test]
fn the_first_cause_of_a_transfer_by_pio_comes_after_data_and_count() {
    let (bench, begins, go) = with_slow_disc();
    bench.set_port(DRIVE, p::IS, u32::MAX);
    bench.prepare(0, &PACKET_PIO, &read(0, 1), &[(DATA, 2048)]);
    bench.issue(DRIVE, 0);
    begins.recv().unwrap();
    // The frame is there, and the data is not.
    assert_eq!((bench.get(FRAMES + 0x20, 1), bench.port(DRIVE, p::TFD) & 0xff), (vec![0x5f], 0x58));
    assert_eq!(bench.port(DRIVE, p::IS), 0);
    go.send(()).unwrap();
    until(|| bench.port(DRIVE, p::IS) & 3 != 0);
    assert_eq!((bench.get_u32(LIST + 4), bench.get(DATA, 2048)), (2048, vec![0xee; 2048]));
    assert_eq!((bench.port(DRIVE, p::IS), bench.port(DRIVE, p::CI)), (3, 0));
}

/// A port with a drive and without a worker, which the test is instead.
fn without_worker() -> (Arc<Endpoint<Ahci>>, Arc<Port>) {
    let ids = Ids { vendor: 1, device: 2, revision: 0, class: 0, subsystem_vendor: 0, subsystem: 0 };
    let mut config = ConfigSpace::endpoint(ids, false);
    let interrupts = Arc::new(Interrupts::new(&mut config, Arc::<Line>::default()));
    let dma = Dma::new(GuestRam::from_ranges(&[(GuestAddress(0), RAM as usize)]).unwrap());
    let device: Box<dyn AtaDevice> = Box::new(PacketDevice::new(Drive::new(identity(), None)));
    let hba = Hba::new(&[Some(device)], dma.clone(), Arc::clone(&interrupts)).unwrap();
    let port = Arc::clone(hba.port(0).unwrap());
    let controller = Arc::new(Ahci { hba, workers: Vec::new() });
    let function = Endpoint::new(config, interrupts, dma, None, controller);
    let _ = function.config_write(reg::COMMAND, &[6, 0]);
    port.write(p::FB, FRAMES as u32);
    port.write(p::CMD, 1 << 4 | 1);
    (function, port)
}

/// A driver that issues a command and then waits for "not busy" never takes the end of the command before it for the end
/// of this one, also while it resets the device by frames.
#[test]
fn the_device_is_busy_from_the_write_that_issues_a_command() {
    let (function, port) = without_worker();
    let status = || port.read(p::TFD) & 0xff;
    let issued = |slot: u32| {
        port.write(p::CI, 1 << slot);
        let seen = status();
        (seen, port.begin().unwrap())
    };
    assert_eq!(status(), 0x50);
    let (seen, job) = issued(0);
    assert_eq!(seen, 0xd0);
    port.finish(&job, None, Ok(TaskFile::DONE));
    assert_eq!(status(), 0x50);
    // Taken back before it has begun.
    port.write(p::CI, 1);
    port.write(p::CMD, 1 << 4);
    assert_eq!(status(), 0x50);
    port.write(p::CMD, 1 << 4 | 1);
    // A reset of the device, with a header that says that the first frame need not be waited for; and another command.
    for end in [0, 0x80] {
        let (seen, job) = issued(1);
        assert_eq!(seen, 0xd0);
        port.control(&job, 4, end == 0);
        assert_eq!(status(), 0x50 | end);
        let (seen, job) = issued(2);
        assert_eq!((seen, status()), (0xd0, 0xd0));
        port.control(&job, 0, false);
        assert_eq!((status(), port.read(p::CI)), (0x50, 0));
    }
    // After an error there is nothing to wait for, and without bus mastering nothing begins.
    let (_, job) = issued(3);
    port.finish(&job, None, Err(Fault::Interface));
    port.write(p::CI, 1 << 4);
    assert_eq!(status(), 0x51);
    port.write(p::CMD, 1 << 4);
    assert_eq!(status(), 0x51);
    port.write(p::CMD, 1 << 4 | 1);
    let _ = function.config_write(reg::COMMAND, &[2, 0]);
    port.write(p::CI, 1);
    assert_eq!(status(), 0x51);
}

#[test]
fn the_end_of_the_controller_does_not_wait_for_whole_commands() {
    let (bench, begins, go) = with_slow_disc();
    // Two pieces.
    bench.prepare(0, &PACKET_DMA, &read(0, 64), &[(DATA, 64 * 2048)]);
    bench.issue(DRIVE, 0);
    begins.recv().unwrap();
    let port = Arc::clone(bench.function.device().hba.port(DRIVE).unwrap());
    let end = std::thread::spawn(move || drop(bench));
    until(|| port.read(p::CMD) & 1 == 0);
    go.send(()).unwrap();
    end.join().unwrap();
    assert!(begins.try_recv().is_err(), "the second piece was not begun");
}

#[test]
fn a_read_that_fails_when_it_was_given_up_leaves_no_sense_data() {
    let (bench, begins, go) = with_slow_disc();
    bench.prepare(0, &PACKET_DMA, &read(0, 1), &[(DATA, 2048)]);
    bench.issue(DRIVE, 0);
    begins.recv().unwrap();
    bench.recover(DRIVE);
    drop(go);
    let (_, sense) = bench.packet(&[3, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 18);
    assert_eq!((sense[2], sense[12]), (0, 0));
}

/// Whatever ends a command early: it is at once as if there had been none, and nothing of it arrives later, in the list
/// that is there by then least of all.
#[test]
fn nothing_arrives_from_a_command_that_was_given_up() {
    type Way = (&'static str, fn(&Bench));
    let ways: [Way; 5] = [
        ("stop", |bench| bench.set_port(DRIVE, p::CMD, 1 << 4)),
        ("link", |bench| {
            bench.set_port(DRIVE, p::SCTL, 1);
            bench.set_port(DRIVE, p::SCTL, 0);
            bench.set_port(DRIVE, p::CMD, 1 << 4);
        }),
        ("controller", |bench| bench.write(4, 0x8000_0001)),
        ("machine", |bench| {
            PciFunction::reset(&*bench.function);
            let _ = bench.function.config_write(reg::BAR0 + 4 * 5, &ABAR_AT.to_le_bytes());
            let _ = bench.function.config_write(reg::COMMAND, &[6, 0]);
        }),
        ("restart", |bench| {
            bench.set_port(DRIVE, p::CMD, 1 << 4);
            bench.set_port(DRIVE, p::CMD, 1 << 4 | 1);
            bench.prepare(9, &frame(0xe5), &[], &[]);
            bench.issue(DRIVE, 9);
        }),
    ];
    for (name, give_up) in ways {
        let (bench, begins, go) = with_slow_disc();
        bench.prepare(0, &PACKET_DMA, &read(0, 40), &[(DATA, 40 * 2048)]);
        bench.issue(DRIVE, 0);
        begins.recv().unwrap();
        assert_eq!(bench.port(DRIVE, p::TFD) & 0x80, 0x80, "{name}: busy");
        give_up(&bench);
        // But for the command that has been issued since then.
        let busy = bench.port(DRIVE, p::TFD) & 0x80 != 0;
        assert_eq!(busy, name == "restart", "{name}: not busy any more");
        bench.put(LIST, &[0x11; 32]);
        // It is still at it; another attempt at the same port comes after it.
        for _ in 0..2 {
            let _ = go.send(());
        }
        bench.start(DRIVE);
        until(|| bench.port(DRIVE, p::CI) == 0);
        bench.put(TABLES + 0x2000, &frame(0xe5));
        bench.prepare(2, &frame(0xe5), &[], &[]);
        bench.issue(DRIVE, 2);
        bench.wait(DRIVE, 2);
        assert_eq!(bench.get(DATA, 40 * 2048), vec![0; 40 * 2048], "{name}: data");
        assert_eq!(bench.get(LIST, 32), [0x11; 32], "{name}: the list's header");
        assert_eq!(bench.port(DRIVE, p::TFD) & 1, 0, "{name}");
    }
}
