//! Commands and their answers.

use proptest::prelude::*;

use super::super::protocol::stream::LONGEST;
use super::*;

#[test]
fn commands_are_performed() {
    let rig = Rig::new();
    let mut client = rig.client();
    for (execute, expected) in [
        ("query-name", json!({ "name": "vm" })),
        ("system_powerdown", json!({})),
        ("system_reset", json!({})),
        ("quit", json!({})),
    ] {
        assert_eq!(client.ask(execute, json!({})), json!({ "return": expected }), "{execute}");
    }
    assert_eq!(
        *rig.asked.lock().unwrap(),
        [MachineRequest::PowerButton, MachineRequest::Reset, MachineRequest::Quit]
    );
    let commands = client.ask("query-commands", json!({}));
    let commands = commands["return"].as_array().unwrap();
    for command in commands {
        let name = command["name"].as_str().unwrap();
        if name != "qmp_capabilities" {
            assert_eq!(client.refusal(name, json!({ "nonsense": 1 })), "Parameter 'nonsense' is unexpected");
        }
    }
    assert_eq!(commands.len(), 39);
}

#[test]
fn a_status_tells_what_there_is() {
    let rig = Rig::new();
    let status = rig.client().ask("query-status", json!({}));
    let status = &status["return"];
    let expected = json!({
        "running": true, "status": "running", "name": "vm", "pid": std::process::id(), "uptime": status["uptime"],
        "vcpus": 2, "memory": 1 << 30, "exits": 42, "resets": 0, "screen": { "present": false },
        "msrs": {
            "accesses": [
                { "index": 0x1a2, "name": "TEMPERATURE_TARGET", "access": "read", "answered": 3, "ignored": 0, "refused": 0 },
            ],
            "beyond": 1,
        },
        "devices": [{ "key": "dgpu", "host": "0000:01:00.0" }],
        "schedule": [{ "cpus": "2-3", "ran_ns": 5_000_000_000_u64, "waited_ns": 1000 }, { "cpus": "0" }],
    });
    assert_eq!(*status, expected);
    assert!(status["uptime"].as_u64().unwrap() < 60);
}

#[test]
fn a_stopped_machine_says_so() {
    let rig = Rig::new();
    let mut client = rig.client();
    rig.announcer.announce(&Announcement::Stopped("guest-panicked"));
    let status = client.ask("query-status", json!({}));
    assert_eq!(
        (&status["return"]["running"], &status["return"]["status"]),
        (&json!(false), &json!("guest-panicked"))
    );
    assert!(client.refusal("system_powerdown", json!({})).contains("is stopped (guest-panicked)"));
    assert!(rig.asked.lock().unwrap().is_empty());
    rig.announcer.announce(&Announcement::Reset { guest: false, runs: true });
    let status = client.ask("query-status", json!({}));
    assert_eq!((&status["return"]["status"], &status["return"]["resets"]), (&json!("running"), &json!(1)));
}

