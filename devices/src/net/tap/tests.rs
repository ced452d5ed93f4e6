//! Names, requests, and queues of an interface that the kernel makes.

use std::path::Path;

use super::*;

#[test]
fn names_of_interfaces() {
    for (name, is) in [
        ("tap0", true),
        ("vm-laptop.tap", true),
        ("a23456789012345", true),
        ("a234567890123456", false),
        ("", false),
        (".", false),
        ("..", false),
        ("a/b", false),
        ("a b", false),
        ("a:1", false),
        ("a\u{1}", false),
    ] {
        assert_eq!(is_interface_name(name), is, "{name:?}");
    }
}

/// By the header's values.
#[test]
fn requests_have_the_kernels_numbers() {
    assert_eq!(TUNSETIFF(), 0x4004_54ca);
    assert_eq!(TUNSETOFFLOAD(), 0x4004_54d0);
    assert_eq!(TUNGETIFF(), 0x8004_54d2);
    assert_eq!(TUNSETVNETHDRSZ(), 0x4004_54d8);
    assert_eq!(TUNSETQUEUE(), 0x4004_54d9);
    assert_eq!(TUNSETVNETLE(), 0x4004_54dc);
}

#[test]
fn a_file_is_no_interface() {
    let file = tempfile::tempfile().unwrap();
    assert!(matches!(TapPeer::from_descriptor(file.into()), Err(TapError::Descriptor(_))));
}

/// By the kernel itself, with an interface that goes with the test.
#[test]
#[ignore = "makes a network interface"]
fn queues_are_attached_one_by_one() {
    let attach = Attach { name: "opttest%d", queues: 3, multi_queue: true };
    let mut peers = TapPeer::attach(attach).unwrap();
    let name = peers[0].name().to_owned();
    assert!(name.starts_with("opttest") && !name.contains('%'), "{name}");
    assert!(peers.iter().all(|peer| peer.name() == name));
    let shown = || {
        let folder = std::fs::read_dir(format!("/sys/class/net/{name}/queues")).unwrap();
        folder
            .filter(|entry| entry.as_ref().unwrap().file_name().as_encoded_bytes().starts_with(b"tx-"))
            .count()
    };
    assert_eq!(shown(), 1);
    peers[1].set_active(true);
    peers[2].set_active(true);
    assert_eq!(shown(), 3);
    peers[1].set_active(false);
    assert_eq!(shown(), 2);
    // All the same interface: what one is told holds for all, and a driver's reset begins anew.
    for peer in &mut peers {
        peer.accept(Offloads { checksum: true, ..Offloads::default() });
        assert!(peer.receive().unwrap().is_none(), "there is no frame");
    }
    drop(peers);
    assert!(!Path::new("/sys/class/net").join(&name).exists(), "the interface is left behind");
}
