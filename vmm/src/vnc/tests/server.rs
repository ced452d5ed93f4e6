//! The server behind real sockets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use devices::display::Rect;
use devices::input::Layout;
use vocabulary::VncAddress;

use super::viewer::{Viewer, expected};
use super::{Canvas, Notes};
use crate::vnc::session::READ_WITHIN;
use crate::vnc::{Options, Password, Reserved, Server};

/// Nothing here takes so long.
const LIMIT: Duration = Duration::from_secs(20);

fn options(address: VncAddress) -> Options {
    Options { address, password: None, name: "test".into(), layout: Layout::default() }
}

fn start(canvas: &Canvas) -> Server {
    let address = VncAddress::Tcp(([127, 0, 0, 1], 0).into());
    start_with(options(address), canvas)
}

/// Behind a socket of the file system: it takes less than a MiB that nobody reads, where TCP takes several.
fn start_in(folder: &Path, canvas: &Canvas) -> Server {
    start_with(options(VncAddress::Unix(folder.join("vnc.sock"))), canvas)
}

/// Wrong passwords are answered at once.
fn start_with(options: Options, canvas: &Canvas) -> Server {
    let reserved = Reserved::new(options).unwrap();
    Server::of(reserved, Arc::new(canvas.clone()), Arc::new(Notes::default()), Duration::ZERO).unwrap()
}

fn connect_unix(server: &Server) -> UnixStream {
    let VncAddress::Unix(path) = server.address() else { panic!("a path") };
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

fn connect(server: &Server) -> TcpStream {
    let VncAddress::Tcp(address) = server.address() else { panic!("a TCP address") };
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits for the end of a connection.
fn assert_over(mut stream: impl Read) {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
            Err(error) => panic!("the connection is still there: {error}"),
        }
    }
}

fn assert_sees<S: Read + Write>(viewer: &mut Viewer<S>, canvas: &Canvas) {
    viewer.request(false).unwrap();
    viewer.update().unwrap();
    let wanted: Vec<_> =
        canvas.frame().pixels.iter().map(|colour| expected(viewer.format, *colour)).collect();
    assert_eq!(viewer.pixels, wanted);
}

#[test]
fn viewers_see_changes_as_they_happen() {
    let canvas = Canvas::new(640, 480);
    let server = start(&canvas);
    let mut viewers: Vec<_> = (0..3).map(|_| Viewer::new(connect(&server), true).unwrap()).collect();
    for (viewer, encoding) in viewers.iter_mut().zip([16, 7, 5]) {
        viewer.set_encodings(&[encoding]).unwrap();
        assert_sees(viewer, &canvas);
        viewer.request(true).unwrap();
    }
    canvas.paint(Rect { x: 100, y: 100, width: 50, height: 50 }, |x, y| x * y);
    for viewer in &mut viewers {
        viewer.update().unwrap();
        assert_eq!(viewer.pixels, canvas.frame().pixels);
    }
    drop(server);
    for viewer in viewers {
        assert_over(viewer.stream);
    }
    assert_eq!(canvas.views(), 0);
}

#[test]
fn a_socket_that_is_full_holds_up_nobody_else() {
    let canvas = Canvas::new(64, 48);
    let folder = tempfile::tempdir().unwrap();
    let server = start_in(folder.path(), &canvas);
    let mut viewers: Vec<_> = (0..3).map(|_| Viewer::new(connect_unix(&server), true).unwrap()).collect();
    let mut lazy = Viewer::new(connect_unix(&server), true).unwrap();
    for viewer in &mut viewers {
        viewer.set_encodings(&[16, -223]).unwrap();
        assert_sees(viewer, &canvas);
        viewer.request(true).unwrap();
    }
    canvas.resize(640, 480);
    lazy.request(false).unwrap();
    for viewer in &mut viewers {
        viewer.update().unwrap();
        assert_sees(viewer, &canvas);
    }
}

