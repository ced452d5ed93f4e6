//! Handshakes of all versions, and the password.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use super::{Canvas, Direct, Notes, talk};
use crate::vnc::password::{Password, PasswordError};
use crate::vnc::protocol::Violation;
use crate::vnc::session::{End, Stage};

const CHALLENGE: &[u8; 16] = b"0123456789abcdef";

fn direct(password: Option<&[u8]>) -> Direct {
    Direct::new(&Canvas::new(4, 3), &Arc::new(Notes::default()), password)
}

/// ServerInit of that screen.
fn init() -> Vec<u8> {
    let mut init = vec![0, 4, 0, 3, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0, 0, 0, 0, 4];
    init.extend(b"test");
    init
}

#[test]
fn every_version_gets_what_it_expects() {
    let answer = Password::new(b"secret").answer(*CHALLENGE);
    let challenge = &CHALLENGE[..];
    let ok = [0_u8; 4];
    // Version; what is said after it without and with a password; what is heard, the version of the server aside.
    for (version, says_none, heard_none, says, heard) in [
        (
            "003.003",
            vec![1],
            vec![&[0, 0, 0, 1][..]],
            vec![&answer[..], &[1]],
            vec![&[0, 0, 0, 2], challenge, &ok],
        ),
        (
            "003.005",
            vec![1],
            vec![&[0, 0, 0, 1][..]],
            vec![&answer[..], &[1]],
            vec![&[0, 0, 0, 2], challenge, &ok],
        ),
        ("003.007", vec![1, 1], vec![&[1, 1]], vec![&[2], &answer[..], &[0]], vec![&[1, 2], challenge, &ok]),
        (
            "003.008",
            vec![1, 0],
            vec![&[1, 1], &ok],
            vec![&[2], &answer[..], &[0]],
            vec![&[1, 2], challenge, &ok],
        ),
        (
            "003.889",
            vec![1, 0],
            vec![&[1, 1], &ok],
            vec![&[2], &answer[..], &[0]],
            vec![&[1, 2], challenge, &ok],
        ),
        (
            "004.001",
            vec![1, 0],
            vec![&[1, 1], &ok],
            vec![&[2], &answer[..], &[0]],
            vec![&[1, 2], challenge, &ok],
        ),
    ] {
        let begin = format!("RFB {version}\n").into_bytes();
        let mut open = direct(None);
        let wanted = [b"RFB 003.008\n", heard_none.concat().as_slice(), &init()].concat();
        assert_eq!(talk(&mut open, &[begin.clone(), says_none].concat()), wanted, "{version}");
        let mut closed = direct(Some(b"secret"));
        let wanted = [b"RFB 003.008\n", heard.concat().as_slice(), &init()].concat();
        let says = [begin, says.concat()].concat();
        // Byte by byte, too.
        assert_eq!(talk(&mut closed, &says), wanted, "{version}");
        let mut slow = direct(Some(b"secret"));
        let all: Vec<u8> = says.iter().flat_map(|byte| talk(&mut slow, &[*byte])).collect();
        assert_eq!(all, wanted, "{version}");
    }
}

#[test]
fn what_is_no_handshake_ends_it_at_once() {
    for (says, end) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], Violation::Version),
        (b"R\n", Violation::Version),
        (b"RFB x03.008\n", Violation::Version),
        (b"RFB 002.000\n", Violation::Version),
        (b"RFB 003.008\n\x02", Violation::Security),
        (b"RFB 003.007\n\x00", Violation::Security),
        (b"RFB 003.008\n\x13", Violation::Security),
    ] {
        let mut direct = direct(None);
        talk(&mut direct, says);
        assert_eq!(direct.end, Some(End::Violation(end)), "{says:?}");
    }
    // To choose none does not help where there is a password.
    let mut direct = direct(Some(b"secret"));
    talk(&mut direct, b"RFB 003.008\n\x01\x01");
    assert_eq!(direct.end, Some(End::Violation(Violation::Security)));
}

#[test]
fn who_has_given_the_password_stays_authenticated() {
    let mut viewer = direct(Some(b"secret"));
    let answer = Password::new(b"secret").answer(*CHALLENGE);
    let mut stages = vec![viewer.session.stage()];
    for says in [&b"RFB 003.008\n"[..], &[2], &answer, &[1]] {
        talk(&mut viewer, says);
        stages.push(viewer.session.stage());
    }
    assert_eq!(stages, [Stage::Silent, Stage::Spoke, Stage::Asked, Stage::Asked, Stage::Admitted]);
    // Without a password everybody comes this far.
    let mut open = direct(None);
    talk(&mut open, b"RFB 003.008\n\x01");
    assert_eq!(open.session.stage(), Stage::Spoke);
}

