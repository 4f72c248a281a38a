//! The page `bench/report.html`, and its plots once more as files.

use std::{fs, io, path::Path};

use anyhow::{Context, Result};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    number,
    plots::{self, Plot},
    results::{Group, Results},
};
use crate::{
    bars::{BARS, Bar},
    figure::Figure,
};

/// Writes `report.html` and `report/*.svg` into a folder.
///
/// # Errors
///
/// If a plot cannot be drawn or a file cannot be written.
pub(crate) fn save(results: &Results, folder: &Path) -> Result<()> {
    let plots = plots::all(results)?;
    let drawings = folder.join("report");
    fs::create_dir_all(&drawings).with_context(|| format!("cannot make {}", drawings.display()))?;
    for plot in &plots {
        save_plot(plot, &drawings)?;
    }
    let page = folder.join("report.html");
    fs::write(&page, document(results, &plots).into_string())
        .with_context(|| format!("cannot write {}", page.display()))
}

/// One that this run has no figures for must not stay from an earlier run.
fn save_plot(plot: &Plot, folder: &Path) -> Result<()> {
    let path = folder.join(plot.name).with_extension("svg");
    let outcome = match &plot.svg {
        Some(svg) => fs::write(&path, svg),
        None => match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        },
    };
    outcome.with_context(|| format!("cannot write {}", path.display()))
}

fn document(results: &Results, plots: &[Plot]) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Evenkeel: bench" }
                style { (PreEscaped(include_str!("report.css"))) }
            }
            body {
                h1 { "Evenkeel: bench" }
                (machine(results))
                h2 { "Bars" }
                (bars(results))
                h2 { "Plots" }
                @for plot in plots { (figure(plot, results)) }
                h2 { "Figures" }
                @for group in results.grouped() { (case(&group)) }
            }
        }
    }
}

fn machine(results: &Results) -> Markup {
    let machine = &results.machine;
    let commit = if machine.commit.is_empty() { "unknown" } else { &machine.commit };
    let rows = [
        ("date", machine.date.as_str()),
        ("commit", commit),
        ("run", &format!("{}: {}", results.form(), results.sections.join(", "))),
        ("CPU", &format!("{}, {} for the bench", machine.cpu, machine.cores)),
        ("kernel", &machine.kernel),
    ];
    html! {
        table { @for (name, value) in rows { tr { th { (name) } td { (value) } } } }
    }
}

fn bars(results: &Results) -> Markup {
    html! {
        p { "Ratios within one run. Costs are compared by their minimum, rates and times by their median." }
        table {
            tr { th { "bar" } th.number { "measured" } th { "bound" } th {} }
            @for bar in BARS { (bar_row(bar, results)) }
        }
    }
}

fn bar_row(bar: &Bar, results: &Results) -> Markup {
    let outcome = bar.outcome(&results.figures);
    html! {
        tr {
            td { (bar.name) }
            td.number { (outcome.value().map(number::figure).unwrap_or_default()) }
            td { (bar.bound) }
            td class=(outcome.word()) { (outcome.word()) }
        }
    }
}

fn figure(plot: &Plot, results: &Results) -> Markup {
    let ran = results.sections.iter().any(|section| section == plot.section);
    html! {
        figure id=(plot.name) {
            figcaption { (plot.title) }
            @match &plot.svg {
                Some(svg) => (PreEscaped(svg)),
                None if ran => p { "Left out: section " (plot.section) " has no such figures in this run." },
                None => p { "Left out: section " (plot.section) " was not run (cargo xtask bench " (plot.section) ")." },
            }
        }
    }
}

fn case(group: &Group<'_>) -> Markup {
    html! {
        h3 { (group.section) ": " (group.case) }
        table {
            tr {
                th { "subject" } th.number { "flows" } th { "quantity" }
                th.number { "minimum" } th.number { "median" } th.number { "maximum" } th { "unit" }
                th.number { "samples" }
            }
            @for figure in &group.figures { (row(figure)) }
        }
    }
}

fn row(figure: &Figure) -> Markup {
    html! {
        tr {
            td { (figure.subject) }
            td.number { (number::flows(figure.flows)) }
            td { (figure.quantity) }
            td.number { (number::figure(figure.minimum)) }
            td.number { (number::figure(figure.median)) }
            td.number { (number::figure(figure.maximum)) }
            td { (figure.unit) }
            td.number { (figure.samples) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::results::tests::example;

    fn page(results: &Results) -> String {
        document(results, &plots::all(results).expect("drawn")).into_string()
    }

    #[test]
    fn machine_bars_plots_and_every_figure_are_on_the_page() {
        let results = example();
        let page = page(&results);
        assert!(page.contains("Some CPU &lt;fast&gt;, 2") && page.contains("0123456789ab"), "the machine");
        assert!(page.contains(r#"<td class="ok">ok</td>"#), "a bar that holds");
        assert!(page.contains(r#"<td class="not measured">not measured</td>"#), "a bar without figures");
        assert_eq!(page.matches("<svg").count(), 4);
        assert_eq!(page.matches("Left out").count(), 0);
        let rows = page.matches("<tr><td>").count();
        assert_eq!(rows, BARS.len() + results.figures.len());
    }

    #[test]
    fn nothing_is_fetched() {
        let page = page(&example());
        for reference in ["src=", "href=", "url(", "@import"] {
            assert!(!page.contains(reference), "{reference}");
        }
    }

    #[test]
    fn a_plot_without_figures_is_left_out_with_the_reason() {
        let mut results = example();
        results.sections.retain(|section| section != "veth");
        results.figures.retain(|figure| figure.section == "data-path");
        let page = page(&results);
        assert!(page.contains("section veth was not run (cargo xtask bench veth)"));
        assert!(page.contains("section services has no such figures"));
        assert_eq!(page.matches("<svg").count(), 2);
    }

    #[test]
    fn files_are_the_page_and_the_plots_of_this_run() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files = || {
            let entries = fs::read_dir(folder.path().join("report")).expect("made by the report");
            let mut names: Vec<_> =
                entries.map(|entry| entry.expect("readable").file_name().into_string().expect("ASCII")).collect();
            names.sort();
            names
        };
        let mut results = example();
        save(&results, folder.path()).expect("the folder is ours");
        assert_eq!(files(), ["connections.svg", "cost-net.svg", "cost-raw.svg", "mpps.svg"]);
        assert!(folder.path().join("report.html").exists());
        results.figures.retain(|figure| figure.section == "veth");
        save(&results, folder.path()).expect("the folder is ours");
        assert_eq!(files(), ["mpps.svg"]);
    }
}
