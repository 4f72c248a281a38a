//! `cargo xtask setup`: look, plan, install, look again.

mod guest_kernel;
mod machine;
mod parts;
mod plan;
mod services;
mod step;

use std::{path::Path, time::Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use lb_ebpf::Compiler;

pub(crate) use self::parts::Purpose;
use self::{
    machine::Machine,
    parts::{PARTS, Part},
    plan::{Facts, Plan, candidates, plan},
    services::NoServices,
    step::{LLVM_PREFIX, Step},
};
use crate::progress;

/// What `cargo xtask setup` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Only say what is there and what is missing.
    #[arg(long)]
    check: bool,
    /// Also what `cargo xtask test kernels` and `cargo xtask bench --vm` need: QEMU, kernels for its guests, IPVS.
    #[arg(long)]
    vm: bool,
}

impl Options {
    fn parts(&self) -> Vec<&'static Part> {
        PARTS.iter().filter(|part| self.vm || part.purpose != Purpose::Vm).collect()
    }
}

/// The command: everything for building, testing and linting.
///
/// # Errors
///
/// When something is missing and stays so.
pub(crate) fn main(options: &Options) -> Result<()> {
    let machine = Machine::this();
    if options.check {
        return check(&machine, &options.parts());
    }
    let started = Instant::now();
    install_missing(&machine, &options.parts())?;
    println!("set-up is complete ({:.1} s)", started.elapsed().as_secs_f32());
    Ok(())
}

/// Sees to what these purposes need before another command goes on; silent when all is there.
///
/// # Errors
///
/// When something is missing and stays so.
pub(crate) fn ensure(purposes: &[Purpose]) -> Result<()> {
    let needed: Vec<_> = PARTS.iter().filter(|part| purposes.contains(&part.purpose)).collect();
    install_missing(&Machine::this(), &needed)
}

/// Whether everything for a purpose is there already.
pub(crate) fn is_complete(purpose: Purpose) -> bool {
    let needed: Vec<_> = PARTS.iter().filter(|part| part.purpose == purpose).collect();
    missing(&Machine::this(), &needed).is_empty()
}

fn check(machine: &Machine, parts: &[&Part]) -> Result<()> {
    let missing = missing(machine, parts);
    for part in parts {
        let state = if missing.iter().any(|other| other.name == part.name) { "missing" } else { "found" };
        println!("{state:<8} {}", part.name);
    }
    if missing.is_empty() { Ok(()) } else { bail!("{} of {} parts are missing", missing.len(), parts.len()) }
}

fn missing<'a>(machine: &Machine, needed: &[&'a Part]) -> Vec<&'a Part> {
    let compiler = Compiler::find();
    needed.iter().copied().filter(|part| !part.is_present(machine, compiler.as_ref())).collect()
}

fn install_missing(machine: &Machine, needed: &[&Part]) -> Result<()> {
    let missing_parts = missing(machine, needed);
    if missing_parts.is_empty() {
        return Ok(());
    }
    println!("missing:");
    missing_parts.iter().for_each(|part| println!("  {}", part.name));
    if !machine.may_install {
        return Err(commands_to_type(&make_plan(machine, &missing_parts, &|_| true)));
    }
    let unavailable = install(machine, &missing_parts)?;
    let left = missing(machine, &missing_parts);
    if left.is_empty() {
        return Ok(());
    }
    let names = left.iter().map(|part| part.name).collect::<Vec<_>>().join(", ");
    if unavailable.is_empty() {
        bail!("still missing after everything was installed: {names}; is an older one first in the PATH?")
    }
    bail!(
        "still missing: {names}. No package source offers {}: add one that does (Debian 12: bookworm and \
         bookworm-security; LLVM's own packages: https://apt.llvm.org), then run `cargo xtask setup` again",
        unavailable.join(", ")
    )
}

/// Installs and returns the packages that are not to be had.
fn install(machine: &Machine, missing: &[&Part]) -> Result<Vec<&'static str>> {
    let wanted = candidates(missing);
    // What is installed from elsewhere than packages needs no package lists.
    let foreseen = make_plan(machine, missing, &|_| true).steps;
    let mut total = foreseen.len();
    let mut done = 0;
    if foreseen.iter().any(|step| matches!(step, Step::Packages(_) | Step::GuestKernel { .. })) {
        total += 1;
        done += 1;
        perform(machine, &Step::Update, (done, total))?;
    }
    let offered = machine.available_packages(&wanted).unwrap_or_default();
    let plan = make_plan(machine, missing, &|name| offered.iter().any(|other| other == name));
    let total = done + plan.steps.len();
    for step in &plan.steps {
        done += 1;
        perform(machine, step, (done, total))?;
    }
    Ok(plan.unavailable)
}

fn make_plan(machine: &Machine, missing: &[&Part], available: &dyn Fn(&str) -> bool) -> Plan {
    let facts = Facts {
        rustup: machine.find("rustup").is_some(),
        rustup_compiler: Compiler::find().is_some_and(|compiler| !compiler.cargo.starts_with("/usr/bin")),
        llvm: Path::new(LLVM_PREFIX).join("bin/llvm-config").exists(),
        systemctl: machine.find("systemctl").is_some(),
        available,
    };
    plan(missing, &facts)
}

fn perform(machine: &Machine, step: &Step, (number, total): (usize, usize)) -> Result<()> {
    println!("[{number}/{total}] {}", step.title());
    let services = matches!(step, Step::Packages(_)).then(|| NoServices::begin(&machine.service_policy));
    let _no_services =
        services.transpose().with_context(|| format!("cannot write {}", machine.service_policy.display()))?;
    let beat = |elapsed: std::time::Duration, line: &str| println!("        {:>4} s  {line}", elapsed.as_secs());
    match progress::run(step.command(machine), beat) {
        Ok(elapsed) => println!("[{number}/{total}] done in {:.1} s", elapsed.as_secs_f32()),
        Err(failure) if step.is_optional() => println!("{failure}\nwarning: {}; going on", step.advice()),
        Err(failure) => bail!("`{}`\n{failure}\nWhat to do: {}", step.shell(), step.advice()),
    }
    Ok(())
}

fn commands_to_type(plan: &Plan) -> anyhow::Error {
    let mut lines = vec!["nothing was installed: that needs root on Debian or Ubuntu.".to_owned()];
    lines.push("These commands (elsewhere: the packages of the same programs) install it:".to_owned());
    if plan.steps.iter().any(|step| matches!(step, Step::Packages(_) | Step::GuestKernel { .. })) {
        lines.push(format!("  {}", Step::Update.shell()));
    }
    lines.extend(plan.steps.iter().map(|step| format!("  {}", step.shell())));
    anyhow::anyhow!(lines.join("\n"))
}

#[cfg(test)]
mod tests;
