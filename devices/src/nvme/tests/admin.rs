//! Admin commands.

use super::host::{ENTRIES, Format, Host, QUEUES, SIZE, plain};

const OK: (u16, u16) = (0, 0);
const INVALID_FIELD: (u16, u16) = (0, 2);

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn u16_at(data: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([data[at], data[at + 1]])
}

fn u64_at(data: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(data[at..at + 8].try_into().unwrap())
}

#[test]
fn it_identifies_itself_and_its_namespace() {
    let mut host = Host::new(Format::Raw);
    host.enable();
    assert_eq!(host.admin(6, 0, [1, 0, 0, 0, 0, 0]).1, OK);
    let controller = host.data(4096);
    assert_eq!((u16_at(&controller, 0), u16_at(&controller, 2)), (0x1b36, 0x1af4));
    assert_eq!(text(&controller[4..24]), format!("{:20}", "serial-1"));
    assert_eq!(text(&controller[24..64]), format!("{:40}", "model"));
    assert_eq!(text(&controller[64..72]), format!("{:8}", "1.2"));
    assert_eq!((controller[77], controller[111], controller[512], controller[513]), (8, 1, 0x66, 0x44));
    assert_eq!(controller[516], 1, "namespaces");
    assert_eq!(controller[525] & 1, 1, "a write cache");
    assert_eq!(u16_at(&controller, 520) & 0b1100, 0b1100, "deallocation and zeroes");
    let name = "nqn.2014-08.org.nvmexpress:uuid:30313233-3435-3637-3839-616263646566\0";
    assert_eq!(text(&controller[768..768 + name.len()]), name);

    assert_eq!(host.admin(6, 1, [0, 0, 0, 0, 0, 0]).1, OK);
    let namespace = host.data(4096);
    assert_eq!((u64_at(&namespace, 0), u64_at(&namespace, 8)), (SIZE / 512, SIZE / 512));
    assert_eq!((namespace[25], namespace[26], namespace[130]), (0, 0, 9), "one format of 512 bytes");

    assert_eq!(host.admin(6, 0, [2, 0, 0, 0, 0, 0]).1, OK);
    assert_eq!(host.data(8), [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(host.admin(6, 1, [2, 0, 0, 0, 0, 0]).1, OK);
    assert_eq!(host.data(8), [0; 8], "none behind it");
    assert_eq!(host.admin(6, 1, [3, 0, 0, 0, 0, 0]).1, OK);
    assert_eq!(host.data(24), [&[3, 16, 0, 0][..], b"0123456789abcdef", &[0; 4]].concat());
    assert_eq!(host.admin(6, 0, [6, 0, 0, 0, 0, 0]).1, OK);
    assert_eq!(host.data(4096), [0; 4096]);
    for (what, namespace, status) in [
        (0, 2, (0, 0xb)),
        (0, 0, (0, 0xb)),
        (0, u32::MAX, (0, 0xb)),
        (2, u32::MAX, (0, 0xb)),
        (0x10, 0, INVALID_FIELD),
        (0xff, 0, INVALID_FIELD),
    ] {
        assert_eq!(host.admin(6, namespace, [what, 0, 0, 0, 0, 0]).1, status, "{what:#x} of {namespace}");
    }
}

#[test]
fn a_disk_that_is_only_read_says_so() {
    let mut host = Host::with_queue(Format::ReadOnly);
    assert_eq!(host.admin(6, 0, [1, 0, 0, 0, 0, 0]).1, OK);
    assert_eq!(host.data(4096)[525] & 1, 0, "no write cache");
    assert_eq!(host.admin(6, 1, [0, 0, 0, 0, 0, 0]).1, OK);
    assert_eq!(host.data(4096)[99], 1, "write protected");
    assert_eq!(host.admin(9, 0, [6, 1, 0, 0, 0, 0]).1, INVALID_FIELD);
    assert_eq!(host.io(super::read(0, 1, 0x10_0000)), OK);
    assert_eq!(host.io(plain(0, [0; 6])), OK, "a flush");
    assert_eq!(host.io(super::write(0, 1, 0x10_0000)), (0, 0x20));
    assert_eq!(host.io(plain(8, [0; 6])), (0, 0x20));
}

#[test]
fn features_keep_what_is_written_until_a_reset() {
    let mut host = Host::new(Format::Raw);
    host.enable();
    let queues = u32::from(QUEUES) - 1;
    for (feature, argument, before) in [
        (1, 0x0102_0304, 0),
        (4, 0x155, 343),
        (4, 0x10_0100, 0),
        (5, 7, 0),
        (6, 0, 1),
        (8, 0x1234, 0),
        (0xa, 1, 0),
        (0xb, 0x31f, 0),
    ] {
        let which = if feature == 4 { argument & !0xffff } else { 0 };
        let value = argument & !which;
        assert_eq!(host.admin(10, 0, [feature, which, 0, 0, 0, 0]), (before, OK), "{feature}");
        assert_eq!(host.admin(9, 0, [feature, argument, 0, 0, 0, 0]), (0, OK), "{feature}");
        assert_eq!(host.admin(10, 0, [feature, which, 0, 0, 0, 0]), (value, OK), "{feature}");
        assert_eq!(host.admin(10, 0, [feature | 1 << 8, which, 0, 0, 0, 0]), (before, OK), "default");
        assert_eq!(host.admin(10, 0, [feature | 3 << 8, which, 0, 0, 0, 0]), (4, OK), "changeable");
        assert_eq!(host.admin(9, 0, [feature | 1 << 31, argument, 0, 0, 0, 0]).1, (1, 0xd), "not saved");
    }
    assert_eq!(host.admin(9, 0, [9, 0x1_0002, 0, 0, 0, 0]), (0, OK));
    assert_eq!(host.admin(10, 0, [9, 2, 0, 0, 0, 0]), (0x1_0002, OK));
    assert_eq!(host.admin(10, 0, [9, 1, 0, 0, 0, 0]), (1, OK));
    assert_eq!(host.admin(9, 0, [2, 0, 0, 0, 0, 0]), (0, OK));
    assert_eq!(host.admin(9, 0, [7, 0x7f_007f, 0, 0, 0, 0]), (queues | queues << 16, OK));
    for wrong in
        [[2, 1], [7, 0xffff], [7, 0xffff << 16], [9, 9], [4, 0x30_0000], [4, 0x5_0000], [3, 0], [0xc, 0]]
    {
        assert_eq!(host.admin(9, 0, [wrong[0], wrong[1], 0, 0, 0, 0]).1, INVALID_FIELD, "{wrong:x?}");
    }
    host.set(super::CC, 0);
    host.forget();
    host.enable();
    assert_eq!(host.admin(10, 0, [6, 0, 0, 0, 0, 0]), (1, OK));
    assert_eq!(host.admin(10, 0, [0xb, 0, 0, 0, 0, 0]), (0, OK));
    host.create_pair(1, 1);
    assert_eq!(host.admin(9, 0, [7, 0, 0, 0, 0, 0]).1, (0, 0xc), "too late");
}

#[test]
fn queues_are_made_and_deleted_as_they_may() {
    let mut host = Host::with_queue(Format::Raw);
    let size = (ENTRIES - 1) << 16;
    let (free, there) = (0x20_0000, 2);
    assert_eq!(host.admin_at(5, free, [size | there, 3, 0, 0, 0, 0]).1, OK);
    let many = u32::from(QUEUES) + 1;
    for (opcode, prp, first, second, status) in [
        (5, free, size, 1, (1, 1)),
        (5, free, size | many, 1, (1, 1)),
        (5, free, size | 1, 1, (1, 1)),
        (5, free, 3, 1, (1, 2)),
        (5, free, 1024 << 16 | 3, 1, (1, 2)),
        (5, free, size | 3, 0, INVALID_FIELD),
        (5, free + 8, size | 3, 1, (0, 0x13)),
        (5, 1 << 40, size | 3, 1, INVALID_FIELD),
        (5, free, size | 3, many << 16 | 3, (1, 8)),
        (1, free, size | 3, 1, (1, 0)),
        (1, free, size | 3, 3 << 16 | 1, (1, 0)),
        (1, free, size | 3, 0xffff << 16 | 1, (1, 0)),
        (1, free, size | 1, 1 << 16 | 1, (1, 1)),
        (1, (8 << 20) - 0x1000, (127 << 16) | 3, 1 << 16 | 1, INVALID_FIELD),
        (0, 0, 0, 0, (1, 1)),
        (0, 0, 2, 0, (1, 1)),
        (0, 0, 0xffff, 0, (1, 1)),
        (4, 0, 0, 0, (1, 1)),
        (4, 0, 3, 0, (1, 1)),
        (4, 0, 1, 0, (1, 0xc)),
    ] {
        let made = host.admin_at(opcode, prp, [first, second, 0, 0, 0, 0]).1;
        assert_eq!(made, status, "{opcode} {prp:#x} {first:#x} {second:#x}");
    }
    assert_eq!(host.admin_at(0, 0, [1, 0, 0, 0, 0, 0]).1, OK);
    assert_eq!(host.admin_at(4, 0, [1, 0, 0, 0, 0, 0]).1, OK);
    assert_eq!(host.admin_at(4, 0, [there, 0, 0, 0, 0, 0]).1, OK);
    host.create_pair(1, 1);
    assert_eq!(host.io(super::read(0, 1, 0x10_0000)), OK);
    // Before the host has said how large entries are.
    host.set(super::CC, 1);
    assert_eq!(host.admin_at(5, free, [size | 3, 1, 0, 0, 0, 0]).1, (1, 2));
}

#[test]
fn what_there_is_not_is_refused() {
    let mut host = Host::new(Format::Raw);
    host.enable();
    // Format, firmware, namespace management and attachment, self-test, sanitize, security, directives, vendor's.
    for opcode in [0x80, 0x10, 0x11, 0x0d, 0x15, 0x14, 0x84, 0x81, 0x82, 0x19, 0x1a, 0xc0, 0xff] {
        assert_eq!(host.admin(opcode, 1, [0; 6]).1, (0, 1), "{opcode:#x}");
    }
    assert_eq!(host.admin(6 | 1 << 8, 0, [1, 0, 0, 0, 0, 0]).1, INVALID_FIELD, "fused");
    assert_eq!(host.admin(6 | 1 << 14, 0, [1, 0, 0, 0, 0, 0]).1, INVALID_FIELD, "an SGL");
    assert_eq!(host.admin(8, 0, [0x1234_0001, 0, 0, 0, 0, 0]), (1, OK), "nothing is aborted");
}

#[test]
fn log_pages_tell_what_has_happened() {
    let mut host = Host::with_queue(Format::Raw);
    for _ in 0..3 {
        assert_eq!(host.io(super::write(0, 16, 0x10_0000)), OK);
    }
    assert_eq!(host.io(super::read(0, 1, 0x10_0000)), OK);
    assert_eq!(host.io(super::read((SIZE / 512) as u32, 1, 0x10_0000)), (0, 0x80));
    let get = |host: &mut Host, page: u32, dwords: u32, offset: u32| {
        let (_, status) = host.admin(2, u32::MAX, [page | (dwords - 1) << 16, 0, offset, 0, 0, 0]);
        (status, host.data(dwords as usize * 4))
    };
    let (status, health) = get(&mut host, 2, 128, 0);
    assert_eq!(status, OK);
    assert!((273..343).contains(&u16_at(&health, 1)), "kelvins");
    assert_eq!((health[0], health[3], health[5]), (0, 100, 0));
    let count = |at: usize| u64_at(&health, at);
    assert_eq!([count(32), count(48), count(64), count(80), count(160), count(176)], [1, 1, 1, 3, 0, 1]);
    let (_, errors) = get(&mut host, 1, 32, 0);
    assert_eq!((u64_at(&errors, 0), u16_at(&errors, 8), u16_at(&errors, 12) >> 1 & 0x7ff), (1, 1, 0x80));
    assert_eq!((u64_at(&errors, 16), errors[64]), (SIZE / 512, 0));
    let (_, part) = get(&mut host, 1, 4, 16);
    assert_eq!(part, errors[16..32]);
    let (_, firmware) = get(&mut host, 3, 128, 0);
    assert_eq!((firmware[0], text(&firmware[8..16])), (1, "1.2     "));
    let (_, effects) = get(&mut host, 5, 512, 0);
    assert_eq!((effects[6 * 4], effects[0x80 * 4], effects[1024 + 4]), (1, 0, 3));
    assert_eq!(get(&mut host, 0, 256, 0).0, OK);
    assert_eq!(get(&mut host, 4, 1024, 0), (OK, vec![0; 4096]));
    assert_eq!(get(&mut host, 0x42, 1, 0).0, (1, 9));
    assert_eq!(get(&mut host, 2, 1, 516).0, INVALID_FIELD);
    assert_eq!(host.admin(2, 0, [2, 0, 2, 0, 0, 0]).1, INVALID_FIELD);
    assert_eq!(host.admin(2, 0, [0xffff_0002, 0xffff, 0, 0, 0, 0]).1, INVALID_FIELD);
}

#[test]
fn event_requests_wait_until_something_happens() {
    let mut host = Host::new(Format::Raw);
    host.enable();
    let ids: Vec<u16> = (0..4).map(|_| host.submit_admin(0xc, 0, [0; 6])).collect();
    assert_eq!(host.peek(0), None);
    assert_eq!(host.admin(0xc, 0, [0; 6]).1, (1, 5), "a fifth");
    // The doorbell of a queue that there is not, twice; then a value of no entry.
    host.set(0x1000 + 8 * 3, 1);
    let told = host.take(0).unwrap();
    assert_eq!((told.id, told.result, told.status), (ids[0], 0x01_0000, OK));
    host.set(0x1000 + 8 * 3, 1);
    host.set(0x1000, ENTRIES);
    host.set(0x1000 + 4 * 500, 0);
    assert_eq!(host.peek(0), None, "until the host has read the log");
    assert_eq!(host.admin(2, 0, [1 << 15 | 1, 0, 0, 0, 0, 0]).1, OK);
    host.set(0x1000, ENTRIES);
    assert_eq!(host.peek(0), None, "which it can leave for later");
    assert_eq!(host.admin(2, 0, [1, 0, 0, 0, 0, 0]).1, OK);
    host.set(0x1000, ENTRIES);
    let told = host.take(0).unwrap();
    assert_eq!((told.id, told.result, told.status), (ids[1], 0x01_0100, OK));
    assert_eq!(host.admin(10, 0, [6, 0, 0, 0, 0, 0]), (1, OK), "the queue works on");
}
