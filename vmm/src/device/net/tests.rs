//! `[[net]]` from its section to what the plan is told, and what is refused.

use crate::config::{self, Overrides};
use crate::device::{Net, Spec};

fn nets(text: &str) -> Result<Vec<Net>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("laptop.toml");
    std::fs::write(&path, text).unwrap();
    match config::load(&path, &Overrides::default()) {
        Ok(config) => Ok(config.devices.of::<Net>().cloned().collect()),
        Err(findings) => Err(findings.to_string()),
    }
}

#[test]
fn addresses_are_stable_and_different() {
    let macs = |text| nets(text).unwrap().iter().map(|net| net.mac).collect::<Vec<_>>();
    let two = macs("[[net]]\n[[net]]");
    assert_eq!(two, macs("[[net]]\n[[net]]"));
    assert_ne!(two[0], two[1]);
    assert!(two[0].to_string().starts_with("52:54:00:"), "{}", two[0]);
    assert_ne!(two, macs("name = \"other\"\n[[net]]\n[[net]]"));
}

#[test]
fn cards_are_described() {
    let all = nets(
        "[[net]]\nforward = [\"tcp:2222->22\"]\nboot_index = 1\n[[net]]\nbackend = \"tap\"\ninterface = \"tap0\"\n\
         [[net]]\nbackend = \"bridge\"\ninterface = \"br0\"\nqueues = 4\nvhost = true\n[[net]]\nbackend = \"fd\"\nfd = 7\nvhost = false",
    )
    .unwrap();
    let words: Vec<_> =
        all.iter().map(|net| net.describe().split_once(" on ").unwrap().1.to_owned()).collect();
    assert_eq!(
        words,
        [
            "passt, tcp:127.0.0.1:2222->22",
            "the TAP interface tap0",
            "the bridge br0, 4 pairs of queues, by vhost-net",
            "descriptor 7, without vhost-net"
        ]
    );
    let booted: Vec<_> = all.iter().map(|net| net.boot().is_some()).collect();
    assert_eq!(booted, [true, false, false, false]);
}

#[test]
fn what_cannot_be_is_refused() {
    for (text, expected) in [
        ("[[net]]\ninterface = \"tap0\"", "`interface` is a key of other backends"),
        ("[[net]]\nbackend = \"fd\"", "which descriptor it uses"),
        ("[[net]]\nbackend = \"tap\"\ninterface = \"a b\"", "is no name of an interface"),
        (
            "[[net]]\nbackend = \"tap\"\ninterface = \"t\"\ndns = [\"1.1.1.1\"]",
            "`dns` is a key of other backends",
        ),
        (
            "[[net]]\nmac = \"52:54:00:00:00:01\"\n[[net]]\nmac = \"52:54:00:00:00:01\"",
            "has the same address 52:54:00:00:00:01",
        ),
        (
            "[[net]]\nbackend = \"tap\"\ninterface = \"t\"\n[[net]]\nbackend = \"tap\"\ninterface = \"t\"",
            "has the interface t",
        ),
        ("[[net]]\nforward = [\"tcp:1->1\", \"tcp:[::1]:1->1\"]", "forwarded twice"),
        ("[[net]]\nbackend = \"fd\"\nfd = 7\n[[net]]\nbackend = \"fd\"\nfd = 7", "has the descriptor 7"),
        ("[[net]]\ndns = [\"1.1.1.1\", \"1.1.1.2\", \"1.1.1.3\", \"1.1.1.4\"]", "at most 3"),
        ("[[net]]\nforward = [\"tcp:1->1\"]\n[[net]]\nforward = [\"tcp:1->2\"]", "forwarded twice"),
        ("[[net]]\nqueues = 2", "passt has one pair of queues"),
        ("[[net]]\nbackend = \"fd\"\nfd = 7\nqueues = 2", "a descriptor is one pair of queues"),
        (
            "[[net]]\nbackend = \"tap\"\ninterface = \"t\"\nqueues = 0",
            "`queues` must be a whole number from 1 to 32",
        ),
        (
            "[[net]]\nbackend = \"tap\"\ninterface = \"t\"\nqueues = 33",
            "`queues` must be a whole number from 1 to 32",
        ),
        ("[[net]]\nvhost = true", "`vhost` is a key of other backends"),
    ] {
        let error = nets(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    // As many as the card can have.
    assert_eq!(devices::virtio::net::MOST_PAIRS, 32);
    let different = "[[net]]\nforward = [\"tcp:1->1\", \"udp:1->1\", \"tcp:[::1]:2->1\"]";
    assert!(nets(different).is_ok(), "{:?}", nets(different));
}