#[test]
fn a_machine_that_a_disk_stopped_says_why_until_it_goes_on() {
    let rig = Rig::new();
    let mut client = rig.client();
    let mut status = || {
        let status = client.ask("query-status", json!({}))["return"].clone();
        (status["running"].clone(), status["status"].clone(), status["failed"].clone())
    };
    let failed = ["a", "b", "a", "c", "d", "e"].map(String::from);
    rig.announcer.disks_failed(&failed);
    assert_eq!(status(), (json!(true), json!("running"), json!(["a", "b", "c", "d"])));
    rig.announcer.announce(&Announcement::Paused);
    assert_eq!(status(), (json!(false), json!("io-error"), json!(["a", "b", "c", "d"])));
    // Its power button can be pressed, as that of any paused machine.
    assert!(rig.announcer.is_paused());
    rig.announcer.announce(&Announcement::Resumed);
    assert_eq!(status(), (json!(true), json!("running"), json!(null)));
    rig.announcer.disks_failed(&failed);
    rig.announcer.announce(&Announcement::Reset { guest: false, runs: false });
    assert_eq!(status(), (json!(false), json!("paused"), json!(null)));
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
        ("query-statu", json!({}), "The command query-statu has not been found"),
        ("query-status", json!({ "verbose": true }), "Parameter 'verbose' is unexpected"),
        ("qmp_capabilities", json!({}), "negotiation is already complete"),
        ("screendump", json!({}), "Parameter 'filename' is missing"),
        ("screendump", json!({ "filename": "a", "format": "gif" }), "unknown variant `gif`"),
        ("screendump", json!({ "filename": "a", "device": "b" }), "Device 'b' not found"),
        (
            "screendump",
            json!({ "filename": "a", "head": 0 }),
            "'head' must be specified together with 'device'",
        ),
        ("screendump", json!({ "filename": "a" }), "has no screen"),
        ("type", json!({ "text": "a" }), "neither keyboard nor mouse"),
        ("send-key", json!({ "keys": [] }), "1 to 16 keys"),
        ("send-key", json!({ "keys": ["ctr"] }), "there is no key"),
        ("send-key", json!({ "keys": ["a"], "hold-time": 99999 }), "at most 10000 milliseconds"),
        (
            "input-send-event",
            json!({ "events": [{ "type": "abs", "data": { "axis": "x", "value": 0x8000 } }] }),
            "32768 is no place on the screen: they are from 0 to 32767",
        ),
        (
            "input-send-event",
            json!({ "events": [{ "type": "abs", "data": { "axis": "x", "value": -1 } }] }),
            "-1 is no place",
        ),
        (
            "input-send-event",
            json!({ "events": [{ "type": "btn", "data": { "down": true, "button": "x" } }] }),
            "unknown variant `x`",
        ),
    ] {
        let said = client.refusal(execute, arguments);
        assert!(said.contains(expected), "{execute}: {said}");
    }
    client.send(b"\x00\xff\n\r\n{}\n");
    assert!(client.line()["error"]["desc"].as_str().unwrap().contains("JSON parse error, stray"));
    assert!(client.line()["error"]["desc"].as_str().unwrap().contains("lacks member 'execute'"));
    client.send(&vec![b'x'; 3 * LONGEST]);
    client.send(b"\n");
    assert!(client.line()["error"]["desc"].as_str().unwrap().contains("at most 65536 bytes"));
    assert_eq!(client.ask("query-name", json!({}))["return"]["name"], "vm");
}

