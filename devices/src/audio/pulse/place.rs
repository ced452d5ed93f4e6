//! Where the server listens, and what it wants to know its clients by.
//!
//! As PulseAudio's own clients look for it: `$PULSE_SERVER`, then `native` in the folder that `$PULSE_RUNTIME_PATH` names, in `pulse` of
//! `$XDG_RUNTIME_DIR`, of the user's folder in `/run/user`, and of a server for the whole system.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where a server for the whole system listens.
const SYSTEM: &str = "/run/pulse/native";
/// Bytes of a cookie.
const COOKIE: usize = 256;

/// What a process knows of where it is.
pub struct Surroundings<'a> {
    /// A variable of the environment.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The user's number.
    pub user: u32,
    /// Where `/` is.
    pub root: &'a Path,
}

/// A server's socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where it is, or would be.
    pub socket: PathBuf,
    /// What to do if it is not there.
    pub help: Option<String>,
    /// Where the cookie may be.
    cookies: Vec<PathBuf>,
}

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|there| there.file_type().is_socket())
}

impl Surroundings<'_> {
    fn path(&self, name: &str) -> Option<PathBuf> {
        (self.variable)(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The home of a user, by the system's list of users.
    fn home(&self, user: u32) -> Option<PathBuf> {
        let list = fs::read_to_string(self.at("/etc/passwd")).ok()?;
        list.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.nth(2)?.parse() == Ok(user)).then(|| fields.nth(2).map(|home| self.at(home)))?
        })
    }

    /// The socket of another user, for whom somebody else runs this: the one that has called sudo(8) or pkexec(1), or else the first.
    fn of_another(&self) -> Option<PathBuf> {
        let of = |user: &str| self.at("/run/user").join(user).join("pulse/native");
        let caller = ["SUDO_UID", "PKEXEC_UID"].iter().find_map(|name| {
            let socket = of(&(self.variable)(name)?.into_string().ok()?);
            is_socket(&socket).then_some(socket)
        });
        caller.or_else(|| {
            let users = fs::read_dir(self.at("/run/user")).ok()?;
            let mut sockets: Vec<PathBuf> = users
                .flatten()
                .map(|user| user.path().join("pulse/native"))
                .filter(|path| is_socket(path))
                .collect();
            sockets.sort();
            sockets.into_iter().next()
        })
    }
}

impl Place {
    /// Finds the server: the one that is `wanted`, or this user's.
    ///
    /// # Errors
    /// `$PULSE_SERVER` names one that is not reached by a socket of this host: why that cannot be.
    pub fn find(wanted: Option<&Path>, around: &Surroundings<'_>) -> Result<Self, String> {
        let named = match wanted {
            Some(path) => Some(path.to_owned()),
            None => (around.variable)("PULSE_SERVER")
                .map(|server| named(&server.to_string_lossy()))
                .transpose()?
                .flatten(),
        };
        let known = named.is_some();
        let places = [
            named,
            around.path("PULSE_RUNTIME_PATH").map(|folder| folder.join("native")),
            around.path("XDG_RUNTIME_DIR").map(|folder| folder.join("pulse/native")),
            Some(around.at(&format!("/run/user/{}/pulse/native", around.user))),
            Some(around.at(SYSTEM)),
        ];
        let places: Vec<PathBuf> = places.into_iter().flatten().collect();
        let places = if known { places.get(..1).unwrap_or_default() } else { places.as_slice() };
        let there = places.iter().find(|path| is_socket(path)).or(places.first());
        let socket = there.cloned().unwrap_or_else(|| around.at(SYSTEM));
        let help = (!is_socket(&socket)).then(|| help(around, known));
        let cookies = cookies(around, &socket);
        Ok(Self { socket, help, cookies })
    }

    /// The cookie: the first that can be read; without one, zeros, which servers accept that know a client by its user.
    pub(super) fn cookie(&self) -> Vec<u8> {
        let read = |path: &PathBuf| fs::read(path).ok().filter(|cookie| cookie.len() == COOKIE);
        self.cookies.iter().find_map(read).unwrap_or_else(|| vec![0; COOKIE])
    }

    #[cfg(test)]
    pub(super) fn of(socket: &Path) -> Self {
        Self { socket: socket.into(), help: None, cookies: Vec::new() }
    }
}

/// The socket in a value of `$PULSE_SERVER`: a list of servers, of which the first counts.
fn named(server: &str) -> Result<Option<PathBuf>, String> {
    let Some(first) = server.split_whitespace().next() else { return Ok(None) };
    // In front, in braces, may be the host that it is meant for.
    let first = first.rsplit_once('}').map_or(first, |(_, server)| server);
    let path = first.strip_prefix("unix:").unwrap_or(first);
    if path.starts_with('/') {
        return Ok(Some(path.into()));
    }
    Err(format!("$PULSE_SERVER is \"{first}\", and only servers at a Unix socket of this host are supported"))
}

