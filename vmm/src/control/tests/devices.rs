//! Keyboard, mouse and screen behind the socket.

use ::devices::input::{AbsoluteEvent, Buttons, Key, Leds, PointerEvent, Taken};

use super::*;
use crate::screenshot::wall::Wall;

/// A keyboard and mouse that note everything, and take nothing while they are stuck.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) keys: Mutex<Vec<(Key, bool)>>,
    pub(super) pointer: Mutex<Vec<PointerEvent>>,
    pub(super) places: Mutex<Vec<AbsoluteEvent>>,
    pub(super) place: Mutex<Option<(u16, u16)>>,
    pub(super) tablet: AtomicBool,
    pub(super) stuck: AtomicBool,
    /// A key has been refused: whoever wanted to press it has keyboard and mouse to itself.
    refused: AtomicBool,
    caps: AtomicBool,
}

impl Input for Desk {
    fn key(&self, key: Key, pressed: bool) -> bool {
        let takes = !self.stuck.load(Ordering::SeqCst);
        if takes {
            self.keys.lock().unwrap().push((key, pressed));
        } else {
            self.refused.store(true, Ordering::SeqCst);
        }
        takes
    }

    fn pointer(&self, event: PointerEvent) -> Taken {
        self.pointer.lock().unwrap().push(event);
        if (event.dx, event.dy) != (0, 0) {
            *self.place.lock().unwrap() = None;
        }
        Taken::Yes
    }

    fn absolute(&self, event: AbsoluteEvent) -> Taken {
        self.places.lock().unwrap().push(event);
        *self.place.lock().unwrap() = Some((event.x, event.y));
        Taken::Yes
    }

    fn place(&self) -> Option<(u16, u16)> {
        *self.place.lock().unwrap()
    }

    fn is_absolute(&self) -> bool {
        self.tablet.load(Ordering::SeqCst)
    }

    fn signal_room(&self, _event: &Arc<EventFd>) {}

    fn leds(&self) -> Leds {
        Leds { caps: self.caps.load(Ordering::SeqCst), ..Leds::default() }
    }
}

fn with_desk() -> (Rig, Arc<Desk>) {
    let desk = Arc::<Desk>::default();
    (Rig::with(None, Some(Arc::clone(&desk) as _)), desk)
}

fn down(key: Key) -> (Key, bool) {
    (key, true)
}

fn up(key: Key) -> (Key, bool) {
    (key, false)
}

#[test]
fn the_pointer_is_put_at_places_while_the_guest_has_a_tablet() {
    let desk = Arc::<Desk>::default();
    let wall = Arc::<Wall>::default();
    wall.show(2, 1);
    let rig = Rig::with(Some(wall as _), Some(Arc::clone(&desk) as _));
    let mut client = rig.client();
    let abs = |axis: &str, value: u32| json!({ "type": "abs", "data": { "axis": axis, "value": value } });
    let click = |down: bool| json!({ "type": "btn", "data": { "down": down, "button": "left" } });
    let events = json!({ "events": [abs("x", 5), abs("y", 0x7fff), click(true), click(false)] });
    for (command, arguments) in
        [("input-send-event", events.clone()), ("move-pointer", json!({ "x": 0, "y": 0 }))]
    {
        let refusal = client.refusal(command, arguments);
        assert!(refusal.contains("the guest uses no tablet now"), "{refusal}");
    }
    let moved = || std::mem::take(&mut *desk.pointer.lock().unwrap());
    // What a refused command may have pressed is let go.
    assert!(moved().iter().all(|event| *event == PointerEvent::default()));
    desk.tablet.store(true, Ordering::SeqCst);
    client.ask("input-send-event", events);
    let at = |x, y, left| AbsoluteEvent { x, y, wheel: 0, buttons: Buttons { left, ..Buttons::default() } };
    let places = || std::mem::take(&mut *desk.places.lock().unwrap());
    assert_eq!(places(), [at(5, 0x7fff, false), at(5, 0x7fff, true), at(5, 0x7fff, false)]);
    // Of two pixels in a row each has half of the units.
    client.ask("move-pointer", json!({ "x": 1, "y": 0 }));
    client.ask("input-send-event", json!({ "events": [abs("y", 7)] }));
    assert_eq!(places(), [at(0x6000, 0x4000, false), at(0x6000, 7, false)]);
    let refusal = client.refusal("move-pointer", json!({ "x": 0, "y": 1 }));
    assert!(refusal.contains("0, 1 is not on the guest's screen, which has 2 × 1 pixels"), "{refusal}");
    moved();
    // Once it was moved, buttons are those of what moved it.
    let rel = json!({ "type": "rel", "data": { "axis": "x", "value": 3 } });
    client.ask("input-send-event", json!({ "events": [rel, click(true)] }));
    assert_eq!(places(), []);
    let pressed =
        PointerEvent { buttons: Buttons { left: true, ..Buttons::default() }, ..PointerEvent::default() };
    assert_eq!(moved(), [PointerEvent { dx: 3, ..PointerEvent::default() }, pressed]);
    // What is not said of a place is as it was, and a button goes where somebody else has put the pointer.
    client.ask("input-send-event", json!({ "events": [abs("x", 9), click(false)] }));
    assert_eq!(places(), [at(9, 7, true), at(9, 7, false)]);
    assert_eq!(desk.absolute(at(20, 30, false)), Taken::Yes);
    client.ask("input-send-event", json!({ "events": [click(true), abs("y", 31), click(false)] }));
    assert_eq!(places(), [at(20, 30, false), at(20, 30, true), at(20, 31, true), at(20, 31, false)]);
    // Nor does it go to a place from which somebody else has moved it.
    assert_eq!(desk.pointer(PointerEvent { dx: 1, ..PointerEvent::default() }), Taken::Yes);
    moved();
    client.ask("input-send-event", json!({ "events": [click(true)] }));
    assert_eq!((places(), moved()), (Vec::new(), vec![pressed]));
}

