//! Tests of the command line's definitions.

use std::path::Path;
use std::time::Duration;

use clap::{CommandFactory, Parser};

use devices::input::Key;
use vocabulary::{ByteSize, ConsoleSpec};

use super::vbios::DeviceId;
use super::{
    AcpiCommand, Awaited, Chord, Cli, Command, CpuidView, CtlCommand, DumpArgs, ExplainCommand, FindArgs,
    InfoArgs, MouseAction, PointerButton, RunOptions, UsbAction, UsbDeviceArgs, UsbName, VbiosCommand,
};
use crate::config::{ControlSpec, Overrides};
use crate::watch::{Verdict, Watcher};

fn run(args: &[&str]) -> Result<RunOptions, String> {
    let args = ["optimus-vmm", "run", "vm.toml"].iter().chain(args);
    match Cli::try_parse_from(args).map_err(|error| error.to_string())?.command {
        Command::Run(args) => Ok((*args).into()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definitions_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn without_options_the_file_decides() {
    let options = run(&[]).unwrap();
    assert_eq!(options.config, Path::new("vm.toml"));
    assert_eq!(options.overrides, Overrides::default());
    assert!(!options.headless && options.timeout.is_none() && options.events.is_none());
    assert!(options.script.0.is_empty() && options.fail_on.is_empty());
}

#[test]
fn every_option_arrives() {
    let options = run(&[
        "--kernel",
        "bzImage",
        "--initrd",
        "initrd",
        "--append",
        "-x console=ttyS0",
        "--memory",
        "2G",
        "--serial",
        "unix:/s",
        "--debugcon",
        "file:fw.log",
        "--control",
        "unix:vm.sock",
        "--screenshot",
        "end.png",
        "--headless",
        "--timeout",
        "1.5",
        "--expect",
        "login:",
        "--direct",
        "--expect",
        "^# $",
        "--fail-on",
        "(?i)panic",
        "--events",
        "events.jsonl",
    ])
    .unwrap();
    assert_eq!(
        options.overrides,
        Overrides {
            memory: Some(ByteSize::from_mib(2048)),
            kernel: Some("bzImage".into()),
            initrd: Some("initrd".into()),
            append: Some("-x console=ttyS0".into()),
            direct: true,
            serial: Some(ConsoleSpec::Unix("/s".into())),
            debugcon: Some(ConsoleSpec::File("fw.log".into())),
            control: Some(ControlSpec::Unix("vm.sock".into())),
            payload: None,
            no_net: false,
            screen: true,
            detach: false,
        }
    );
    assert!(options.headless);
    assert_eq!(options.timeout, Some(Duration::from_millis(1500)));
    let expect: Vec<_> = options.script.0.iter().map(|step| step.expect.as_str()).collect();
    assert_eq!(expect, ["login:", "^# $"]);
    let mut watcher = Watcher::new([], options.fail_on.clone()).unwrap();
    watcher.feed(b"\xffKernel PANIC");
    assert!(matches!(watcher.observer().verdict(), Verdict::Failed { .. }));
    assert_eq!(options.events.as_deref(), Some(Path::new("events.jsonl")));
    assert_eq!(options.screenshot.as_deref(), Some(Path::new("end.png")));
}

#[test]
fn wrong_values_are_explained() {
    for (args, expected) in [
        (["--memory", "2GB"], "write \"2G\" for powers of 1024"),
        (["--serial", "tty"], "\"tty\" names no console: write one of \"stdio\""),
        (["--debugcon", "file:"], "after `file:`, the path is empty"),
        (["--control", "/run/vm"], "write \"unix:/run/vm\" for a socket at this path"),
        (["--control", "yes"], "write one of \"auto\", \"on\", \"off\" and \"unix:PATH\""),
        (["--timeout", "soon"], "write a number of seconds, such as 60 or 0.5"),
        (["--timeout", "0"], "the time must be more than 0 seconds"),
        (["--timeout", "nan"], "write a number of seconds"),
        (["--expect", "("], "regex parse error"),
        (["--screenshot", "x.jpg"], "write a name that ends in .png"),
        (["--headles", "x"], "--headless"),
    ] {
        let error = run(&args).unwrap_err();
        assert!(error.contains(expected), "{args:?}: {error}");
    }
}

#[test]
fn cpuid_is_shown_whole_or_as_a_difference() {
    let view = |words: &[&str]| {
        let words = ["optimus-vmm", "plan", "x.toml"].iter().chain(words);
        Cli::try_parse_from(words).map(|cli| match cli.command {
            Command::Plan(args) => args.cpuid,
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(view(&[]).unwrap(), None);
    assert_eq!(view(&["--cpuid"]).unwrap(), Some(CpuidView::Guest));
    assert_eq!(view(&["--cpuid=diff", "--json"]).unwrap(), Some(CpuidView::Diff));
    assert!(view(&["--cpuid=all"]).is_err());
    assert!(view(&["--cpuid", "--offline"]).is_err(), "what KVM offers is asked of the host");
}

#[test]
fn global_options_stand_anywhere() {
    for args in
        [["optimus-vmm", "-vv", "--log", "l", "schema"], ["optimus-vmm", "schema", "-v", "-v", "--log=l"]]
    {
        let cli = Cli::try_parse_from(args).unwrap();
        assert_eq!((cli.verbose, cli.log.as_deref()), (2, Some(Path::new("l"))));
    }
    let cli = Cli::try_parse_from(["optimus-vmm", "plan", "x.toml", "--json"]).unwrap();
    assert!(matches!(cli.command, Command::Plan(args) if args.json && args.config == Path::new("x.toml")));
}

#[test]
fn tables_are_dumped_into_a_folder() {
    let dump = |args: &[&str]| {
        let args = ["optimus-vmm", "acpi", "dump"].iter().chain(args).copied();
        match Cli::try_parse_from(args).unwrap().command {
            Command::Acpi { command: AcpiCommand::Dump(args) } => args,
            other => panic!("{other:?}"),
        }
    };
    let plain = dump(&["vm.toml"]);
    assert_eq!(
        (plain.config.as_path(), plain.output.as_path(), plain.dsl),
        (Path::new("vm.toml"), Path::new("."), false)
    );
    let all = dump(&["vm.toml", "-o", "tables", "--dsl"]);
    assert_eq!((all.output.as_path(), all.dsl), (Path::new("tables"), true));
    assert!(Cli::try_parse_from(["optimus-vmm", "acpi"]).is_err());
}

#[test]
fn the_words_of_vbios_arrive() {
    let vbios = |words: &[&str]| match Cli::try_parse_from(["optimus-vmm", "vbios"].iter().chain(words)) {
        Ok(Cli { command: Command::Vbios(args), .. }) => args.command,
        other => panic!("{other:?}"),
    };
    let device = Some(DeviceId { vendor: 0x10de, device: 0x1c8d });
    let expected = InfoArgs { file: "f".into(), device, json: true };
    let info = vbios(&["info", "f", "--device", "10de:1C8D", "--json"]);
    assert!(matches!(info, VbiosCommand::Info(args) if args == expected));

    let expected = FindArgs { file: "f".into(), output: ".".into(), force: false };
    assert!(matches!(vbios(&["find", "f"]), VbiosCommand::Find(args) if args == expected));
    let expected = FindArgs { output: "o".into(), force: true, ..expected };
    assert!(
        matches!(vbios(&["find", "f", "-o", "o", "--force"]), VbiosCommand::Find(args) if args == expected)
    );

    let host = "0000:01:00.0".parse().unwrap();
    let expected = DumpArgs { host, output: None, force: false };
    assert!(
        matches!(vbios(&["dump", "--host", "0000:01:00.0"]), VbiosCommand::Dump(args) if args == expected)
    );
    let expected = DumpArgs { output: Some("o".into()), force: true, ..expected };
    let dump = vbios(&["dump", "--host", "01:00.0", "-o", "o", "--force"]);
    assert!(matches!(dump, VbiosCommand::Dump(args) if args == expected));
    assert!(Cli::try_parse_from(["optimus-vmm", "vbios", "dump"]).is_err());
}

#[test]
fn the_words_of_ctl_arrive() {
    let ctl = |words: &[&str]| {
        let args = ["optimus-vmm", "ctl"].iter().chain(words);
        match Cli::try_parse_from(args).map_err(|error| error.to_string())?.command {
            Command::Ctl(args) => Ok((args.machine, args.json, args.command)),
            other => Err(format!("{other:?}")),
        }
    };
    let key = |keys: &[Key], hold| CtlCommand::Key { chords: vec![Chord(keys.to_vec())], hold };
    let mouse = |action| CtlCommand::Mouse { action };
    for (words, command) in [
        (&["vm"][..], None),
        (&["vm", "status"], Some(CtlCommand::Status)),
        (&["vm", "powerdown"], Some(CtlCommand::Powerdown { wait: false, timeout: None })),
        (
            &["vm", "powerdown", "--wait", "--timeout", "90"],
            Some(CtlCommand::Powerdown { wait: true, timeout: Some(Duration::from_secs(90)) }),
        ),
        (&["vm", "wait"], Some(CtlCommand::Wait { awaited: vec![Awaited::Shutdown], timeout: None })),
        (
            &["vm", "wait", "--for", "reset,panicked", "--timeout", "2"],
            Some(CtlCommand::Wait {
                awaited: vec![Awaited::Reset, Awaited::Panicked],
                timeout: Some(Duration::from_secs(2)),
            }),
        ),
        (&["vm", "pause"], Some(CtlCommand::Pause)),
        (&["vm", "resume"], Some(CtlCommand::Resume)),
        (&["vm", "screenshot", "-"], Some(CtlCommand::Screenshot { file: "-".into() })),
        (&["vm", "reset"], Some(CtlCommand::Reset)),
        (&["vm", "quit"], Some(CtlCommand::Quit)),
        (&["vm", "console"], Some(CtlCommand::Console { linger: None })),
        (&["vm", "screenshot", "a.png"], Some(CtlCommand::Screenshot { file: "a.png".into() })),
        (&["vm", "type", "-"], Some(CtlCommand::Type { text: "-".into() })),
        (&["vm", "type", "--help me"], Some(CtlCommand::Type { text: "--help me".into() })),
        (&["vm", "key", "ctrl-alt-delete"], Some(key(&[Key::LEFT_CTRL, Key::LEFT_ALT, Key::DELETE], None))),
        (&["vm", "key", "--hold", "700", "f2"], Some(key(&[Key::F2], Some(Duration::from_millis(700))))),
        (&["vm", "mouse", "move", "-5", "3"], Some(mouse(MouseAction::Move { dx: -5, dy: 3 }))),
        (&["vm", "mouse", "to", "640", "0"], Some(mouse(MouseAction::To { x: 640, y: 0 }))),
        (&["vm", "mouse", "click"], Some(mouse(MouseAction::Click { button: PointerButton::Left }))),
        (&["vm", "mouse", "click", "side"], Some(mouse(MouseAction::Click { button: PointerButton::Side }))),
        (&["vm", "usb"], Some(CtlCommand::Usb { action: None })),
        (
            &["vm", "usb", "attach", "046d:c52b", "--serial", "x"],
            Some(CtlCommand::Usb {
                action: Some(UsbAction::Attach(UsbDeviceArgs {
                    device: UsbName::Id("46d:c52b".parse().unwrap()),
                    serial: Some("x".into()),
                })),
            }),
        ),
        (
            &["vm", "usb", "detach", "1-4.2"],
            Some(CtlCommand::Usb {
                action: Some(UsbAction::Detach(UsbDeviceArgs {
                    device: UsbName::Port("1-4.2".parse().unwrap()),
                    serial: None,
                })),
            }),
        ),
        (&["vm", "mouse", "wheel", "-2"], Some(mouse(MouseAction::Wheel { steps: -2 }))),
    ] {
        assert_eq!(ctl(words), Ok((Some("vm".into()), false, command)), "{words:?}");
    }
    assert_eq!(ctl(&[]), Ok((None, false, None)));
    assert_eq!(ctl(&["status"]), Ok((None, false, Some(CtlCommand::Status))));
    assert_eq!(ctl(&["vm", "status", "--json"]), Ok((Some("vm".into()), true, Some(CtlCommand::Status))));
    for (words, expected) in [
        (&["vm", "key", "ctr"][..], "there is no key"),
        (&["vm", "key"], "required"),
        (&["vm", "key", "a", "--hold", "1h"], "milliseconds, at most 10000"),
        (&["vm", "screenshot"], "FILE.png"),
        (&["vm", "mouse", "wheel", "5000"], "-100..=100"),
        (&["vm", "mouse", "click", "third"], "possible values"),
        (&["vm", "usb", "attach", "mouse"], "such as 046d:c52b, or a port such as 1-4.2"),
        (&["vm", "usb", "attach", "046d:xyz"], "such as \"046d:c52b\""),
        (&["vm", "explode"], "unexpected argument"),
    ] {
        let error = ctl(words).unwrap_err();
        assert!(error.contains(expected), "{words:?}: {error}");
    }
}

#[test]
fn drivers_are_known_by_both_kinds_of_versions() {
    let branch = |version: &str| {
        let words = ["optimus-vmm", "explain", "code43", "vm.toml", "--driver", version];
        match Cli::try_parse_from(words).ok()?.command {
            Command::Explain { command: ExplainCommand::Code43(args) } => Some(args.driver?.branch),
            other => panic!("{other:?}"),
        }
    };
    for (version, expected) in [
        ("551.86", 551),
        ("465", 465),
        ("550.54.14", 550),
        // Windows' numbers of 551.86, 465.89, 442.92 and 500.12.
        ("31.0.15.5186", 551),
        ("27.21.14.6589", 465),
        ("26.21.14.4292", 442),
        ("30.0.15.12", 500),
    ] {
        assert_eq!(branch(version), Some(expected), "{version}");
    }
    for wrong in
        ["", "new", "551.", ".86", "31.0.15", "31.0.15.5186.1", "99999", "199.9", "551.86-1", "123456.1"]
    {
        assert_eq!(branch(wrong), None, "{wrong}");
    }
}
