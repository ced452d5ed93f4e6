//! Connections that become the serial port's.

use std::io::Read;

use super::*;

fn attach(rig: &Rig) -> Client {
    let mut client = rig.client();
    assert_eq!(client.ask("console", json!({})), json!({ "return": {} }));
    client
}

fn read(client: &mut Client, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    client.0.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn several_read_along_and_see_some_of_the_past() {
    let rig = Rig::new();
    rig.output.push(b"past ");
    let (mut one, mut other) = (attach(&rig), attach(&rig));
    rig.output.push(b"present");
    assert_eq!(read(&mut one, 12), b"past present");
    assert_eq!(read(&mut other, 12), b"past present");
    drop(one);
    rig.output.push(b"!");
    assert_eq!(read(&mut other, 1), b"!");
}

#[test]
fn much_output_reaches_a_reader_and_holds_up_nobody_without_one() {
    let rig = Rig::new();
    let (mut reader, _deaf) = (attach(&rig), attach(&rig));
    let mut expected: u8 = 0;
    for round in 0..400_u32 {
        let chunk: Vec<u8> = (0..10_000_u32).map(|at| ((round * 10_000 + at) % 251) as u8).collect();
        rig.output.push(&chunk);
        for byte in read(&mut reader, chunk.len()) {
            assert_eq!(byte, expected);
            expected = (expected + 1) % 251;
        }
    }
    assert_eq!(rig.client().ask("query-name", json!({}))["return"]["name"], "vm");
}

#[test]
fn input_waits_until_the_guest_reads_and_none_is_lost() {
    let rig = Rig::new();
    rig.port.room.store(3, Ordering::SeqCst);
    let mut client = rig.client();
    // Typed in the same breath as the command.
    client.send(b"{\"execute\":\"console\"}\nabcde");
    assert_eq!(client.line(), json!({ "return": {} }));
    until(|| rig.port.taken.lock().unwrap().len() == 3);
    let typed: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    let mut stream = client.0.get_ref().try_clone().unwrap();
    let sent = typed.clone();
    let sending = std::thread::spawn(move || stream.write_all(&sent).unwrap());
    until(|| {
        rig.port.room.store(1500, Ordering::SeqCst);
        rig.room.write(1).unwrap();
        rig.port.taken.lock().unwrap().len() == typed.len() + 5
    });
    sending.join().unwrap();
    assert_eq!(*rig.port.taken.lock().unwrap(), [b"abcde", &typed[..]].concat());
}

#[test]
fn events_are_kept_out_of_the_console() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.ask("qmp_capabilities", json!({}));
    client.ask("console", json!({}));
    rig.announcer.announce(&Announcement::PowerButton);
    until(|| rig.announcer.waiting() == 0);
    rig.output.push(b"only this");
    assert_eq!(read(&mut client, 9), b"only this");
}