#[test]
fn text_is_typed() {
    let (rig, desk) = with_desk();
    let mut client = rig.client();
    assert_eq!(client.ask("type", json!({ "text": "aB\n" })), json!({ "return": {} }));
    let expected = [
        down(Key::A),
        up(Key::A),
        down(Key::LEFT_SHIFT),
        down(Key::B),
        up(Key::B),
        up(Key::LEFT_SHIFT),
        down(Key::ENTER),
        up(Key::ENTER),
    ];
    assert_eq!(std::mem::take(&mut *desk.keys.lock().unwrap()), expected);
    desk.caps.store(true, Ordering::SeqCst);
    client.ask("type", json!({ "text": "B" }));
    assert_eq!(*desk.keys.lock().unwrap(), [down(Key::B), up(Key::B)]);
    assert!(client.refusal("type", json!({ "text": "aß" })).contains("cannot type 'ß'"));
}

#[test]
fn chords_are_held_and_released_in_reverse() {
    let (rig, desk) = with_desk();
    let mut client = rig.client();
    let keys = json!([{ "type": "qcode", "data": "ctrl" }, "alt", "delete"]);
    let began = Instant::now();
    assert_eq!(client.ask("send-key", json!({ "keys": keys, "hold-time": 5 })), json!({ "return": {} }));
    assert!(began.elapsed() >= Duration::from_millis(5));
    let (ctrl, alt, delete) = (Key::LEFT_CTRL, Key::LEFT_ALT, Key::DELETE);
    let expected = [down(ctrl), down(alt), down(delete), up(delete), up(alt), up(ctrl)];
    assert_eq!(*desk.keys.lock().unwrap(), expected);
}

#[test]
fn two_texts_do_not_mix() {
    let (rig, desk) = with_desk();
    let typing: Vec<_> = ["aaaaaaaaaa", "bbbbbbbbbb"]
        .map(|text| {
            let mut client = rig.client();
            std::thread::spawn(move || client.ask("type", json!({ "text": text })))
        })
        .into();
    for typing in typing {
        assert_eq!(typing.join().unwrap(), json!({ "return": {} }));
    }
    let keys = desk.keys.lock().unwrap();
    assert_eq!(keys.len(), 40);
    assert_eq!(keys.windows(2).filter(|pair| pair[0].0 != pair[1].0).count(), 1);
}

#[test]
fn the_mouse_keeps_its_buttons() {
    let (rig, desk) = with_desk();
    let mut client = rig.client();
    let events = json!([
        { "type": "btn", "data": { "down": true, "button": "left" } },
        { "type": "rel", "data": { "axis": "x", "value": 5 } },
        { "type": "rel", "data": { "axis": "y", "value": -3 } },
        { "type": "btn", "data": { "down": false, "button": "left" } },
        { "type": "btn", "data": { "down": true, "button": "wheel-down" } },
        { "type": "btn", "data": { "down": false, "button": "wheel-down" } },
    ]);
    assert_eq!(client.ask("input-send-event", json!({ "events": events })), json!({ "return": {} }));
    let left = Buttons { left: true, ..Buttons::default() };
    let still = PointerEvent::default();
    let expected = [
        PointerEvent { buttons: left, ..still },
        PointerEvent { dx: 5, buttons: left, ..still },
        PointerEvent { dy: -3, buttons: left, ..still },
        still,
        PointerEvent { wheel: -1, ..still },
    ];
    assert_eq!(*desk.pointer.lock().unwrap(), expected);
}