#[test]
fn events_are_told_to_who_wants_them() {
    let mut rig = Rig::new();
    let (mut eager, mut other) = (rig.client(), rig.visitor());
    other.line();
    rig.announcer.announce(&Announcement::PowerButton);
    assert_eq!(eager.line()["event"], "POWERDOWN");
    rig.announcer.announce(&Announcement::Reset { guest: true, runs: true });
    let reset = eager.line();
    assert_eq!((&reset["event"], &reset["data"]["guest"]), (&json!("RESET"), &json!(true)));
    let refused = other.ask("query-name", json!({}));
    assert_eq!(refused["error"]["class"], "CommandNotFound", "{refused}");
    // The last words are said even when the loop runs no more.
    rig.ending.store(true, Ordering::SeqCst);
    rig.announcer.announce(&Announcement::Ended(ShutdownCause::HostSignal));
    let end = eager.line();
    assert_eq!((&end["event"], &end["data"]["reason"]), (&json!("SHUTDOWN"), &json!("host-signal")));
    rig.end();
    assert_eq!(eager.try_line(), None);
    assert_eq!(other.try_line(), None);
    assert!(!rig.path.exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is sent, each answer is of the protocol, and the next client is served.
    #[test]
    fn no_stream_of_bytes_is_too_odd(
        parts in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300),
                Just(b"\n".to_vec()),
                Just(br#"{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}"#.to_vec()),
                Just(br#"{"execute":"query-status"}"#.to_vec()),
                Just(br#"{"exec-oob":"query-status","id":[1]}"#.to_vec()),
                Just(br#"{"execute":"stop"}"#.to_vec()),
                Just(br#"{"execute":"type","arguments":{"text":"a"}}"#.to_vec()),
                (0_usize..3 * LONGEST).prop_map(|size| vec![b'{'; size]),
            ],
            0..20,
        ),
    ) {
        let rig = Rig::new();
        let mut client = rig.visitor();
        let all = parts.concat();
        let stream = client.0.get_ref().try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            // It may be dropped on the way.
            let _ = (&stream).write_all(&all);
            let _ = stream.shutdown(std::net::Shutdown::Write);
        });
        prop_assert!(client.try_line().unwrap().get("QMP").is_some());
        while let Some(answer) = client.try_line() {
            let known = ["return", "error", "event"].iter().filter(|member| answer.get(member).is_some());
            prop_assert_eq!(known.count(), 1, "{}", answer);
        }
        sending.join().unwrap();
        prop_assert_eq!(&rig.client().ask("query-name", json!({}))["return"]["name"], "vm");
    }
}

#[test]
fn commands_need_no_lines() {
    let rig = Rig::new();
    let mut client = rig.visitor();
    client.line();
    client.send(b"{'execute':'qmp_capabilities'}{\"execute\":\"query-name\",\"id\":1}{\n\n\"execute\"");
    assert_eq!(client.line(), json!({ "return": {} }));
    assert_eq!(client.line(), json!({ "return": { "name": "vm" }, "id": 1 }));
    client.send(b":\r\n\"query-name\"\n}");
    assert_eq!(client.line(), json!({ "return": { "name": "vm" } }));
    // One that was left half-way is given up by an impossible byte.
    client.send(b"{\"execute\":[[\"");
    client.send(b"\xff{\"execute\":\"query-name\"}");
    assert_eq!(client.line()["error"]["class"], "GenericError");
    assert_eq!(client.line(), json!({ "return": { "name": "vm" } }));
}

#[test]
fn stopping_is_announced_before_it_is_answered() {
    let rig = Rig::new();
    let (mut client, mut other) = (rig.client(), rig.client());
    for (execute, event, status, runs) in
        [("stop", "STOP", "paused", false), ("cont", "RESUME", "running", true)]
    {
        client.send(format!("{{\"execute\":\"{execute}\"}}").as_bytes());
        assert_eq!(client.line()["event"], event);
        assert_eq!(client.line(), json!({ "return": {} }));
        let told = client.ask("query-status", json!({}))["return"].clone();
        assert_eq!((&told["status"], &told["running"]), (&json!(status), &json!(runs)));
        assert_eq!(other.line()["event"], event);
    }
    // The power button of a paused machine is heard later.
    client.send(b"{\"execute\":\"stop\"}");
    assert_eq!(client.line()["event"], "STOP");
    assert_eq!(client.line(), json!({ "return": {} }));
    assert_eq!(client.ask("system_powerdown", json!({})), json!({ "return": {} }));
    assert_eq!(*rig.asked.lock().unwrap(), [MachineRequest::PowerButton]);
    // A reset leaves it paused.
    rig.announcer.announce(&Announcement::Reset { guest: false, runs: false });
    assert_eq!(client.line()["event"], "RESET");
    assert_eq!(client.ask("query-status", json!({}))["return"]["status"], "paused");
}

#[test]
fn urgent_commands_overtake_slow_ones_once_that_is_negotiated() {
    let desk = Arc::<devices::Desk>::default();
    let rig = Rig::with(None, Some(Arc::clone(&desk) as _));
    let mut client = rig.client();
    client.send(br#"{"exec-oob":"query-name","id":1}"#);
    assert_eq!(client.line()["error"]["desc"], "QMP input member 'exec-oob' is unexpected");
    let mut client = rig.visitor();
    client.line();
    client.ask("qmp_capabilities", json!({ "enable": ["oob"] }));
    client.send(br#"{"exec-oob":"type","arguments":{"text":"a"}}"#);
    assert_eq!(client.line()["error"]["desc"], "The command type does not support OOB");
    // Keys that the guest does not take until it is let.
    let keys = br#"{"execute":"send-key","arguments":{"keys":["a"],"hold-time":0},"id":1}"#;
    desk.stuck.store(true, Ordering::SeqCst);
    client.send(&[&keys[..], br#"{"execute":"query-name","id":2}{"exec-oob":"query-name","id":3}"#].concat());
    assert_eq!(client.line()["id"], 3);
    desk.stuck.store(false, Ordering::SeqCst);
    let ids: Vec<_> = (0..2).map(|_| client.line()["id"].clone()).collect();
    assert_eq!(ids, [1, 2]);
    // As many may wait as in QEMU; what comes behind them has to.
    let many: Vec<u8> = (0..100).flat_map(|_| br#"{"execute":"query-name","id":2}"#.to_vec()).collect();
    desk.stuck.store(true, Ordering::SeqCst);
    client.send(&[&keys[..], &many, br#"{"exec-oob":"query-name","id":3}"#].concat());
    devices::settle(&rig);
    desk.stuck.store(false, Ordering::SeqCst);
    let ids: Vec<_> = (0..102).map(|_| client.line()["id"].as_u64().unwrap()).collect();
    assert_eq!((ids[0], ids[101]), (1, 3));
}
