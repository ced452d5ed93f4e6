//! Commands and their answers.

use proptest::prelude::*;

use super::super::line::LONGEST;
use super::*;

#[test]
fn commands_are_performed() {
    let rig = Rig::new();
    let mut client = rig.client();
    for (execute, expected) in [
        ("qmp_capabilities", json!({})),
        ("query-name", json!({ "name": "vm" })),
        ("system_powerdown", json!({})),
        ("system_reset", json!({})),
        ("quit", json!({})),
    ] {
        assert_eq!(client.ask(execute, json!({})), json!({ "return": expected }), "{execute}");
    }
    assert_eq!(*rig.asked.lock().unwrap(), [Ask::PowerButton, Ask::Reset, Ask::Quit]);
    let commands = client.ask("query-commands", json!({}));
    let commands = commands["return"].as_array().unwrap();
    for command in commands {
        let answer = client.ask(command["name"].as_str().unwrap(), json!({ "nonsense": 1 }));
        assert_eq!(answer["error"]["class"], "GenericError", "{command}: {answer}");
    }
    assert_eq!(commands.len(), 13);
}

#[test]
fn a_status_tells_what_there_is() {
    let rig = Rig::new();
    let status = rig.client().ask("query-status", json!({}));
    let status = &status["return"];
    let expected = json!({
        "running": true, "status": "running", "name": "vm", "pid": std::process::id(), "uptime": status["uptime"],
        "vcpus": 2, "memory": 1 << 30, "exits": 42, "resets": 0, "screen": { "present": false },
        "devices": [{ "key": "dgpu", "host": "0000:01:00.0" }],
    });
    assert_eq!(*status, expected);
    assert!(status["uptime"].as_u64().unwrap() < 60);
}

#[test]
fn a_stopped_machine_says_so() {
    let rig = Rig::new();
    let mut client = rig.client();
    rig.herald.announce(&Announcement::Stopped("guest-panicked"));
    let status = client.ask("query-status", json!({}));
    assert_eq!(
        (&status["return"]["running"], &status["return"]["status"]),
        (&json!(false), &json!("guest-panicked"))
    );
    assert!(client.refusal("system_powerdown", json!({})).contains("is stopped (guest-panicked)"));
    assert!(rig.asked.lock().unwrap().is_empty());
    rig.herald.announce(&Announcement::Reset { guest: false });
    let status = client.ask("query-status", json!({}));
    assert_eq!((&status["return"]["status"], &status["return"]["resets"]), (&json!("running"), &json!(1)));
}

#[test]
fn answers_come_in_order_with_their_ids() {
    let rig = Rig::new();
    let mut client = rig.client();
    let many: String =
        (0..2000).map(|id| format!("{}\n", json!({ "execute": "query-status", "id": id }))).collect();
    let mut sender = client.0.get_ref().try_clone().unwrap();
    let sending = std::thread::spawn(move || sender.write_all(many.as_bytes()).unwrap());
    for id in 0..2000 {
        assert_eq!(client.line()["id"], id);
    }
    sending.join().unwrap();
}

#[test]
fn what_is_wrong_is_explained_and_the_connection_goes_on() {
    let rig = Rig::new();
    let mut client = rig.client();
    for (execute, arguments, expected) in [
        ("query-statu", json!({}), "there is no command `query-statu`"),
        ("query-status", json!({ "verbose": true }), "unknown field `verbose`"),
        ("qmp_capabilities", json!({ "enable": ["oob"] }), "no capability `oob`"),
        ("screendump", json!({}), "missing field `filename`"),
        ("screendump", json!({ "filename": "a", "format": "ppm" }), "must be \"png\""),
        ("screendump", json!({ "filename": "a" }), "has no screen"),
        ("type", json!({ "text": "a" }), "neither keyboard nor mouse"),
        ("send-key", json!({ "keys": [] }), "1 to 16 keys"),
        ("send-key", json!({ "keys": ["ctr"] }), "there is no key"),
        ("send-key", json!({ "keys": ["a"], "hold-time": 99999 }), "at most 10000 milliseconds"),
        ("input-send-event", json!({ "events": [{ "type": "abs", "data": {} }] }), "unknown variant `abs`"),
        (
            "input-send-event",
            json!({ "events": [{ "type": "btn", "data": { "down": true, "button": "x" } }] }),
            "no button `x`",
        ),
    ] {
        let said = client.refusal(execute, arguments);
        assert!(said.contains(expected), "{execute}: {said}");
    }
    client.send(b"\x00\xff\n\r\n{}\n");
    assert!(client.line()["error"]["desc"].as_str().unwrap().contains("no JSON"));
    assert!(client.line()["error"]["desc"].as_str().unwrap().contains("`execute`"));
    client.send(&vec![b'x'; 3 * LONGEST]);
    client.send(b"\n");
    assert!(client.line()["error"]["desc"].as_str().unwrap().contains("at most 65536 bytes"));
    assert_eq!(client.ask("query-name", json!({}))["return"]["name"], "vm");
}

#[test]
fn events_are_told_to_who_wants_them() {
    let mut rig = Rig::new();
    let (mut eager, mut other) = (rig.client(), rig.client());
    eager.ask("qmp_capabilities", json!({}));
    rig.herald.announce(&Announcement::PowerButton);
    assert_eq!(eager.line()["event"], "POWERDOWN");
    rig.herald.announce(&Announcement::Reset { guest: true });
    let reset = eager.line();
    assert_eq!((&reset["event"], &reset["data"]["guest"]), (&json!("RESET"), &json!(true)));
    assert_eq!(other.ask("query-name", json!({}))["return"]["name"], "vm");
    // The last words are said even when the loop runs no more.
    rig.ending.store(true, Ordering::SeqCst);
    rig.herald.announce(&Announcement::Ended { guest: false, reason: "host-signal" });
    let end = eager.line();
    assert_eq!((&end["event"], &end["data"]["reason"]), (&json!("SHUTDOWN"), &json!("host-signal")));
    rig.end();
    assert_eq!(eager.try_line(), None);
    assert_eq!(other.try_line(), None);
    assert!(!rig.path.exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is sent, every line of it has one answer at most, and the next client is served.
    #[test]
    fn no_stream_of_bytes_is_too_odd(
        parts in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300),
                Just(b"\n".to_vec()),
                Just(br#"{"execute":"query-status"}"#.to_vec()),
                Just(br#"{"execute":"type","arguments":{"text":"a"}}"#.to_vec()),
                (0_usize..3 * LONGEST).prop_map(|size| vec![b'{'; size]),
            ],
            0..20,
        ),
    ) {
        let rig = Rig::new();
        let mut client = rig.client();
        let all = parts.concat();
        let lines = all.iter().filter(|byte| **byte == b'\n').count();
        let stream = client.0.get_ref().try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            // It may be dropped on the way.
            let _ = (&stream).write_all(&all);
            let _ = stream.shutdown(std::net::Shutdown::Write);
        });
        let mut answers = 0;
        while client.try_line().is_some() {
            answers += 1;
        }
        sending.join().unwrap();
        // A last line without an end may be told to be too long.
        prop_assert!(answers <= lines + 1);
        prop_assert_eq!(&rig.client().ask("query-name", json!({}))["return"]["name"], "vm");
    }
}
