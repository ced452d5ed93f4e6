//! Who may be connected without having come to an end with the handshake. Unauthenticated clients that stay silent, or come in
//! numbers, must not keep the owner of the screen from typing a password.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::vnc::session::Stage;

/// Unauthenticated clients at once.
pub(super) const MOST_UNAUTHENTICATED: usize = 16;
/// Unauthenticated clients from one place at once.
const MOST_OF_A_PEER: usize = 8;
/// A human types a password within this time. A client that was asked for one is safe for so long.
const TYPING: Duration = Duration::from_secs(30);

/// Where clients come from, as far as one can be told from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// A host; of IPv6 its network, in which a host chooses addresses as it likes.
    Address(IpAddr),
    /// A user of this host.
    User(u32),
}

impl Peer {
    pub(super) fn of(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            address => address,
        })
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(IpAddr::V6(network)) if !network.is_loopback() => write!(f, "{network}/64"),
            Self::Address(address) => write!(f, "{address}"),
            Self::User(user) => write!(f, "user {user}"),
        }
    }
}

/// A client that is not done with the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unauthenticated {
    pub(super) peer: Peer,
    pub(super) stage: Stage,
    /// When it was last heard, or else when it came.
    pub(super) heard: Instant,
}

/// What becomes of a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// There is room.
    Free,
    /// It takes the place of the unauthenticated client with this index.
    InsteadOf(usize),
    /// There is no room.
    Nowhere,
}

/// Finds a place for a newcomer among the `unauthenticated` clients.
pub(super) fn place(unauthenticated: &[Unauthenticated], newcomer: Peer, now: Instant) -> Place {
    let count = |peer: Peer| unauthenticated.iter().filter(|client| client.peer == peer).count();
    let crowded = count(newcomer) >= MOST_OF_A_PEER;
    if !crowded && unauthenticated.len() < MOST_UNAUTHENTICATED {
        return Place::Free;
    }
    let safe = |client: &Unauthenticated| {
        client.stage >= Stage::Asked && now.saturating_duration_since(client.heard) < TYPING
    };
    let candidates =
        || unauthenticated.iter().enumerate().filter(|(_, other)| !crowded || other.peer == newcomer);
    // Who has said least, of the peer with the most, and of those who has been silent for longest.
    let victim = candidates()
        .filter(|(_, client)| !safe(client))
        .min_by_key(|(_, client)| (client.stage, std::cmp::Reverse(count(client.peer)), client.heard));
    // All may be typing: then the latest of a peer that has more than the newcomer's will have.
    let victim = victim.or_else(|| {
        let many = candidates().filter(|(_, client)| count(client.peer) > count(newcomer) + 1);
        many.max_by_key(|(_, client)| (count(client.peer), client.heard))
    });
    victim.map_or(Place::Nowhere, |(index, _)| Place::InsteadOf(index))
}
