//! Who has to go for whom, and how often that is logged.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::{MOST_UNAUTHENTICATED, Peer, Place, Unauthenticated, place};
use crate::vnc::session::Stage;

fn peer(number: u8) -> Peer {
    Peer::of(IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)))
}

fn client(number: u8, stage: Stage, heard: Instant) -> Unauthenticated {
    Unauthenticated { peer: peer(number), stage, heard }
}

/// Ten newcomers a second from one address or from many, none of which says a word, do not reach one who types.
#[test]
fn silent_newcomers_replace_each_other() {
    for addresses in [1, 200] {
        let start = Instant::now();
        let mut clients = vec![client(0, Stage::Asked, start)];
        for step in 0..290_u32 {
            let now = start + Duration::from_millis(100) * step;
            let number = u8::try_from(1 + step % addresses).unwrap();
            match place(&clients, peer(number), now) {
                Place::Free => {}
                Place::InsteadOf(index) => {
                    let gone = clients.remove(index);
                    assert_eq!(gone.stage, Stage::Silent);
                    assert!(
                        clients.iter().all(|other| other.stage > Stage::Silent || other.heard >= gone.heard)
                    );
                }
                Place::Nowhere => panic!("a silent one is in the way"),
            }
            clients.push(client(number, Stage::Silent, now));
            assert_eq!(clients[0], client(0, Stage::Asked, start));
            assert!(clients.len() <= MOST_UNAUTHENTICATED);
            assert!(clients.iter().filter(|other| other.peer == peer(1)).count() <= 8);
        }
    }
}

/// Nor do those that get as far as the question, wherever the owner comes from.
#[test]
fn newcomers_that_are_asked_do_not_replace_who_types() {
    let start = Instant::now();
    let mut clients = vec![];
    for step in 0..100_u32 {
        let now = start + Duration::from_millis(50) * step;
        if step == 50 {
            // The owner comes late, and there is a place.
            let place = place(&clients, peer(9), now);
            assert_eq!(place, Place::Free);
            clients.push(client(9, Stage::Asked, now));
        }
        match place(&clients, peer(1), now) {
            Place::Free => clients.push(client(1, Stage::Asked, now)),
            Place::Nowhere => {}
            Place::InsteadOf(index) => panic!("{:?} has to go", clients[index]),
        }
    }
    assert!(clients.contains(&client(9, Stage::Asked, start + Duration::from_millis(2500))));
    // Whoever waits for longer than a human needs gives way.
    let later = start + Duration::from_secs(40);
    assert_eq!(place(&clients, peer(1), later), Place::InsteadOf(0));
}

#[test]
fn the_peer_with_the_most_gives_way() {
    let now = Instant::now();
    let mut clients: Vec<_> = (0..8).map(|_| client(1, Stage::Asked, now)).collect();
    clients.extend((0..8).map(|index| client(10 + index, Stage::Asked, now)));
    let Place::InsteadOf(index) = place(&clients, peer(99), now) else {
        panic!("there is a place for a new peer")
    };
    assert_eq!(clients[index].peer, peer(1));
    // With one each, nobody has to go for another one.
    let clients: Vec<_> = (0..16).map(|index| client(index, Stage::Asked, now)).collect();
    assert_eq!(place(&clients, peer(99), now), Place::Nowhere);
}

#[test]
fn a_host_with_many_addresses_is_one_peer() {
    let of = |text: &str| Peer::of(text.parse().unwrap());
    assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
    assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    assert_eq!(of("2001:db8::1").to_string(), "2001:db8::/64");
    assert_eq!(of("192.0.2.1").to_string(), "192.0.2.1");
}
