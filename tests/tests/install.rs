//! What `scripts/install` puts beside the program, as the shells, the formatter of man pages and systemd see it, and its
//! removal.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests stand outside of test functions: a failure of the host is the failure of the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The checkout.
fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The folder with both programs, built now.
fn built() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let done = Command::new(cargo)
            .args(["build", "--quiet", "--package", "vmm", "--bins", "--message-format", "json"])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let made = String::from_utf8_lossy(&done.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|message| message["target"]["name"] == "optimus-vmm-manual")
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .unwrap();
        made.parent().unwrap().to_owned()
    })
}

/// Runs `scripts/install`.
fn install(words: &[&str]) -> Output {
    Command::new(checkout().join("scripts/install")).args(words).output().unwrap()
}

/// Installs below `prefix` and `destdir`.
fn installed(prefix: &str, destdir: &[&str]) {
    let built = built().to_str().unwrap();
    let done = install(&[&["--built", built, "--prefix", prefix], destdir].concat());
    assert!(done.status.success(), "{done:?}");
}

/// A command's output, both kinds, and whether it succeeded.
fn said(command: &mut Command) -> (bool, String) {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    (done.status.success(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.insert(path);
    }
    found
}

#[test]
fn nothing_is_left_but_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().to_str().unwrap();
    let page = folder.path().join("share/man/man1/other.1");
    fs::create_dir_all(page.parent().unwrap()).unwrap();
    fs::write(&page, "somebody else's").unwrap();
    let before = files(folder.path());
    let done = install(&["--uninstall", "--prefix", prefix]);
    assert!(!done.status.success(), "{done:?}");
    installed(prefix, &[]);
    let first = files(folder.path());
    let (good, version) = said(Command::new(folder.path().join("bin/optimus-vmm")).arg("--version"));
    assert!(good && version.starts_with("optimus-vmm "), "{version}");
    // Of an earlier version.
    let stale = folder.path().join("share/man/man1/optimus-vmm-former.1");
    let list = folder.path().join("share/optimus-vmm/installed");
    fs::write(&stale, "").unwrap();
    let listed = fs::read_to_string(&list).unwrap();
    fs::write(&list, format!("{listed}f share/man/man1/optimus-vmm-former.1\n")).unwrap();
    installed(prefix, &[]);
    assert_eq!(files(folder.path()), first);
    // Somebody else's, in a folder of ours.
    let kept = folder.path().join("share/doc/optimus-vmm/notes");
    fs::write(&kept, "").unwrap();
    assert!(install(&["--uninstall", "--prefix", prefix]).status.success());
    let mut expected = before;
    expected.extend(
        [kept.as_path(), kept.parent().unwrap(), &folder.path().join("share/doc")].map(PathBuf::from),
    );
    assert_eq!(files(folder.path()), expected);
}

#[test]
fn a_package_has_the_paths_of_its_prefix() {
    let folder = tempfile::tempdir().unwrap();
    installed("/usr", &["--destdir", folder.path().to_str().unwrap()]);
    let unit = folder.path().join("usr/share/systemd/user/optimus-vmm@.service");
    let unit = fs::read_to_string(unit).unwrap();
    assert!(unit.contains("\nExecStart=/usr/bin/optimus-vmm run --headless "), "{unit}");
    let words = ["--uninstall", "--prefix", "/usr", "--destdir", folder.path().to_str().unwrap()];
    assert!(install(&words).status.success());
    assert!(!folder.path().join("usr/bin").exists());
}

#[test]
fn a_list_that_leads_elsewhere_removes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (prefix, precious) = (folder.path().join("prefix"), folder.path().join("precious"));
    fs::create_dir_all(prefix.join("share/optimus-vmm")).unwrap();
    fs::write(&precious, "").unwrap();
    for path in ["../precious", "share/../../precious", precious.to_str().unwrap()] {
        fs::write(prefix.join("share/optimus-vmm/installed"), format!("f {path}\n")).unwrap();
        let done = install(&["--uninstall", "--prefix", prefix.to_str().unwrap()]);
        assert!(!done.status.success() && precious.exists(), "{path}: {done:?}");
    }
}

#[test]
fn the_manual_takes_a_folder_and_no_options() {
    let folder = tempfile::tempdir().unwrap();
    for words in [&["--help"][..], &[], &["one", "two"]] {
        let (good, why) =
            said(Command::new(built().join("optimus-vmm-manual")).args(words).current_dir(folder.path()));
        assert!(!good && why.contains("write one folder"), "{words:?}: {why}");
    }
    assert!(files(folder.path()).is_empty());
}