#[test]
fn who_wants_the_screen_alone_gets_it() {
    let canvas = Canvas::new(32, 32);
    let server = start(&canvas);
    let first = Viewer::new(connect(&server), true).unwrap();
    let second = Viewer::new(connect(&server), true).unwrap();
    let mut alone = Viewer::new(connect(&server), false).unwrap();
    assert_over(first.stream);
    assert_over(second.stream);
    assert_sees(&mut alone, &canvas);
    assert!(Viewer::new(connect(&server), true).is_err(), "nobody joins it");
    assert_sees(&mut alone, &canvas);
    let mut next = Viewer::new(connect(&server), false).unwrap();
    assert_over(alone.stream);
    assert_sees(&mut next, &canvas);
    drop(next);
    until("the last one has gone", || canvas.views() == 0);
    assert_sees(&mut Viewer::new(connect(&server), true).unwrap(), &canvas);
}

#[test]
fn sixteen_are_enough() {
    let canvas = Canvas::new(32, 32);
    let server = start(&canvas);
    let mut viewers: Vec<_> = (0..16).map(|_| Viewer::new(connect(&server), true).unwrap()).collect();
    // The next one is sent the reason.
    for (version, offer) in [("003.008", &[0][..]), ("003.007", &[0]), ("003.003", &[0; 4])] {
        let mut stream = connect(&server);
        stream.write_all(format!("RFB {version}\n").as_bytes()).unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        let why = b"There are too many VNC clients already.";
        assert_eq!(heard, [b"RFB 003.008\n", offer, &[0, 0, 0, 39], why].concat());
    }
    viewers.pop();
    until("there is room again", || canvas.views() == 15);
    until("one more", || Viewer::new(connect(&server), true).is_ok());
    assert_sees(&mut viewers[0], &canvas);
}

#[test]
fn the_end_is_prompt_whatever_clients_do() {
    let canvas = Canvas::new(640, 480);
    let folder = tempfile::tempdir().unwrap();
    let server = start_in(folder.path(), &canvas);
    let silent = connect_unix(&server);
    let mut half = connect_unix(&server);
    half.write_all(b"RFB 003").unwrap();
    let mut stalled = Viewer::new(connect_unix(&server), true).unwrap();
    stalled.request(false).unwrap();
    let mut waiting = Viewer::new(connect_unix(&server), true).unwrap();
    assert_sees(&mut waiting, &canvas);
    waiting.request(true).unwrap();
    let ended = std::thread::spawn(move || drop(server));
    // Before the one that does not read is dropped for it.
    const { assert!(LIMIT.as_secs() < READ_WITHIN.as_secs()) };
    until("the end", || ended.is_finished());
    assert_over(silent);
    assert_over(half);
    assert_over(waiting.stream);
    assert_eq!(canvas.views(), 0);
}

#[test]
fn a_socket_of_the_file_system_comes_and_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vnc.sock");
    let address = VncAddress::Unix(path.clone());
    let canvas = Canvas::new(32, 32);
    // One that a program left behind is no hindrance.
    drop(UnixListener::bind(&path).unwrap());
    let begin =
        || Server::start(options(address.clone()), Arc::new(canvas.clone()), Arc::new(Notes::default()));
    let server = begin().unwrap();
    assert_eq!(server.address(), &address);
    let stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    assert_sees(&mut Viewer::new(stream, true).unwrap(), &canvas);
    let error = begin().unwrap_err().to_string();
    assert!(
        error
            .starts_with(&format!("cannot listen on the socket {} for VNC: another program", path.display()))
    );
    drop(server);
    assert!(!Path::new(&path).exists());
}

#[test]
fn a_port_that_is_taken_is_reported() {
    let canvas = Canvas::new(32, 32);
    let server = start(&canvas);
    let again = options(server.address().clone());
    let error = Server::start(again, Arc::new(canvas.clone()), Arc::new(Notes::default())).unwrap_err();
    let VncAddress::Tcp(address) = server.address() else { panic!("a TCP address") };
    let wanted = format!(
        "cannot listen on {address} for VNC: another program has this port; `ss -ltnp 'sport = :{}'` tells which; choose another one",
        address.port()
    );
    assert_eq!(error.to_string(), wanted);
    let foreign = options(VncAddress::Tcp(([192, 0, 2, 1], 5900).into()));
    let error = Server::start(foreign, Arc::new(canvas), Arc::new(Notes::default())).unwrap_err().to_string();
    assert!(error.contains("no such address"), "{error}");
}

