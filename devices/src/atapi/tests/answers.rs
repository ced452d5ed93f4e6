//! What the drive says of itself and of discs.

use super::*;

/// As Windows' class driver probes a drive (its sequence of requests, and what it demands of the answers).
#[test]
fn windows_takes_it_for_an_mmc_drive() {
    for (blocks, profile) in [(1000, 0x08), (400_000, 0x10)] {
        let drive = with_disc(blocks);
        let inquiry = ask(&drive, &[0x12, 0, 0, 0, 36]);
        assert_eq!((inquiry.len(), inquiry[0], inquiry[1], inquiry[4]), (36, 5, 0x80, 31));
        assert_eq!(&inquiry[8..36], b"ACME    DVD-ROM         1.0 ");
        // The header alone; one feature; the list in two steps; what is current.
        let header = ask(&drive, &[0x46, 0, 0, 0, 0, 0, 0, 0, 8]);
        assert_eq!(u16::from_be_bytes([header[6], header[7]]), profile);
        let one = ask(&drive, &[0x46, 2, 0, 0, 0, 0, 0, 0, 12]);
        let length = u32::from_be_bytes(one[..4].try_into().unwrap());
        assert!(length > 4 && length.is_multiple_of(4));
        assert_eq!((one.len(), &one[8..10]), (12, &[0, 0][..]));
        let removable = ask(&drive, &[0x46, 2, 0, 3, 0, 0, 0, 1, 0]);
        assert_eq!(removable[..], [0, 0, 0, 12, 0, 0, 0, profile as u8, 0, 3, 7, 4, 0x39, 0, 0, 0]);
        let absent = ask(&drive, &[0x46, 2, 0, 0x2a, 0, 0, 0, 1, 0]);
        assert_eq!(absent.len(), 8, "a feature that there is not has no descriptor");
        let all = features(&ask(&drive, &[0x46, 0, 0, 0, 0, 0, 0, 4, 0]));
        let current = features(&ask(&drive, &[0x46, 1, 0, 0, 0, 0, 0, 4, 0]));
        assert!(all.is_sorted() && current.iter().all(|feature| all.contains(feature)));
        let codes = |list: &[(u16, bool)]| list.iter().map(|(code, _)| *code).collect::<Vec<_>>();
        assert_eq!(codes(&all), [0, 1, 3, 0x10, 0x1d, 0x1e, 0x1f, 0x100, 0x105, 0x107]);
        assert!(current.iter().all(|(_, current)| *current));
        assert_eq!(codes(&current).contains(&0x1f), profile == 0x10);
        assert_eq!(features(&ask(&drive, &[0x46, 0, 1, 0, 0, 0, 0, 4, 0])).first(), Some(&(0x100, true)));
        // Events can be polled, and the mechanical status has a page of its own.
        assert_eq!(poll(&drive), (0, 2));
        assert_eq!(ask(&drive, &[0x4a, 1, 0, 0, 0x02, 0, 0, 0, 8]), [0, 2, 0x80, 0x10]);
        assert_eq!(code(drive.command(&packet(&[0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8]))), (5, 0x24, 0));
        let mode = ask(&drive, &[0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 0x20]);
        assert_eq!((mode.len(), mode[1], mode[8], mode[9]), (30, 28, 0x2a, 0x14));
        // A DVD has a structure, a CD has none.
        let structure = drive.command(&packet(&[0xad, 0, 0, 0, 0, 0, 0, 0, 0x08, 0]));
        match (profile, structure) {
            (0x10, Reply::Data(data)) => {
                assert_eq!(data[..2], [0, 21]);
                assert_eq!(data[8..12], [0, 0x03, 0, 0]);
            }
            (_, reply) => assert_eq!(code(reply), (5, 0x30, 2)),
        }
        let disc = ask(&drive, &[0x51, 0, 0, 0, 0, 0, 0, 0, 34]);
        assert_eq!((disc.len(), disc[2], disc[3..7].to_vec()), (34, 0x0e, vec![1; 4]));
    }
}