fn help(around: &Surroundings<'_>, known: bool) -> String {
    if let Some(socket) = around.of_another().filter(|_| !known) {
        return format!(
            "to use the one of another user, add `server = \"{}\"` to [audio], or run the machine as that user",
            socket.display()
        );
    }
    "start PulseAudio or PipeWire (`systemctl --user start pipewire-pulse.socket` or `pulseaudio.socket`) as the user who runs \
     the machine, or choose `backend = \"none\"` or a \"wav:FILE\" in [audio]"
        .into()
}

fn cookies(around: &Surroundings<'_>, socket: &Path) -> Vec<PathBuf> {
    let in_home = |home: PathBuf| [home.join(".config/pulse/cookie"), home.join(".pulse-cookie")];
    let owner = fs::metadata(socket).ok().map(|there| there.uid()).filter(|owner| *owner != around.user);
    let mut cookies: Vec<PathBuf> = around.path("PULSE_COOKIE").into_iter().collect();
    cookies.extend(owner.and_then(|owner| around.home(owner)).into_iter().flat_map(in_home));
    cookies.extend(around.path("XDG_CONFIG_HOME").map(|folder| folder.join("pulse/cookie")));
    cookies.extend(around.path("HOME").into_iter().flat_map(in_home));
    cookies
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A host with these files (ending in `native`: sockets) and variables, in which `@` is its root.
    fn find(files: &[&str], variables: &[(&str, &str)], user: u32) -> (String, Option<String>, Vec<String>) {
        let root = tempfile::tempdir().unwrap();
        let mut open = Vec::new();
        for file in files {
            let path = root.path().join(file.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match file.ends_with("native") {
                true => open.push(UnixListener::bind(&path).unwrap()),
                false => fs::write(&path, "").unwrap(),
            }
        }
        let at = root.path().to_str().unwrap();
        let variables: HashMap<&str, String> =
            variables.iter().map(|(name, value)| (*name, value.replace('@', at))).collect();
        let variable = |name: &str| variables.get(name).map(OsString::from);
        let found = Place::find(None, &Surroundings { variable: &variable, user, root: root.path() });
        let plain = |path: PathBuf| path.to_str().unwrap().replace(at, "");
        match found {
            Err(why) => (why, None, Vec::new()),
            Ok(place) => (
                plain(place.socket),
                place.help.map(|help| help.replace(at, "")),
                place.cookies.into_iter().map(plain).collect(),
            ),
        }
    }

    #[test]
    fn a_session_needs_no_configuration() {
        let runtime = "/run/user/1000/pulse/native";
        let (socket, help, cookies) =
            find(&[runtime], &[("XDG_RUNTIME_DIR", "@/run/user/1000"), ("HOME", "@/home/a")], 1000);
        assert_eq!((socket.as_str(), help), (runtime, None));
        assert_eq!(cookies[cookies.len() - 2..], ["/home/a/.config/pulse/cookie", "/home/a/.pulse-cookie"]);
        assert_eq!(find(&[runtime], &[], 1000).0, runtime, "without a session's variables");
        assert_eq!(find(&[SYSTEM], &[("XDG_RUNTIME_DIR", "@/run/user/1000")], 1000).0, SYSTEM);
        let variables =
            [("PULSE_SERVER", "{host}unix:@/x/native tcp:a"), ("XDG_RUNTIME_DIR", "@/run/user/1000")];
        assert_eq!(find(&[runtime, "/x/native"], &variables, 1000).0, "/x/native");
        assert!(find(&[], &[("PULSE_SERVER", "tcp:there")], 1000).0.contains("tcp:there"));
    }

    #[test]
    fn who_has_no_server_is_told_what_helps() {
        let others = ["/run/user/1001/pulse/native", "/run/user/1002/pulse/native"];
        let help = |files: &[&str], variables: &[(&str, &str)]| find(files, variables, 0).1.unwrap();
        assert!(help(&others, &[]).contains("server = \"/run/user/1001/pulse/native\""));
        assert!(help(&others, &[("SUDO_UID", "1002")]).contains("server = \"/run/user/1002/pulse/native\""));
        assert!(help(&[], &[("SUDO_UID", "1002")]).contains("systemctl --user start"));
        assert!(!help(&others, &[("PULSE_SERVER", "/gone")]).contains("/run/user"));
    }

    #[test]
    fn the_cookie_is_that_of_the_socket_s_owner() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh\na:x:7:7::/home/a:/bin/sh\n")
            .unwrap();
        let around = Surroundings { variable: &|_| None, user: 0, root: root.path() };
        assert_eq!(around.home(7), Some(root.path().join("home/a")));
        assert_eq!(around.home(8), None);
    }
}