#[test]
fn a_guest_that_does_not_read_holds_up_only_who_types() {
    let (mut rig, desk) = with_desk();
    desk.stuck.store(true, Ordering::SeqCst);
    let mut typist = rig.client();
    typist.send(
        b"{\"execute\":\"type\",\"arguments\":{\"text\":\"a\"},\"id\":1}\n{\"execute\":\"query-name\"}\n",
    );
    assert_eq!(rig.client().ask("query-name", json!({}))["return"]["name"], "vm");
    desk.stuck.store(false, Ordering::SeqCst);
    assert_eq!(typist.line(), json!({ "return": {}, "id": 1 }));
    assert_eq!(typist.line()["return"]["name"], "vm");
    // The end of the machine does not wait for the guest.
    desk.stuck.store(true, Ordering::SeqCst);
    typist.send(b"{\"execute\":\"type\",\"arguments\":{\"text\":\"a\"}}\n");
    rig.client().ask("query-name", json!({}));
    rig.end();
}

/// Returns when the server has seen what clients have done.
pub(super) fn settle(rig: &Rig) {
    for _ in 0..2 {
        rig.client().ask("query-name", json!({}));
    }
}

#[test]
fn a_command_that_waited_and_was_given_up_does_nothing() {
    let (rig, desk) = with_desk();
    desk.stuck.store(true, Ordering::SeqCst);
    let mut typist = rig.client();
    typist.send(b"{\"execute\":\"type\",\"arguments\":{\"text\":\"a\"}}\n");
    until(|| desk.refused.load(Ordering::SeqCst));
    let mut clicker = rig.client();
    let click = json!({ "execute": "input-send-event", "arguments": { "events": [
        { "type": "btn", "data": { "down": true, "button": "left" } },
    ] } });
    clicker.send(format!("{click}\n").as_bytes());
    settle(&rig);
    drop(clicker);
    settle(&rig);
    desk.stuck.store(false, Ordering::SeqCst);
    assert_eq!(typist.line(), json!({ "return": {} }));
    // Hands are free for the next: the click has been given up, or it would come before this motion.
    let motion = json!({ "events": [{ "type": "rel", "data": { "axis": "x", "value": 5 } }] });
    rig.client().ask("input-send-event", motion);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(*desk.pointer.lock().unwrap(), [PointerEvent { dx: 5, ..PointerEvent::default() }]);
}

#[test]
fn a_button_of_a_command_that_was_given_up_is_released() {
    let (rig, desk) = with_desk();
    desk.stuck.store(true, Ordering::SeqCst);
    let mut client = rig.client();
    let events = json!({ "execute": "input-send-event", "arguments": { "events": [
        { "type": "btn", "data": { "down": true, "button": "left" } },
        { "type": "key", "data": { "down": true, "key": { "type": "qcode", "data": "a" } } },
    ] } });
    client.send(format!("{events}\n").as_bytes());
    let left =
        PointerEvent { buttons: Buttons { left: true, ..Buttons::default() }, ..PointerEvent::default() };
    until(|| !desk.pointer.lock().unwrap().is_empty());
    drop(client);
    until(|| desk.pointer.lock().unwrap().len() >= 2);
    assert_eq!(*desk.pointer.lock().unwrap(), [left, PointerEvent::default()]);
    assert!(desk.keys.lock().unwrap().is_empty());
}

#[test]
fn the_screen_is_written_as_png() {
    let wall = Arc::<Wall>::default();
    let rig = Rig::with(Some(Arc::clone(&wall) as _), None);
    let mut client = rig.client();
    let file = rig.path.with_file_name("a.png");
    let screen = |client: &mut Client| client.ask("query-status", json!({}))["return"]["screen"].clone();
    assert_eq!(screen(&mut client), json!({ "present": true, "shown": false, "reason": "no driver yet" }));
    assert!(client.refusal("screendump", json!({ "filename": file })).contains("blank: no driver yet"));
    wall.show(2, 1);
    assert_eq!(screen(&mut client), json!({ "present": true, "shown": true }));
    let answer = client.ask("screendump", json!({ "filename": file, "format": "png" }));
    assert_eq!(answer, json!({ "return": { "width": 2, "height": 1 } }));
    assert!(std::fs::read(&file).unwrap().starts_with(b"\x89PNG"));
    assert!(client.refusal("screendump", json!({ "filename": "/nowhere/a.png" })).contains("/nowhere/a.png"));
    let config = rig.path.with_file_name("../vm.toml");
    std::fs::write(&config, "text").unwrap();
    let refusal = client.refusal("screendump", json!({ "filename": config }));
    assert!(refusal.contains("this is the configuration, which the machine is made from"), "{refusal}");
    assert_eq!(std::fs::read(&config).unwrap(), b"text");
}