fn features(answer: &[u8]) -> Vec<(u16, bool)> {
    let length = u32::from_be_bytes(answer[..4].try_into().unwrap());
    assert_eq!(length as usize, answer.len() - 4);
    let mut rest = &answer[8..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        found.push((u16::from_be_bytes([rest[0], rest[1]]), rest[2] & 1 != 0));
        rest = &rest[4 + usize::from(rest[3])..];
    }
    found
}

#[test]
fn contents_are_one_track_up_to_the_lead_out() {
    let drive = with_disc(1000);
    assert_eq!(
        ask(&drive, &[0x43, 0, 0, 0, 0, 0, 0, 0xff, 0]),
        [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xaa, 0, 0, 0, 3, 0xe8]
    );
    // In minutes: 1000 + 150 blocks are 15 seconds and 25 blocks.
    let minutes = ask(&drive, &[0x43, 2, 0, 0, 0, 0, 0xaa, 0xff, 0]);
    assert_eq!(minutes, [0, 10, 1, 1, 0, 0x14, 0xaa, 0, 0, 0, 15, 25]);
    assert_eq!(ask(&drive, &[0x43, 0, 1, 0, 0, 0, 0, 0, 12]), [0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0]);
    assert_eq!(ask(&drive, &[0x43, 0, 0, 0, 0, 0, 0, 0, 12, 0x40])[3], 1, "sessions, as first asked for");
    let raw = ask(&drive, &[0x43, 2, 2, 0, 0, 0, 0, 0xff, 0]);
    let points: Vec<u8> = raw[4..].chunks(11).map(|entry| entry[3]).collect();
    assert_eq!(points, [0xa0, 0xa1, 0xa2, 1]);
    assert_eq!(code(drive.command(&packet(&[0x43, 0, 0, 0, 0, 0, 2, 0xff, 0]))), (5, 0x24, 0));
    assert_eq!(code(drive.command(&packet(&[0x43, 0, 5, 0, 0, 0, 0, 0xff, 0]))), (5, 0x24, 0));
    assert_eq!(ask(&drive, &[0x52, 1, 0, 0, 0, 1, 0, 0, 36])[24..28], [0, 0, 3, 0xe8]);
}

#[test]
fn blocks_are_read() {
    let drive = with_disc(100);
    assert_eq!(bytes(&drive, &[0x28, 0, 0, 0, 0, 7, 0, 0, 1]).unwrap(), [7; 2048]);
    let all = bytes(&drive, &[0xa8, 0, 0, 0, 0, 0, 0, 0, 0, 100]).unwrap();
    assert!(all.chunks(2048).zip(0..).all(|(block, at)| block.iter().all(|byte| *byte == at)));
    // READ CD: data, raw, nothing.
    let data = bytes(&drive, &[0xbe, 0, 0, 0, 0, 9, 0, 0, 2, 0x10]).unwrap();
    assert_eq!(data, [vec![9; 2048], vec![10; 2048]].concat());
    let raw = bytes(&drive, &[0xbe, 8, 0, 0, 0, 99, 0, 0, 1, 0xf8]).unwrap();
    assert_eq!(
        (raw.len(), &raw[..16]),
        (2352, &b"\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\x00\x03\x24\x01"[..])
    );
    assert_eq!(raw[16..2064], [99; 2048]);
    assert!(matches!(drive.command(&packet(&[0xbe, 0, 0, 0, 0, 9, 0, 0, 2, 0])), Reply::Done));
    assert!(matches!(drive.command(&packet(&[0x28, 0, 0, 0, 0, 100])), Reply::Done), "no blocks at the end");
    for (command, expected) in [
        (&[0x28, 0, 0, 0, 0, 99, 0, 0, 2][..], (5, 0x21, 0)),
        (&[0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1], (5, 0x21, 0)),
        (&[0xa8, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff], (5, 0x21, 0)),
        (&[0xbe, 4, 0, 0, 0, 9, 0, 0, 2, 0x10], (5, 0x64, 0)),
        (&[0xbe, 0, 0, 0, 0, 9, 0, 0, 2, 0x10, 1], (5, 0x24, 0)),
        (&[0xb9], (5, 0x20, 0)),
        (&[0xa4], (5, 0x20, 0)),
        (&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1], (5, 0x20, 0)),
    ] {
        assert_eq!(code(drive.command(&packet(command))), expected, "{command:x?}");
        assert_eq!(sense(&drive), expected);
    }
}

