//! The host's side: makes the guest, runs it and collects what it says.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use evenkeel_tests::names;

use super::{archive::Archive, kernel::Kernel, programs, qemu::Qemu, report::Line};
use crate::{figure::Figure, section::Run};

/// How long the guest may take: many times what it takes on a machine with nothing else to do.
const PATIENCE: Duration = Duration::from_secs(600);
/// Lines of the guest's console that are shown when something failed.
const TAIL: usize = 40;

/// The section.
pub(super) fn run(run: &Run) -> Result<Vec<Figure>> {
    ensure!(cfg!(target_arch = "x86_64"), "the guest is made for x86-64 only: it runs programs of this machine");
    names::sweep();
    let kernel = Kernel::find()?;
    let folder = names::scratch("vm")?;
    let (archive, console) = (folder.path().join("archive"), folder.path().join("console"));
    let mut content = Archive::default();
    programs::add(&mut content)?;
    kernel.add_modules(&mut content)?;
    fs::write(&archive, content.finish()).context("no room for the guest's file system")?;
    run.progress(&format!("Linux {} boots", kernel.version));
    let mut qemu = Qemu::start(&kernel.image, &archive, &console, PATIENCE)?;
    let outcome = collect(|| qemu.line(), |what| run.progress(what));
    drop(qemu);
    outcome.map_err(|error| match tail(&console) {
        said if said.is_empty() => error,
        said => error.context(format!("{said}\n(the last that the guest's console said)")),
    })
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

fn tail(console: &Path) -> String {
    let text = fs::read(console).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
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