#[test]
fn a_cards_cable_is_pulled_out_and_plugged_in() {
    let rig = Rig::new();
    let mut client = rig.client();
    let up = |client: &mut Client| {
        let card = client.ask("query-net", json!({}))["return"][0].clone();
        assert_eq!((&card["name"], &card["mac"]), (&json!("net[0]"), &json!("52:54:00:12:34:56")));
        (card["up"].clone(), card["plugged"].clone(), card["connected"].clone())
    };
    assert_eq!(up(&mut client), (json!(true), json!(true), json!(true)));
    assert_eq!(client.ask("set_link", json!({ "name": "net[0]", "up": false })), json!({ "return": {} }));
    assert_eq!(up(&mut client), (json!(false), json!(false), json!(true)));
    let line = json!({ "command-line": "set_link net[0] on" });
    assert_eq!(client.ask("human-monitor-command", line), json!({ "return": "" }));
    assert_eq!(up(&mut client), (json!(true), json!(true), json!(true)));
    assert_eq!(
        client.refusal("set_link", json!({ "name": "net[1]", "up": true })),
        "Device 'net[1]' not found"
    );
}

#[test]
fn input_devices_of_the_host_are_asked_for() {
    let rig = Rig::new();
    let mut client = rig.client();
    let wanted = |client: &mut Client| client.ask("query-evdev", json!({}))["return"]["grabbed"].clone();
    assert_eq!(client.ask("query-evdev", json!({}))["return"]["devices"][0]["name"], "evdev[0]");
    for (given, expected) in [
        (json!({}), true),
        (json!({}), false),
        (json!({ "grab": true }), true),
        (json!({ "grab": true }), true),
    ] {
        assert_eq!(client.ask("grab-evdev", given), json!({ "return": { "grabbed": expected } }));
        assert_eq!(wanted(&mut client), expected);
    }
}

#[test]
fn usb_devices_go_to_the_guest_and_back() {
    let mut rig = Rig::new();
    let mut client = rig.client();
    let listed =
        |client: &mut Client| client.ask("query-usb-devices", json!({}))["return"]["devices"].clone();
    assert_eq!(
        listed(&mut client)[0],
        json!({ "port": "1-4", "id": "046d:c52b", "name": "Thing", "holder": "host", "drivers": ["usbhid"] })
    );
    let attached = client.ask("attach-usb-device", json!({ "id": "0781:5567", "serial": "4C53" }));
    assert_eq!(
        attached["return"],
        json!({ "port": "1-5.2", "id": "0781:5567", "serial": "4C53", "name": "Thing", "holder": "guest", "drivers": [],
                "guest-port": 1, "wanted-by": "ctl usb" })
    );
    assert_eq!(listed(&mut client)[1], attached["return"]);
    for (command, named, words) in [
        ("attach-usb-device", json!({}), "one of 'id', 'serial' and 'port'"),
        ("attach-usb-device", json!({ "port": "1-9" }), "no USB device of the host is at port 1-9 now"),
        ("attach-usb-device", json!({ "port": "1-5.2" }), "already, by ctl usb"),
        ("attach-usb-device", json!({ "id": "0781" }), "such as \"046d:c52b\""),
        (
            "detach-usb-device",
            json!({ "port": "1-4" }),
            "no USB device of the host that is at port 1-4, and waits for none",
        ),
    ] {
        let refusal = client.refusal(command, named);
        assert!(refusal.contains(words), "{refusal}");
    }
    let detached = client.ask("detach-usb-device", json!({ "port": "1-5.2" }));
    assert_eq!(detached["return"]["device"]["holder"], "host", "{detached}");
    // Devices go before the control socket does.
    drop(rig.usb.take());
    assert_eq!(client.refusal("attach-usb-device", json!({ "port": "1-4" })), "the machine ends");
}

