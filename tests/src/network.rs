//! A network for guests, in the emulated host: the bridge `br0`, behind which a network namespace of its own is the world outside.
//!
//! Outside there are 10.0.2.2 and fd00:2::2, and 10.0.2.100 with a TCP port 7 that sends back what arrives.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{Outcome, ensure};

/// Runs lines of a shell, the first failure of which ends them.
///
/// # Errors
/// What the shell said.
pub fn run(lines: &str) -> Outcome {
    let output = Command::new("sh").args(["-ec", lines]).output()?;
    ensure(output.status.success(), format!("`{lines}` failed: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The network outside. It is taken down with this.
#[derive(Debug)]
pub struct Outside {
    servers: Vec<Child>,
}

impl Outside {
    /// Sets it up.
    ///
    /// # Errors
    /// The kernel refuses, or a program is missing.
    pub fn start() -> Outcome<Self> {
        run("modprobe veth; modprobe bridge; modprobe tun
             ip netns add outside
             ip link add br0 type bridge
             ip link add inner type veth peer name outer
             ip link set outer netns outside
             ip link set inner master br0
             ip link set inner up; ip link set br0 up
             ip -n outside link set lo up
             ip -n outside addr add 10.0.2.2/24 dev outer
             ip -n outside addr add 10.0.2.100/24 dev outer
             ip -n outside addr add fd00:2::2/64 dev outer nodad
             ip -n outside link set outer up")?;
        let mut outside = Self { servers: Vec::new() };
        outside.echo("TCP4-LISTEN:7")?;
        Ok(outside)
    }

    /// Sends back what comes to this address of socat(1)'s, such as `TCP4-LISTEN:7`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn echo(&mut self, address: &str) -> Outcome {
        // What is left to send back after the guest's last byte may take a while.
        self.serve("socat", &["-t", "60", &format!("{address},fork,reuseaddr"), "EXEC:cat"])
    }

    /// A command out there.
    pub fn command(program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", "outside", program]).stdin(Stdio::null());
        command
    }

    /// Starts a program out there, which runs until the network is taken down.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn serve(&mut self, program: &str, words: &[&str]) -> Outcome {
        let child = Self::command(program).args(words).stdout(Stdio::null()).spawn()?;
        self.servers.push(child);
        Ok(())
    }

    /// Answers requests of HTTP out there with a word each, until this process ends: as little as ab(1) takes for an answer.
    ///
    /// # Errors
    /// The port is taken.
    pub fn answer(&self, port: u16) -> Outcome {
        let namespace = File::open("/run/netns/outside")?;
        let (result, bound) = channel();
        // A thread's namespace is its own and that of the threads it makes.
        thread::spawn(move || {
            let listener = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(io::Error::from)
                .and_then(|()| TcpListener::bind(("::", port)));
            match listener {
                Ok(listener) => {
                    let _ = result.send(Ok(()));
                    for stream in listener.incoming().flatten() {
                        thread::spawn(move || converse(stream));
                    }
                }
                Err(error) => {
                    let _ = result.send(Err(error));
                }
            }
        });
        Ok(bound.recv()??)
    }

    /// Makes the TAP interface `tap0`, a port of the bridge.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn add_tap(&self) -> Outcome {
        run("ip tuntap add tap0 mode tap vnet_hdr; ip link set tap0 master br0; ip link set tap0 up")
    }

    /// Makes this host a neighbour of 10.0.2.2 that reaches everything by it, as a notebook in somebody's network: with 10.0.2.15 and
    /// fd00:2::15, the addresses that passt passes on. A guest behind `tap0` must not have these meanwhile.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn join(&self) -> Outcome {
        run("echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range
             ip addr add 10.0.2.15/24 dev br0; ip route add default via 10.0.2.2
             ip addr add fd00:2::15/64 dev br0 nodad; ip -6 route add default via fd00:2::2")
    }

    /// Undoes [`Self::join`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn leave(&self) -> Outcome {
        run("ip addr flush dev br0")
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = run("ip link del tap0 2>/dev/null || true
                     ip netns pids outside | xargs -r kill || true
                     ip link del inner || true; ip link del br0 || true; ip netns del outside || true");
    }
}

/// Answers on one connection until the client closes it.
fn converse(mut stream: TcpStream) -> io::Result<()> {
    const ANSWER: &[u8] =
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nword\n";
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let (mut line, mut keep) = (String::new(), false);
    while lines.read_line(&mut line)? > 0 {
        keep |= line.to_ascii_lowercase().starts_with("connection: keep-alive");
        if line == "\r\n" {
            stream.write_all(ANSWER)?;
            if !std::mem::take(&mut keep) {
                break;
            }
        }
        line.clear();
    }
    Ok(())
}