#[test]
fn a_password_is_asked_for() {
    let canvas = Canvas::new(32, 32);
    let password = Some(Password::new(b"secret"));
    let address = VncAddress::Tcp(([127, 0, 0, 1], 0).into());
    let options = Options { password, ..options(address) };
    let server = start_with(options, &canvas);
    let mut challenges = Vec::new();
    for right in [true, true, false] {
        let mut stream = connect(&server);
        stream.write_all(b"RFB 003.008\n\x02").unwrap();
        let mut heard = [0; 12 + 2 + 16];
        stream.read_exact(&mut heard).unwrap();
        let challenge = heard[14..].try_into().unwrap();
        challenges.push(challenge);
        let mut answer = Password::new(b"secret").answer(challenge);
        answer[15] ^= u8::from(!right);
        stream.write_all(&answer).unwrap();
        let mut result = [0; 4];
        stream.read_exact(&mut result).unwrap();
        assert_eq!(result, [0, 0, 0, u8::from(!right)]);
        if right {
            stream.write_all(&[1]).unwrap();
            assert_sees(&mut Viewer::initialise(stream).unwrap(), &canvas);
        } else {
            assert_over(stream);
        }
    }
    challenges.dedup();
    assert_eq!(challenges.len(), 3, "no challenge twice");
}

#[test]
fn a_password_can_be_typed_while_unauthenticated_clients_storm() {
    let canvas = Canvas::new(32, 32);
    let address = VncAddress::Tcp(([127, 0, 0, 1], 0).into());
    let options = Options { password: Some(Password::new(b"secret")), ..options(address) };
    let server = start_with(options, &canvas);
    let ask = || -> std::io::Result<(TcpStream, [u8; 16])> {
        let mut stream = connect(&server);
        stream.write_all(b"RFB 003.008\n\x02")?;
        let mut heard = [0; 12 + 2 + 16];
        stream.read_exact(&mut heard)?;
        Ok((stream, heard[14..].try_into().unwrap()))
    };
    let (mut owner, challenge) = ask().unwrap();
    // Silent ones, half ones, and some that are as far as the owner is.
    let mut others = Vec::new();
    for round in 0..90 {
        let mut other = connect(&server);
        if round % 3 == 1 {
            // The server may have sent it away already.
            let _ = other.write_all(b"RFB 003");
        }
        others.push(other);
        if round % 10 == 0
            && let Ok((other, _)) = ask()
        {
            others.push(other);
        }
    }
    owner.write_all(&Password::new(b"secret").answer(challenge)).unwrap();
    let mut result = [1; 4];
    owner.read_exact(&mut result).unwrap();
    assert_eq!(result, [0; 4]);
    owner.write_all(&[1]).unwrap();
    let mut owner = Viewer::initialise(owner).unwrap();
    // Once it is in, nobody takes its place.
    others.extend((0..40).map(|_| connect(&server)));
    assert_sees(&mut owner, &canvas);
    drop(others);
    until("the others are gone", || server.clients() == 1);
}

#[test]
fn storms_leave_nothing_behind() {
    let canvas = Canvas::new(300, 200);
    let server = start(&canvas);
    for round in 0..60 {
        let mut stream = connect(&server);
        match round % 6 {
            0 => drop(stream),
            1 => stream.write_all(&[round; 200]).unwrap_or(()),
            2 => stream.write_all(b"RFB 003.008\n").unwrap(),
            3 => drop(Viewer::new(stream, true).unwrap()),
            4 => Viewer::new(stream, true).unwrap().request(false).unwrap(),
            _ => assert_sees(&mut Viewer::new(stream, true).unwrap(), &canvas),
        }
    }
    until("all views are gone", || canvas.views() == 0);
    until("all clients are gone", || server.clients() == 0);
    assert_sees(&mut Viewer::new(connect(&server), true).unwrap(), &canvas);
}