/// groff(1) and mandoc(1) complain of nothing, and what is shown has the words of the help.
#[test]
fn man_pages_are_well_formed() {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(built().join("optimus-vmm-manual")).arg(folder.path()).status().unwrap();
    assert!(made.success());
    let pages: Vec<_> = files(&folder.path().join("share/man/man1")).into_iter().collect();
    assert!(pages.len() > 30, "{pages:?}");
    for page in &pages {
        let (good, warnings) =
            said(Command::new("groff").args(["-man", "-ww", "-z", "-Tutf8", "-Kutf8"]).arg(page));
        assert!(good && warnings.is_empty(), "{}: {warnings}", page.display());
    }
    let (_, warnings) = said(Command::new("mandoc").args(["-Tlint", "-Wwarning"]).args(&pages));
    // Nobody says when a page that is made anew with each build was written.
    let others: Vec<_> = warnings.lines().filter(|line| !line.contains("missing date")).collect();
    assert!(others.is_empty(), "{others:#?}");
    let run = folder.path().join("share/man/man1/optimus-vmm-run.1");
    let (_, shown) = said(Command::new("mandoc").args(["-Tutf8", "-Owidth=100"]).arg(run));
    // Bold is as on terminals of paper: a letter, a step back, the letter.
    let mut plain = String::new();
    for letter in shown.chars() {
        if letter == '\u{8}' {
            plain.pop();
        } else {
            plain.push(letter);
        }
    }
    for words in ["4      --timeout ran out", "\nSCRIPTED RUNS\n"] {
        assert!(plain.contains(words), "{words}: {plain}");
    }
}

/// A folder of sockets as two running machines have it, with the variable that names it.
fn machines(folder: &Path) -> [UnixListener; 2] {
    let sockets = folder.join("optimus-vmm");
    fs::create_dir(&sockets).unwrap();
    ["linux", "windows"].map(|name| UnixListener::bind(sockets.join(format!("{name}.sock"))).unwrap())
}

