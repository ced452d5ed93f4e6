//! The `optimus-vmm` command: reads the command line, runs the subcommand, and is the one place that prints answers and errors. What is for
//! people is printed without what could steer their terminal ([`printable`]); JSON is for programs and stays as it is.

mod progress;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use vocabulary::printable::{is_control, printable};

use crate::bench;
use crate::cli::{
    AcpiCommand, AcpiDumpArgs, Cli, Code43Args, Command, CpuidView, CtlArgs, DoctorArgs, ExplainCommand,
    HostArgs, InitArgs, PlanArgs, RunArgs, RunOptions,
};
use crate::config::{self, Overrides};
use crate::ctl;
use crate::detach::{self, Caller, Half, Start};
use crate::doctor;
use crate::events::ProcessStart;
use crate::explain::{self, Explained};
use crate::finding::Findings;
use crate::host::HostFiles;
use crate::init;
use crate::log;
use crate::machine;
use crate::outcome::{Failure, status};
use crate::plan::report::{self, Report};
use crate::setup::{self, Dialogue};
use crate::signals;
use crate::vbios;
use progress::Progress;

/// Does what the command line says.
pub fn main() -> ExitCode {
    let start = ProcessStart::now();
    let cli = match Cli::of_process() {
        Ok(cli) => cli,
        Err(error) => return wrong_words(&error),
    };
    let detached = matches!(&cli.command, Command::Run(args) if args.detach);
    let ready = log::set_up(cli.verbose, cli.log.as_deref(), detached)
        .inspect(|()| signals::survive_file_size_limit());
    let done = ready.and_then(|()| match cli.command {
        Command::Run(args) if args.detach => run_detached(*args, start, cli.log.as_deref()),
        Command::Run(args) => run(*args, start, None),
        Command::Plan(args) => show_plan(&args),
        Command::Bench(args) => measure(|tell| bench::run(&args, start, tell)),
        Command::BenchElsewhere(args) => measure(|tell| bench::elsewhere::run(&args, tell)),
        Command::BenchStart(args) => measure(|_| bench::start::run(&args, start)),
        Command::Acpi { command: AcpiCommand::Dump(args) } => dump_tables(&args),
        Command::Ctl(args) => control(&args),
        Command::Explain { command: ExplainCommand::Code43(args) } => explain(&args),
        Command::Doctor(args) => examine(&args),
        Command::Init(args) => begin(&args),
        Command::Host(args) => change_host(&args),
        Command::Schema => print_raw(&config::schema()),
        Command::Vbios(args) => match vbios::run(&args, cli.verbose > 0) {
            Ok(answer) => print_as(args.json(), &answer.text).map(|_| answer.status),
            Err(error) => {
                complain(&error.to_string());
                Ok(error.status())
            }
        },
    });
    match done {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            complain(&failure.to_string());
            ExitCode::from(failure.status())
        }
    }
}

/// Runs the machine in a process of its own, and returns when it runs.
fn run_detached(args: RunArgs, start: ProcessStart, log: Option<&Path>) -> Result<u8, Failure> {
    match detach::split(log)? {
        Half::Machine(caller) => run(args, start, Some(caller)),
        Half::Caller(Start::Runs(told)) => print(&told),
        Half::Caller(Start::Failed(status)) => Ok(status),
        Half::Caller(Start::Killed(signal)) => {
            complain(&format!("the machine's process was killed by signal {signal} before the machine ran"));
            Ok(u8::try_from(signal).unwrap_or_default().wrapping_add(status::SIGNAL))
        }
    }
}

fn run(args: RunArgs, start: ProcessStart, caller: Option<Caller>) -> Result<u8, Failure> {
    let outcome = machine::run(&RunOptions::from(args), start, caller)?;
    if let Some(message) = outcome.message() {
        complain(&message);
    }
    Ok(outcome.status())
}

fn measure(by: impl FnOnce(bench::Tell) -> Result<bench::Answer, bench::BenchError>) -> Result<u8, Failure> {
    let mut progress = Progress::new();
    let answer = match by(Box::new(move |text: &str| progress.show(text))) {
        Ok(answer) => answer,
        Err(error) => {
            complain(&error.to_string());
            return Ok(error.status());
        }
    };
    print(&answer.text)?;
    if let Some(complaint) = answer.complaint {
        complain(&complaint);
    }
    Ok(answer.status)
}

fn control(args: &CtlArgs) -> Result<u8, Failure> {
    match ctl::run(args) {
        Ok(text) => print_as(args.json, &text),
        Err(error) => {
            complain(&error.to_string());
            Ok(error.status())
        }
    }
}