#[test]
fn a_disk_grows_and_never_shrinks() {
    let rig = Rig::new();
    let mut client = rig.client();
    let size = |client: &mut Client| {
        client.ask("query-block", json!({}))["return"][0]["inserted"]["image"]["virtual-size"].clone()
    };
    assert_eq!(size(&mut client), json!(10 << 20));
    let wanted = json!({ "device": "disk[0]", "size": 12 << 20 });
    assert_eq!(client.ask("block_resize", wanted), json!({ "return": {} }));
    assert_eq!(size(&mut client), json!(12 << 20));
    let wanted = json!({ "node-name": "disk[0]", "size": 1 << 20 });
    assert!(client.refusal("block_resize", wanted).contains("can only grow"));
    let wanted = json!({ "device": "disk[1]", "size": 1 << 20 });
    assert_eq!(client.refusal("block_resize", wanted), "Device 'disk[1]' not found");
    assert!(client.refusal("block_resize", json!({ "size": 1 << 20 })).contains("says which disk"));
    assert_eq!(size(&mut client), json!(12 << 20));
}

#[test]
fn a_disc_is_changed_with_the_guests_leave() {
    const LOCK: [u8; 12] = [0x1e, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    const READY: [u8; 12] = [0; 12];
    let wall = Arc::<Wall>::default();
    let rig = Rig::with(Some(Arc::clone(&wall) as _), None);
    let drive = Arc::clone(&rig.drive);
    let mut client = rig.client();
    let (disc, other) = (rig.path.with_file_name("a.iso"), rig.path.with_file_name("b.iso"));
    std::fs::write(&disc, [0; 4096]).unwrap();
    std::fs::write(&other, [0; 2048]).unwrap();
    let insert = |path: &std::path::Path| json!({ "device": "cdrom[0]", "filename": path });
    let file = |client: &mut Client| client.ask("query-cdrom", json!({}))["return"][0]["file"].clone();
    assert_eq!(file(&mut client), json!(null));
    assert_eq!(client.ask("blockdev-change-medium", insert(&disc)), json!({ "return": {} }));
    assert_eq!(file(&mut client), json!(disc));
    // A block device of QMP's, too.
    let block = client.ask("query-block", json!({}))["return"][1].clone();
    assert_eq!((&block["removable"], &block["tray_open"]), (&json!(true), &json!(false)));
    assert_eq!(block["inserted"]["image"]["virtual-size"], 4096);
    // A guest that has locked the tray is asked for the disc.
    for _ in 0..3 {
        drive.command(&READY);
    }
    drive.command(&LOCK);
    let guest = std::thread::spawn({
        let drive = Arc::clone(&drive);
        move || {
            let poll = [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0, 0, 0];
            until(|| matches!(drive.command(&poll), ::devices::atapi::Reply::Data(data) if data[4] == 1));
            drive.command(&[0x1e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            drive.command(&[0x1b, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        }
    });
    assert_eq!(client.ask("blockdev-change-medium", insert(&other)), json!({ "return": {} }));
    guest.join().unwrap();
    assert_eq!(file(&mut client), json!(other));
    // A picture takes the place of no disc, not even of a newer file that has its name.
    wall.show(2, 1);
    for _ in 0..2 {
        let refusal = client.refusal("screendump", json!({ "filename": other }));
        assert!(refusal.contains("this is the disc of cdrom[0]"), "{refusal}");
        let newer = other.with_extension("new");
        std::fs::write(&newer, [0; 2048]).unwrap();
        std::fs::rename(&newer, &other).unwrap();
    }
    // By force.
    drive.command(&LOCK);
    drive.command(&LOCK);
    assert_eq!(client.ask("eject", json!({ "device": "cdrom[0]", "force": true })), json!({ "return": {} }));
    assert!(drive.status().open);
    for (arguments, words) in [
        (json!({ "device": "cdrom[1]" }), "Device 'cdrom[1]' not found"),
        (json!({ "device": "net[0]" }), "Device 'net[0]' not found"),
        (json!({}), "exactly one"),
    ] {
        assert!(client.refusal("eject", arguments).contains(words));
    }
    let refusal = client.refusal("blockdev-change-medium", insert(std::path::Path::new("/nowhere/a.iso")));
    assert!(refusal.contains("/nowhere/a.iso does not exist"), "{refusal}");
}

#[test]
fn the_sound_card_tells_what_it_does() {
    let rig = Rig::new();
    let answer = rig.client().ask("query-audio", json!({}));
    assert_eq!(answer["return"], json!([{ "backend": "pulse", "underruns": 0, "dropped": 0, "lost-ns": 0 }]));
}
