//! The host's name servers, as a guest can use them: those of resolv.conf(5), or those behind a server on the host's loopback, which
//! no guest reaches.

use std::net::IpAddr;
use std::path::Path;

use super::MOST_SERVERS;

/// Where the servers of the host are written.
const FILE: &str = "/etc/resolv.conf";
/// Where systemd-resolved writes those that it asks itself (systemd-resolved.service(8)).
const BEHIND: &str = "/run/systemd/resolve/resolv.conf";

/// The servers of a file. What is no plain address, such as one with a scope, is left out.
fn servers(text: &str) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok()).flatten()
    });
    servers.take(MOST_SERVERS).collect()
}

/// What to tell passt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NameServers {
    /// Nothing: it finds them itself.
    Own,
    /// These.
    These(Vec<IpAddr>),
    /// None that a guest reaches is known.
    Unknown,
}

fn choose(own: Option<&str>, behind: Option<&str>) -> NameServers {
    let reachable = |text: Option<&str>| {
        let all = text.map(servers).unwrap_or_default();
        all.into_iter().filter(|server| !server.is_loopback()).collect::<Vec<_>>()
    };
    if !reachable(own).is_empty() {
        return NameServers::Own;
    }
    match reachable(behind) {
        servers if servers.is_empty() => NameServers::Unknown,
        servers => NameServers::These(servers),
    }
}

/// Those of this host.
pub(super) fn of_host() -> NameServers {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).ok();
    choose(read(FILE).as_deref(), read(BEHIND).as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_a_guest_reaches() {
        let stub = "# systemd\nnameserver 127.0.0.53\noptions edns0\n";
        let these = |servers: &[&str]| {
            NameServers::These(servers.iter().map(|server| server.parse().unwrap()).collect())
        };
        for (own, behind, chosen) in [
            (Some("nameserver 192.168.1.1\n"), None, NameServers::Own),
            (Some("nameserver 127.0.0.1\nnameserver 9.9.9.9\n"), None, NameServers::Own),
            (
                Some(stub),
                Some("nameserver 10.0.0.1\nnameserver fe80::1%2\nnameserver 2001:db8::1\n"),
                these(&["10.0.0.1", "2001:db8::1"]),
            ),
            (Some(stub), None, NameServers::Unknown),
            (Some(stub), Some("nameserver ::1\n"), NameServers::Unknown),
            (None, None, NameServers::Unknown),
            (Some("nameserver\nname server 1.1.1.1\n"), None, NameServers::Unknown),
        ] {
            assert_eq!(choose(own, behind), chosen, "{own:?} {behind:?}");
        }
    }
}
