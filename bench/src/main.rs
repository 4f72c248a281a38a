//! Measures Evenkeel against references in the same run; started by `cargo xtask bench`.
//!
//! A [`section`] measures [`figure`]s; [`output`] shows them, and the [`bars`] say what they have to be.

mod arguments;
mod bars;
mod control_plane;
mod data_path;
mod figure;
mod machine;
mod output;
mod priority;
mod probes;
mod quic;
mod schedulers;
mod section;
mod services;
mod subjects;
mod veth;
mod vm;

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use arguments::Arguments;
use bars::BARS;
use figure::Figure;
use machine::Machine;
use output::{compare, json, report, results::Results, terminal};
use section::{Run, Section};

const SECTIONS: &[Section] = &[
    data_path::SECTION,
    quic::SECTION,
    veth::SECTION,
    services::SECTION,
    services::FLOOD,
    control_plane::SECTION,
    probes::SECTION,
    schedulers::SECTION,
    vm::SECTION,
];

fn main() -> ExitCode {
    if let Some(code) = vm::guest::main() {
        return code;
    }
    match bench(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(arguments: &Arguments) -> Result<()> {
    // Whatever can be wrong with the arguments is told before minutes have gone by.
    let old = arguments.compare.as_deref().map(json::load).transpose()?;
    let sections = arguments.select(SECTIONS)?;
    let machine = Machine::here();
    let run = arguments.run();
    pin(run.cpu)?;
    let mut failed = Vec::new();
    let mut results = Results {
        machine,
        short: run.short,
        sections: sections.iter().map(|section| section.name.to_owned()).collect(),
        figures: measure(&sections, &run, &mut failed),
    };
    if arguments.check {
        repeat_where_short(&mut results, &sections, &run);
    }
    show(&results, old.as_ref(), arguments.json)?;
    if arguments.write_docs {
        schedulers::document::write(&results.figures, &workspace().join("docs/schedulers.md"))?;
    }
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    if arguments.check { check(&results) } else { Ok(()) }
}

/// Runs the sections. One that fails is told and named in `failed`: what the others found is not lost for it.
fn measure(sections: &[&Section], run: &Run, failed: &mut Vec<&'static str>) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (i, section) in sections.iter().enumerate() {
        eprintln!("{} ({} of {}): {}", section.name, i + 1, sections.len(), section.about);
        match (section.run)(run) {
            Ok(more) => figures.extend(more),
            Err(error) => {
                eprintln!("error: {}: {error:#}", section.name);
                failed.push(section.name);
            }
        }
    }
    figures
}

/// Runs sections whose bars fall short once more: a machine that does other work for a while must not decide. The better of
/// both runs counts.
fn repeat_where_short(results: &mut Results, sections: &[&Section], run: &Run) {
    for name in bars::complaining(BARS, &results.figures, &results.sections) {
        let Some(section) = sections.iter().find(|section| section.name == name) else { continue };
        eprintln!("{name} once more, because a bar falls short");
        let mut figures: Vec<Figure> =
            results.figures.iter().filter(|figure| figure.section != name).cloned().collect();
        figures.extend(measure(&[section], run, &mut Vec::new()));
        let complaints = |figures: &[Figure]| bars::complaints(BARS, figures, &results.sections).len();
        if complaints(&figures) < complaints(&results.figures) {
            results.figures = figures;
        }
    }
}

fn show(results: &Results, old: Option<&Results>, as_json: bool) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    if as_json {
        print!("{}", json::text(results)?);
    } else {
        print!("{}", terminal::figures(results));
        if let Some(tables) = schedulers::document::tables(&results.figures) {
            print!("\n{tables}");
        }
        print!("{}", terminal::bars(BARS, results));
        if let Some(old) = old {
            print!("{}", compare::compare(old, results));
        }
    }
    let path = json::save(results, &folder.join("results"))?;
    report::save(results, folder)?;
    eprintln!("\nresults: {}\nreport:  {}", path.display(), folder.join("report.html").display());
    Ok(())
}

fn workspace() -> &'static Path {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
    bench.parent().unwrap_or(bench)
}

fn check(results: &Results) -> Result<()> {
    let complaints = bars::complaints(BARS, &results.figures, &results.sections);
    ensure!(complaints.is_empty(), "{} of {} bars:\n  {}", complaints.len(), BARS.len(), complaints.join("\n  "));
    Ok(())
}

fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu).with_context(|| format!("there is no CPU {cpu}"))?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on CPU {cpu}"))
}