#[test]
fn a_block_that_cannot_be_read_is_named_and_those_before_it_arrive() {
    let disc = Arc::new(Pattern { blocks: 100, bad: 40..41 });
    let drive = settled(Drive::new(identity(), Some(("a".into(), disc as _))));
    assert_eq!(bytes(&drive, &[0x28, 0, 0, 0, 0, 10, 0, 0, 60]), Err(40));
    let sense = ask(&drive, &[3, 0, 0, 0, 18]);
    assert_eq!((sense[0], sense[2], &sense[3..7], sense[12]), (0xf0, 3, &[0, 0, 0, 40][..], 0x11));
    assert!(bytes(&drive, &[0x28, 0, 0, 0, 0, 41, 0, 0, 59]).is_ok());
}

#[test]
fn an_empty_drive_says_so() {
    let drive = empty();
    for command in [0x00, 0x25, 0x28, 0x43, 0x51, 0x52, 0xad, 0xbe] {
        assert_eq!(code(drive.command(&packet(&[command]))), (2, 0x3a, 1), "{command:x}");
    }
    assert_eq!(ask(&drive, &[0x46, 0, 0, 0, 0, 0, 0, 0, 8])[6..], [0, 0]);
    assert_eq!(poll(&drive), (0, 0));
    assert_eq!(ask(&drive, &[0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8]).len(), 8);
}

#[test]
fn mode_pages_are_whole_and_cannot_be_changed() {
    let drive = with_disc(10);
    let all = ask(&drive, &[0x5a, 0, 0x3f, 0, 0, 0, 0, 1, 0]);
    assert_eq!(usize::from(u16::from_be_bytes([all[0], all[1]])), all.len() - 2);
    let mut rest = &all[8..];
    let mut codes = Vec::new();
    while !rest.is_empty() {
        codes.push(rest[0]);
        rest = &rest[2 + usize::from(rest[1])..];
    }
    assert_eq!(codes, [0x01, 0x0e, 0x1a, 0x1d, 0x2a]);
    let changeable = ask(&drive, &[0x5a, 0, 0x7f, 0, 0, 0, 0, 1, 0]);
    assert_eq!(changeable.len(), all.len());
    assert_eq!(changeable[10..20], [0; 10]);
    let short = ask(&drive, &[0x1a, 0, 0x2a, 0, 0xff]);
    assert_eq!((usize::from(short[0]), short[4]), (short.len() - 1, 0x2a));
    drive.command(&packet(&[0x1e, 0, 0, 0, 1]));
    assert_eq!(ask(&drive, &[0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 0x20])[14], 0x2b, "locked");
    assert_eq!(code(drive.command(&packet(&[0x5a, 0, 0x08, 0, 0, 0, 0, 1, 0]))), (5, 0x24, 0));
    assert!(matches!(drive.command(&packet(&[0x55, 0x10, 0, 0, 0, 0, 0, 0, 20])), Reply::Take(20)));
}

#[test]
fn vital_data_has_serial_number_and_name() {
    let drive = with_disc(10);
    assert_eq!(ask(&drive, &[0x12, 1, 0, 0, 0xff]), [5, 0, 0, 3, 0, 0x80, 0x83]);
    assert_eq!(&ask(&drive, &[0x12, 1, 0x80, 0, 0xff])[4..], b"S1                  ");
    let name = ask(&drive, &[0x12, 1, 0x83, 0, 0xff]);
    assert_eq!((name[3], name[4], name[5], name[7]), (48, 2, 1, 44));
    assert_eq!(code(drive.command(&packet(&[0x12, 1, 0x42, 0, 0xff]))), (5, 0x24, 0));
    assert_eq!(code(drive.command(&packet(&[0x12, 0, 0x80, 0, 0xff]))), (5, 0x24, 0));
    assert_eq!(ask(&drive, &[0x12, 0, 0, 0, 5]).len(), 5, "as much as there is room for");
    assert_eq!(ask(&drive, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16])[..4], [0, 0, 0, 8]);
}
