//! One probe for a service, of the checkers of its real servers.

use std::net::IpAddr;

use super::{
    super::{
        Context,
        model::{At, Probe},
        report::Place,
        values,
    },
    checker::Candidate,
    command,
};

/// The probe that most servers have; where others have another one, or none, that is noted.
pub(super) fn of_all(
    context: &mut Context,
    server: Place,
    candidates: &[(IpAddr, Candidate)],
    without: Option<Place>,
) -> Option<At<Probe>> {
    let count = |probe: &Probe| candidates.iter().filter(|(_, other)| other.probe == *probe).count();
    // Of several that are as frequent the first.
    let (_, chosen) = candidates.iter().rev().max_by_key(|(_, candidate)| count(&candidate.probe))?;
    for (_, other) in candidates.iter().filter(|(_, other)| other.probe != chosen.probe) {
        let note = format!("one probe for all backends of a service: that of line {}", chosen.at.line);
        context.ledger.changed(other.at, note);
    }
    if let Some(at) = without {
        let note = format!("probed as the others of its service are: by line {}", chosen.at.line);
        context.ledger.changed(at, note);
    }
    let mut probe = chosen.probe.clone();
    if probe.kind == "exec" {
        probe.keys.push(("command", program(context, candidates, &chosen.probe)));
    }
    // Its own line rather than the virtual server's: what is refused of it is told there.
    let at = if chosen.at == Place::default() { server } else { chosen.at };
    Some(At(at, probe))
}

/// What is run: one program, or for each server its own.
fn program(context: &mut Context, candidates: &[(IpAddr, Candidate)], chosen: &Probe) -> String {
    let mine = candidates.iter().filter(|(_, candidate)| candidate.probe == *chosen);
    let commands: Vec<_> =
        mine.filter_map(|(address, candidate)| Some((address, candidate.command.clone()?))).collect();
    let Some((_, (_, first))) = commands.first() else { return "[]".to_owned() };
    if commands.iter().all(|(_, (_, command))| command == first) {
        return values::list(first);
    }
    for (_, (at, _)) in &commands {
        context
            .ledger
            .changed(*at, "one program for all backends, which asks for the address of the one that is probed");
    }
    let cases: Vec<_> = commands.into_iter().map(|(address, (_, command))| (address.to_string(), command)).collect();
    values::list(&command::by_value("$EVENKEEL_ADDRESS", &cases))
}
