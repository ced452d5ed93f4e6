//! `human-monitor-command`: the few commands of QEMU's monitor for people that scripts send, in its words. Results are texts,
//! errors too.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Command, Context, Slow, Step, devices, input, inspect, net, power, stepping};
use crate::control::machine::MachineRequest;
use crate::control::protocol::{DIALECT, PACKAGE, Refusal, short};
use crate::screenshot::Format;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Line {
    command_line: String,
    cpu_index: Option<usize>,
}

pub(super) fn commands() -> Vec<Command> {
    vec![stepping::<Line, String>("human-monitor-command", |context, given| {
        let Line { command_line, cpu_index } = given;
        // The commands that look at one vCPU are not among these.
        if cpu_index.is_some_and(|index| index >= context.machine.facts.cpu.count()) {
            return Err(Refusal::new("Parameter 'cpu-index' expects a CPU number"));
        }
        // What a command refuses is its text.
        Ok(perform(context, &command_line)
            .unwrap_or_else(|refusal| Step::Answer(format!("Error: {refusal}\r\n").into())))
    })]
}

fn perform(context: &Context<'_>, line: &str) -> Result<Step, Refusal> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let text = |text: String| Ok(Step::Answer(text.into()));
    let slow = |slow| Ok(Step::Slow(Slow::Monitor(Box::new(slow))));
    match words.as_slice() {
        [] => text(String::new()),
        ["info" | "i", "pci"] => slow(Slow::Pci { text: true }),
        ["info" | "i", what] => text(match info(context, what) {
            Some(known) => known,
            None => format!("unknown command: 'info {}'\r\n", short(what)),
        }),
        ["system_powerdown"] => power::power_button(context).and_then(|_| text(String::new())),
        ["system_reset"] => power::ask(context, MachineRequest::Reset).and_then(|_| text(String::new())),
        ["quit" | "q"] => power::ask(context, MachineRequest::Quit).and_then(|_| text(String::new())),
        ["stop" | "s"] => slow(Slow::Run(false)),
        ["cont" | "c"] => slow(Slow::Run(true)),
        ["sendkey", keys] => slow(send_key(keys, None)?),
        ["sendkey", keys, hold] => match hold.parse() {
            Ok(hold) => slow(send_key(keys, Some(hold))?),
            Err(_) => text(format!("invalid parameter: {}\r\n", short(hold))),
        },
        ["set_link", name, state @ ("on" | "off")] => {
            net::set_link(context, name, *state == "on").and_then(|()| text(String::new()))
        }
        ["screendump", file] => slow(Slow::Screenshot(file.into(), Format::Ppm)),
        ["screendump", "-f", "png", file] | ["screendump", file, "-f", "png"] => {
            slow(Slow::Screenshot(file.into(), Format::Png))
        }
        ["screendump", "-f", "ppm", file] | ["screendump", file, "-f", "ppm"] => {
            slow(Slow::Screenshot(file.into(), Format::Ppm))
        }
        [command @ ("sendkey" | "screendump"), ..] => text(format!(
            "{command}: {} expected\r\n",
            if *command == "sendkey" { "KEYS [MILLISECONDS]" } else { "FILE [-f png|ppm]" }
        )),
        [command, ..] => text(format!("unknown command: '{}'\r\n", short(command))),
    }
}

fn info(context: &Context<'_>, what: &str) -> Option<String> {
    let facts = &context.machine.facts;
    Some(match what {
        "status" => match inspect::status(context).status {
            "running" => "VM status: running\r\n".into(),
            stopped => format!(
                "VM status: paused{}\r\n",
                if stopped == "paused" { String::new() } else { format!(" ({stopped})") }
            ),
        },
        "version" => {
            let super::super::protocol::Dialect { major, minor, micro } = DIALECT;
            format!("{major}.{minor}.{micro} {PACKAGE}\r\n")
        }
        "network" => net::text(context),
        "name" => format!("{}\r\n", facts.name),
        "uuid" => format!("{}\r\n", facts.uuid),
        "kvm" => "kvm support: enabled\r\n".into(),
        "cpus" => {
            let mut text = String::new();
            for cpu in inspect::cpus(context) {
                let chosen = if cpu.cpu_index == 0 { '*' } else { ' ' };
                // Writing to a string cannot fail.
                let _ = write!(text, "{chosen} CPU #{}: thread_id={}\r\n", cpu.cpu_index, cpu.thread_id);
            }
            text
        }
        "block" => devices::block_text(context),
        "chardev" => devices::chardev_text(context),
        "vnc" => devices::vnc_text(context),
        _ => return None,
    })
}

/// `ctrl-alt-delete`, or scan codes such as `0x1d-0x38`.
fn send_key(keys: &str, hold: Option<u64>) -> Result<Slow, Refusal> {
    let key = |name: &str| match name.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16)
            .map_err(|_| Refusal::new(format!("no key has the number {}", short(name))))
            .and_then(input::numbered),
        None => input::named(name),
    };
    let keys: Result<Vec<_>, _> = keys.split('-').map(key).collect();
    input::press(keys?, hold)
}