#[test]
fn a_wrong_password_is_reported_after_a_while() {
    for (version, choice, len) in [("003", &b""[..], 4), ("007", b"\x02", 4), ("008", b"\x02", 4 + 4 + 22)] {
        let mut direct = direct(Some(b"secret"));
        let says = [format!("RFB 003.{version}\n").as_bytes(), choice, &[7; 16]].concat();
        let heard = talk(&mut direct, &says);
        assert!(heard.ends_with(CHALLENGE), "nothing is sent yet");
        // Nothing more is read meanwhile: one guess at a time.
        assert_eq!(direct.session.room(), 0);
        direct.pass(Duration::from_millis(500));
        assert!(direct.session.output().is_empty());
        direct.pass(Duration::from_secs(2));
        let heard = talk(&mut direct, &[]);
        assert_eq!((heard.len(), &heard[..4]), (len, &[0, 0, 0, 1][..]));
        direct.pass(Duration::ZERO);
        assert_eq!(direct.end, Some(End::WrongPassword));
    }
}

#[test]
fn silence_ends_a_handshake() {
    for (says, password, limit) in [
        (&b""[..], None, 10),
        (b"RFB 003", None, 10),
        (b"RFB 003.008\n", None, 10),
        (b"RFB 003.008\n\x01", None, 10),
        (b"RFB 003.008\n\x02", Some(&b"x"[..]), 120),
    ] {
        let mut direct = direct(password);
        talk(&mut direct, says);
        direct.pass(Duration::from_secs(limit - 1));
        assert_eq!(direct.end, None, "{says:?}");
        direct.pass(Duration::from_secs(1));
        assert_eq!(direct.end, Some(End::Silent), "{says:?}");
    }
    // A byte now and then does not help.
    let mut direct = direct(None);
    for byte in b"RFB 003.008\n\x01" {
        talk(&mut direct, &[*byte]);
        direct.pass(Duration::from_secs(9) + Duration::from_millis(900));
    }
    direct.pass(Duration::from_secs(9));
    assert_eq!(direct.end, Some(End::Silent));
}

/// Of FIPS 81 (the key with mirrored bytes, as VNC has it) and of sessions of other servers.
#[test]
fn passwords_are_keys_of_des() {
    let mirrored = 0x0123_4567_89AB_CDEF_u64.to_be_bytes().map(u8::reverse_bits);
    let answer = Password::new(&mirrored).answer(*b"Now is the time ");
    assert_eq!(answer[..8], 0x3FA4_0E8A_984D_4815_u64.to_be_bytes());
    assert_eq!(answer[8..], 0x6A27_1787_AB88_83F9_u64.to_be_bytes());
    // Eight bytes count.
    let challenge = [9; 16];
    let long = Password::new(b"password, and more");
    assert!(Password::new(b"password").accepts(challenge, long.answer(challenge)));
    assert!(!Password::new(b"passwor").accepts(challenge, long.answer(challenge)));
}

#[test]
fn password_files_are_private_and_have_a_first_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    assert!(matches!(Password::read(&path), Err(PasswordError::Read { .. })));
    for (text, mode, password) in [
        (&b"secret\nmore"[..], 0o600, Some(&b"secret"[..])),
        (b"secret", 0o400, Some(b"secret")),
        (b"secret\r\n", 0o600, Some(b"secret")),
        (b" sec ret", 0o600, Some(b" sec ret")),
        (b"\nsecret", 0o600, None),
        (b"", 0o600, None),
        (b"secret", 0o640, None),
        (b"secret", 0o604, None),
    ] {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let read = Password::read(&path);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        match (password, read) {
            (Some(password), Ok(read)) => {
                assert!(Password::new(password).accepts([1; 16], read.answer([1; 16])));
            }
            (None, Err(error)) => {
                let (public, text) = (mode & 0o077 != 0, error.to_string());
                assert_eq!(public, matches!(error, PasswordError::Public { .. }), "{text}");
                assert!(text.contains(path.to_str().unwrap()), "{text}");
            }
            (_, other) => panic!("{text:?} {mode:o}: {other:?}"),
        }
    }
}

#[test]
fn a_password_file_is_the_users_own_and_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    let (sender, read) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(Password::read(&fifo).unwrap_err().to_string()));
    let error = read.recv_timeout(Duration::from_secs(60)).expect("it waits for a writer");
    assert!(error.contains("it is a FIFO"), "{error}");

    // Only root can give files away.
    if rustix::process::geteuid().is_root() {
        let path = folder.path().join("password");
        std::fs::write(&path, "secret").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        rustix::fs::chown(&path, Some(rustix::fs::Uid::from_raw(1)), None).unwrap();
        let error = Password::read(&path).unwrap_err();
        assert!(matches!(error, PasswordError::Foreign { owner: 1, user: 0, .. }), "{error}");
    }
}