fn explain(args: &Code43Args) -> Result<u8, Failure> {
    let Explained { report, refused } = match explain::code43(args) {
        Ok(explained) => explained,
        Err(error) => {
            complain(&error.to_string());
            return Ok(error.status());
        }
    };
    if args.json { print_json(report.json()) } else { print(&report.text()) }?;
    if refused > 0 {
        complain("`run` would refuse files of this machine: `optimus-vmm plan` says which, and why");
    }
    Ok(if report.holds() { status::SUCCESS } else { status::CONDITION })
}

fn examine(args: &DoctorArgs) -> Result<u8, Failure> {
    match doctor::run(args) {
        Ok(answer) => print_as(args.json, &answer.text).map(|_| answer.status),
        Err(error) => {
            complain(&error.to_string());
            Ok(error.status())
        }
    }
}

fn begin(args: &InitArgs) -> Result<u8, Failure> {
    match init::run(args) {
        Ok(text) => print(&text),
        Err(error) => {
            complain(&error.to_string());
            Ok(error.status())
        }
    }
}

/// Whoever sits at the terminal.
struct Person;

impl Dialogue for Person {
    fn say(&mut self, text: &str) {
        complain(text);
    }

    fn confirm(&mut self, plan: &str) -> std::io::Result<Option<bool>> {
        if !std::io::stdin().is_terminal() {
            return Ok(None);
        }
        let mut out = std::io::stdout().lock();
        write!(out, "{}\nMake these changes? [y/N] ", printable(plan))?;
        out.flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        Ok(Some(matches!(answer.trim(), "y" | "Y" | "yes")))
    }
}

fn change_host(args: &HostArgs) -> Result<u8, Failure> {
    match setup::run(args, &mut Person) {
        Ok(answer) => print_as(args.json(), &answer.text).map(|_| answer.status),
        Err(error) => {
            complain(&error.to_string());
            Ok(error.status())
        }
    }
}

fn show_plan(args: &PlanArgs) -> Result<u8, Failure> {
    let mut plan = match args.offline {
        true => machine::offline_plan_of(&args.config)?,
        false => machine::plan_of(&args.config, &Overrides::default())?,
    };
    if let Some(view) = args.cpuid {
        return show_cpuid(&machine::cpuid(&plan, view == CpuidView::Diff)?, args.json);
    }
    let mut problems = Vec::new();
    if !args.offline {
        problems = machine::refused_files(&plan);
        problems.extend(machine::refused_tuning(&plan, &HostFiles::default()));
        let lacking = machine::Lacking::query(&plan);
        plan.warnings.extend(lacking.warnings);
        problems.extend(lacking.problems);
    }
    let report = report::report(&plan, &problems);
    show_report(&report, args.json)?;
    Findings::check(problems)?;
    Ok(status::SUCCESS)
}

fn show_report(report: &Report, json: bool) -> Result<u8, Failure> {
    if json { print_json(report.json()) } else { print(&report.text()) }
}

fn show_cpuid(cpuid: &machine::Cpuid, json: bool) -> Result<u8, Failure> {
    if json { print_json(serde_json::to_string_pretty(cpuid)) } else { print(&cpuid.text()) }
}

fn print_json(json: serde_json::Result<String>) -> Result<u8, Failure> {
    let mut json = json.map_err(Failure::Json)?;
    json.push('\n');
    print_raw(&json)
}

fn dump_tables(args: &AcpiDumpArgs) -> Result<u8, Failure> {
    let plan = machine::plan_of(&args.config, &Overrides::default())?;
    let files = machine::dump(&plan, &args.output, args.dsl)?;
    let names: String = files.iter().map(|file| format!("{}\n", file.display())).collect();
    print(&names)
}

/// Help, the version, or what is wrong with the command line. It may quote words that a shell has made of names of files.
fn wrong_words(error: &clap::Error) -> ExitCode {
    let quotable = std::env::args_os().any(|word| word.to_string_lossy().contains(is_control));
    if quotable {
        let _ = write!(std::io::stderr().lock(), "{}", printable(&error.to_string()));
    } else {
        // With its colours.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(status::CONFIG))
}

/// Writes JSON, or text for people, to standard output.
fn print_as(json: bool, text: &str) -> Result<u8, Failure> {
    if json { print_raw(text) } else { print(text) }
}

/// Writes text for people to standard output.
fn print(text: &str) -> Result<u8, Failure> {
    print_raw(&printable(text))
}

/// Writes to standard output. A reader that has seen enough, as `head` does, is no error.
fn print_raw(text: &str) -> Result<u8, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Write { path: "standard output".into(), source: error })
        }
        _ => Ok(status::SUCCESS),
    }
}

fn complain(message: &str) {
    // Nothing is left to tell it to if standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "optimus-vmm: {}", printable(message));
}
