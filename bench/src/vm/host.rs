//! The host's side: makes the guest, runs it and collects what it says.

use std::{env, path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use evenkeel_tests::{
    names,
    vm::{self, DAEMON, INIT, archive::Archive, kernel::Kernel, programs},
};

use super::report::Line;
use crate::{figure::Figure, section::Run};

/// How long the guest may take: many times what it takes on a machine with nothing else to do.
const PATIENCE: Duration = Duration::from_secs(600);
/// The kernel, and the guest's memory in MiB.
const SERIES: &str = "6.12";
const MEMORY: u32 = 1024;
/// Programs that the guest runs.
const PROGRAMS: &[&str] = &["ip", "ethtool", "ipvsadm", "nft", "modprobe"];

/// The section.
pub(super) fn run(run: &Run) -> Result<Vec<Figure>> {
    ensure!(cfg!(target_arch = "x86_64"), "the guest is made for x86-64 only: it runs programs of this machine");
    names::sweep();
    let kernel = Kernel::find(SERIES)?;
    let mut files = Archive::default();
    let this = env::current_exe().context("cannot tell where this program is")?;
    programs::add(&mut files, PROGRAMS, &[(Path::new(INIT), &this)])?;
    files.link(Path::new(DAEMON), INIT);
    kernel.add_modules(&mut files)?;
    run.progress(&format!("Linux {} boots", kernel.version));
    vm::run(&kernel, files, MEMORY, PATIENCE, |qemu| collect(|| qemu.line(), |what| run.progress(what)))
}

/// Takes lines until the guest is done.
fn collect(mut next: impl FnMut() -> Result<Option<String>>, progress: impl Fn(&str)) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    while let Some(line) = next()? {
        match Line::parse(&line).with_context(|| format!("the guest said {line:?}"))? {
            None => {}
            Some(Line::Progress(what)) => progress(&what),
            Some(Line::Figure(figure)) => figures.push(figure),
            Some(Line::Failed(why)) => bail!("the guest failed: {why}"),
            Some(Line::Done) => return Ok(figures),
        }
    }
    bail!("the guest ended before it was done")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Name;

    fn collected(lines: &[Line]) -> Result<Vec<Figure>> {
        let mut lines = lines.iter().map(Line::text);
        collect(|| Ok(lines.next()), |_| {})
    }

    #[test]
    fn figures_count_only_if_the_guest_came_to_its_end() {
        let name = Name { section: "vm", case: "packet", subject: "direct", quantity: "instructions", flows: None };
        let figure = Figure::of(name, "instructions", &[7.0]);
        let (progress, sent) = (Line::Progress("direct".into()), Line::Figure(figure.clone()));
        let whole = [progress.clone(), sent.clone(), Line::Done];
        assert_eq!(collected(&whole).expect("it is whole"), [figure]);
        let cut = collected(&whole[..2]).expect_err("the end is missing").to_string();
        assert!(cut.contains("ended before"), "{cut}");
        let failed = collected(&[sent, Line::Failed("no veth".into()), Line::Done]).expect_err("it failed").to_string();
        assert!(failed.contains("no veth"), "{failed}");
    }
}