/// Lines of a command line, and what a shell offers for the last word of each; not more than this if the last is empty.
type Offers = [(&'static str, &'static [&'static str], &'static [&'static str])];

const OFFERS: &Offers = &[
    ("optimus-vmm ", &["run", "plan", "ctl", "doctor"], &["--help", "linux"]),
    ("optimus-vmm ru", &["run"], &["plan"]),
    ("optimus-vmm ctl ", &["linux", "windows"], &["--json"]),
    ("optimus-vmm ctl l", &["linux"], &["windows", "status"]),
    ("optimus-vmm ctl linux ", &["status", "powerdown", "wait"], &["windows"]),
    ("optimus-vmm ctl linux pow", &["powerdown"], &["wait"]),
    ("optimus-vmm ctl linux cdrom ", &["insert", "eject"], &["status"]),
    ("optimus-vmm ctl linux wait --for ", &["running", "stopped", "shutdown"], &["status"]),
    ("optimus-vmm run --det", &["--detach"], &["--direct"]),
    ("optimus-vmm explain code43 w", &["windows"], &["linux"]),
];

fn check_offers(shell: &str, offered: impl Fn(&str) -> String) {
    for (line, expected, others) in OFFERS {
        let text = offered(line);
        let words: BTreeSet<_> =
            text.lines().map(|line| line.split('\t').next().unwrap_or_default()).collect();
        for word in *expected {
            assert!(words.contains(word), "{shell}, `{line}`: {text}");
        }
        for word in *others {
            assert!(!words.contains(word), "{shell}, `{line}`: {text}");
        }
    }
}

fn completions() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(built().join("optimus-vmm-manual")).arg(folder.path()).status().unwrap();
    assert!(made.success());
    folder
}

/// What bash offers for the last word of a line: as it calls the function, with the words, which of them it is, and as arguments
/// the command, the word and the one before it.
fn bash_offers(folder: &Path, line: &str) -> String {
    let call = r#"
        compopt() { :; }
        source "$1"; read -ra COMP_WORDS <<<"$2"; [[ $2 != *' ' ]] || COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$2 COMP_POINT=${#2}
        function=$(complete -p optimus-vmm | sed 's/.*-F \([^ ]*\).*/\1/')
        "$function" optimus-vmm "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let script = folder.join("share/bash-completion/completions/optimus-vmm");
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", call, "bash"]).arg(script).arg(line).current_dir(folder);
    said(bash.env("XDG_RUNTIME_DIR", folder)).1
}

fn fish_offers(folder: &Path, line: &str) -> String {
    let script = folder.join("share/fish/vendor_completions.d/optimus-vmm.fish");
    let mut fish = Command::new("fish");
    fish.args(["--no-config", "-c"]).arg(format!("source {}; complete -C '{line}'", script.display()));
    said(fish.current_dir(folder).env("HOME", folder).env("XDG_RUNTIME_DIR", folder)).1
}

/// zsh completes only for somebody at a terminal: one that it makes itself (zpty), where the function that adds matches is
/// replaced by one that prints them.
fn zsh_offers(folder: &Path, line: &str) -> String {
    let ask = r#"
        zmodload zsh/zpty
        zpty shell zsh -f -i
        zpty -w shell "PS1=; fpath=($1 \$fpath); autoload -U compinit; compinit -D -u"
        zpty -w shell 'compadd() {
            [[ ${@[(i)-O|-A|-D]} -le $# ]] && { builtin compadd "$@"; return }
            local -a __matches; builtin compadd -A __matches "$@"
            for each in $__matches; do print -r -- "MATCH:$each"; done
            return 1
        }'
        zpty -w shell "ask() { zle complete-word; print -r DO''NE; }; zle -N ask; bindkey '^I' ask"
        zpty -w shell "zstyle ':completion:*' completer _complete"
        zpty -w shell "zle-line-init() { print -r REA''DY; }; zle -N zle-line-init"
        # Nothing is typed ahead: what the editor has not begun to read is lost now and then, and a completion ends early for it.
        zpty -r -m shell shown '*READY*'
        zpty -w -n shell "$2"$'\t'
        zpty -r -m shell shown '*DONE*'
        print -r -- ${shown}
        zpty -d shell"#;
    let mut zsh = Command::new("timeout");
    zsh.args(["60", "zsh", "-f", "-c", ask, "zsh"]).arg(folder.join("share/zsh/site-functions")).arg(line);
    let (_, shown) = said(zsh.current_dir(folder).env("XDG_RUNTIME_DIR", folder).env("TERM", "dumb"));
    let matches = shown.split("MATCH:").skip(1).filter_map(|rest| rest.lines().next());
    matches.map(|word| format!("{}\n", word.trim())).collect()
}

#[test]
fn bash_completes_commands_and_machines() {
    let folder = completions();
    let _machines = machines(folder.path());
    let script = folder.path().join("share/bash-completion/completions/optimus-vmm");
    let (good, errors) = said(Command::new("bash").arg("-n").arg(&script));
    assert!(good && errors.is_empty(), "{errors}");
    check_offers("bash", |line| bash_offers(folder.path(), line));
}

#[test]
fn fish_completes_commands_and_machines() {
    let folder = completions();
    let _machines = machines(folder.path());
    let script = folder.path().join("share/fish/vendor_completions.d/optimus-vmm.fish");
    let (good, errors) = said(Command::new("fish").arg("--no-execute").arg(&script));
    assert!(good && errors.is_empty(), "{errors}");
    check_offers("fish", |line| fish_offers(folder.path(), line));
}

#[test]
fn zsh_completes_commands_and_machines() {
    let folder = completions();
    let _machines = machines(folder.path());
    let functions = folder.path().join("share/zsh/site-functions");
    let (good, errors) = said(Command::new("zsh").arg("-n").arg(functions.join("_optimus-vmm")));
    assert!(good && errors.is_empty(), "{errors}");
    check_offers("zsh", |line| zsh_offers(folder.path(), line));
}

/// What a shell offers for a line, with the completions in a folder.
type Complete = fn(&Path, &str) -> String;

/// Whoever may name a socket makes nobody run a command by it, and a folder that is another user's is not looked into.
#[test]
fn sockets_of_others_do_nothing_to_who_completes() {
    let folder = completions();
    let name = "$(touch x)`touch x`";
    let _machines = machines(folder.path());
    let _named = UnixListener::bind(folder.path().join("optimus-vmm").join(format!("{name}.sock"))).unwrap();
    let shells: [(&str, Complete); 3] = [("bash", bash_offers), ("fish", fish_offers), ("zsh", zsh_offers)];
    let lines = ["optimus-vmm ctl ", "optimus-vmm explain code43 "];
    for (shell, offers) in shells {
        for line in lines {
            let text = offers(folder.path(), line);
            assert!(!folder.path().join("x").exists(), "{shell}, `{line}`");
            assert!(text.contains("linux") && text.contains("touch"), "{shell}, `{line}`: {text}");
        }
    }
    // Root alone may give a folder away.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    chown(folder.path().join("optimus-vmm"), Some(65534), Some(65534)).unwrap();
    for (shell, offers) in shells {
        for line in lines {
            let text = offers(folder.path(), line);
            assert!(!text.contains("linux") && !text.contains("touch"), "{shell}, `{line}`: {text}");
        }
    }
}

/// systemd finds nothing wrong with the unit.
#[test]
fn systemd_understands_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    installed(folder.path().to_str().unwrap(), &[]);
    let unit = folder.path().join("share/systemd/user/optimus-vmm@.service");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["--user", "--man=no", "--recursive-errors=no", "verify"]).arg(unit);
    let (good, warnings) = said(verify.env("XDG_RUNTIME_DIR", folder.path()));
    assert!(good && warnings.is_empty(), "{warnings}");
}
