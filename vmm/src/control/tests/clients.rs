//! How many there may be, and what becomes of those that behave badly.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::super::place::own_user;
use super::super::server::MOST;
use super::*;
use crate::testing::own_process;

#[test]
fn so_many_clients_and_no_more() {
    let rig = Rig::new();
    let mut clients: Vec<Client> = (0..MOST).map(|_| rig.client()).collect();
    let mut late = rig.visitor();
    let refusal = late.line();
    assert!(refusal["error"]["desc"].as_str().unwrap().contains("16 clients"), "{refusal}");
    assert_eq!(late.try_line(), None);
    for client in &mut clients {
        assert_eq!(client.ask("query-name", json!({}))["return"]["name"], "vm");
    }
    clients.pop();
    // When its place is free is the server's matter.
    until(|| rig.visitor().line().get("optimus-vmm").is_some());
}

/// Connects as another user, which only root can become.
#[test]
fn other_users_are_refused_whatever_the_permissions_are() {
    if own_user() != 0 {
        return;
    }
    let rig = Rig::new();
    let folder = rig.path.parent().unwrap();
    for (path, mode) in [(folder.parent().unwrap(), 0o711), (folder, 0o711), (&rig.path, 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let told = |user: u32| {
        std::thread::scope(|scope| {
            let visit = || {
                let user = rustix::process::Uid::from_raw(user);
                // Of this thread alone; what it connects has its credentials.
                rustix::thread::set_thread_res_uid(user, user, user).unwrap();
                let mut visitor = rig.visitor();
                (visitor.line(), visitor.try_line())
            };
            scope.spawn(visit).join().unwrap()
        })
    };
    let (refusal, rest) = told(1);
    assert!(refusal["error"]["desc"].as_str().unwrap().contains("belongs to another user"), "{refusal}");
    assert_eq!(rest, None);
    rig.client();
}

#[test]
fn who_never_reads_holds_up_nobody_and_is_dropped() {
    let rig = Rig::new();
    let mut stalled = rig.client();
    let mut other = rig.client();
    // More than the kernel and the server keep for it; the server takes them as they come.
    for _ in 0..20_000 {
        rig.announcer.announce(&Announcement::PowerButton);
        if rig.announcer.waiting() > 32 {
            other.ask("query-name", json!({}));
            until(|| rig.announcer.waiting() == 0);
        }
    }
    assert_eq!(other.ask("query-name", json!({}))["return"]["name"], "vm");
    let mut heard = 0;
    while stalled.try_line().is_some() {
        heard += 1;
    }
    assert!(heard < 20_000);
}

#[test]
fn who_asks_without_reading_is_not_listened_to() {
    let rig = Rig::new();
    let client = rig.client();
    let mut stream = client.0.get_ref().try_clone().unwrap();
    stream.set_nonblocking(true).unwrap();
    let line = b"{\"execute\":\"query-commands\"}\n".repeat(1000);
    let (mut other, mut sent, mut refused) = (rig.client(), 0, 0);
    // The server stops reading, so that the kernel's buffers fill up, while it goes on to serve another.
    while refused < 50 {
        match stream.write(&line) {
            Ok(count) => (sent, refused) = (sent + count, 0),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                refused += 1;
                assert_eq!(other.ask("query-name", json!({}))["return"]["name"], "vm");
            }
        }
        assert!(sent < 1000 * line.len(), "it is listened to");
    }
}

#[test]
fn what_was_sent_before_the_end_counts() {
    let rig = Rig::new();
    let mut hasty = rig.visitor();
    hasty.send(
        b"{\"execute\":\"qmp_capabilities\"}{\"execute\":\"system_powerdown\"}\n{\"execute\":\"quit\"}\n",
    );
    hasty.0.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    assert!(hasty.line().get("optimus-vmm").is_some());
    for _ in 0..3 {
        assert_eq!(hasty.line(), json!({ "return": {} }));
    }
    assert_eq!(hasty.try_line(), None);
    assert_eq!(*rig.asked.lock().unwrap(), [MachineRequest::PowerButton, MachineRequest::Quit]);
    let mut gone = rig.client();
    gone.send(b"{\"execute\":\"system_reset\"}\n");
    drop(gone);
    until(|| rig.asked.lock().unwrap().len() == 3);
}

/// Nothing else happens that could wake the server. The limit is the whole process's, so this needs one of its own.
#[test]
fn a_client_is_taken_when_there_are_descriptors_again() {
    const WITHIN: &str = "EXHAUSTED_CONTROL_TEST";
    if std::env::var_os(WITHIN).is_none() {
        let test = "a_client_is_taken_when_there_are_descriptors_again";
        return own_process::pass(own_process::command(module_path!(), test).env(WITHIN, "1"));
    }
    let rig = Rig::new();
    // The server is there, has opened all it needs, and closes nothing meanwhile.
    let _idle = rig.client();
    let limit = Rlimit { current: Some(64), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut hoard: Vec<_> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
    // The client's end takes the only descriptor.
    hoard.pop();
    let mut client = rig.visitor();
    client.0.get_ref().set_read_timeout(Some(4 * EXHAUSTED)).unwrap();
    let mut line = String::new();
    assert_eq!(client.0.read_line(&mut line).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(hoard);
    client.0.get_ref().set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert!(client.line().get("optimus-vmm").is_some());
}
