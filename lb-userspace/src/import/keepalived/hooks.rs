//! `quorum`, `hysteresis`, `quorum_up`, `quorum_down`, `notify_up`, `notify_down`.

use super::{
    super::{
        Context,
        model::{At, RealServer},
        report::Place,
        values,
    },
    command, settings,
    tree::Statement,
};

/// A command and the line that it is from.
type Command = At<Vec<String>>;

/// What a virtual server says about its quorum, and what is run.
#[derive(Default)]
pub(super) struct Hooks {
    quorum: Option<At<u64>>,
    hysteresis: Option<At<u64>>,
    up: Option<Command>,
    down: Option<Command>,
    backends: Vec<(String, Command)>,
}

impl Hooks {
    /// Takes a line of a virtual server if it is about one of these.
    pub(super) fn take(&mut self, context: &mut Context, line: &Statement) -> bool {
        let at = line.at();
        let number = |context: &mut Context| {
            settings::number(context, line, 0, u64::from(u32::MAX)).map(|number| At(at, number))
        };
        match line.name() {
            "quorum" => self.quorum = number(context),
            "hysteresis" => self.hysteresis = number(context),
            "quorum_up" => self.up = program(context, line),
            "quorum_down" => self.down = program(context, line),
            _ => return false,
        }
        true
    }

    /// Takes a line of a real server if it is about one of these.
    pub(super) fn take_of_backend(&mut self, context: &mut Context, line: &Statement, address: &str) -> bool {
        let state = match line.name() {
            "notify_up" => "up",
            "notify_down" => "down",
            _ => return false,
        };
        if let Some(command) = program(context, line) {
            self.backends.push((format!("{address} {state}"), command));
        }
        true
    }

    /// When the sorry server takes over: whether that is when nobody else is left, as here.
    pub(super) fn is_first_server(&self) -> bool {
        self.quorum.as_ref().is_none_or(|At(_, quorum)| *quorum <= 1)
            && self.hysteresis.as_ref().is_none_or(|At(_, by)| *by == 0)
    }

    /// The keys of the service.
    pub(super) fn keys(&self, context: &mut Context, servers: &[RealServer]) -> Vec<At<(&'static str, String)>> {
        let mut keys = Vec::new();
        let has_hook = self.up.is_some() || self.down.is_some();
        if self.quorum.is_some() || has_hook {
            let line = self.quorum.as_ref().map(|At(at, _)| *at);
            let at = line.or(self.up.as_ref().or(self.down.as_ref()).map(|At(at, _)| *at)).unwrap_or_default();
            keys.push(At(at, ("quorum", self.level(context, at, servers))));
        } else if let Some(At(at, _)) = self.hysteresis {
            context.ledger.changed(at, "nobody asks for a quorum");
        }
        let mut hooks = Vec::new();
        let mut first: Option<Place> = None;
        let quorum = [("met", &self.up), ("lost", &self.down)];
        let quorum = quorum.into_iter().filter_map(|(state, command)| Some((state.to_owned(), command.clone()?)));
        for (name, variable, commands) in [
            ("quorum", "$EVENKEEL_STATE", quorum.collect::<Vec<_>>()),
            ("backend", "$EVENKEEL_ADDRESS $EVENKEEL_STATE", self.backends.clone()),
        ] {
            let Some((_, At(at, _))) = commands.first() else { continue };
            first.get_or_insert(*at);
            let cases: Vec<_> = commands.into_iter().map(|(value, At(_, command))| (value, command)).collect();
            hooks.push(format!("{name}: {}", values::list(&command::by_value(variable, &cases))));
        }
        if let Some(at) = first {
            keys.push(At(at, ("hooks", format!("{{{}}}", hooks.join(", ")))));
        }
        keys
    }

    /// keepalived adds weights up; here backends are counted, or weights in percent.
    fn level(&self, context: &mut Context, at: Place, servers: &[RealServer]) -> String {
        let wanted = self.quorum.as_ref().map_or(1, |At(_, quorum)| *quorum);
        let by = self.hysteresis.as_ref().map_or(0, |At(_, by)| *by);
        let (up, down) = (wanted.saturating_add(by).max(1), wanted.saturating_sub(by).max(1));
        let places: Vec<Place> = [&self.quorum, &self.hysteresis].into_iter().flatten().map(|At(at, _)| *at).collect();
        let weight = servers.first().map_or(1, |server| server.weight);
        if weight > 0 && servers.iter().all(|server| server.weight == weight) {
            places.iter().for_each(|at| context.ledger.taken(*at));
            let [up, down] = [up, down].map(|level| level.div_ceil(weight).clamp(1, 65_535));
            return format!("{{up: {up}, down: {down}}}");
        }
        let all: u64 = servers.iter().map(|server| server.weight).sum::<u64>().max(1);
        let percent = |level: u64| (level.saturating_mul(100).div_ceil(all)).clamp(1, 100);
        let (up, down) = (percent(up), percent(down).min(percent(up)));
        let note = format!("a sum of weights as percent of all {all}: {up}% and {down}%");
        places.into_iter().chain([at]).for_each(|at| context.ledger.changed(at, note.clone()));
        format!("{{up: {up}%, down: {down}%}}")
    }
}

/// A command; a user that is to run it is no matter of ours.
fn program(context: &mut Context, line: &Statement) -> Option<Command> {
    let words = command::words(&settings::text(context, line)?);
    if words.is_empty() {
        context.fault(line.at(), format!("`{}` names no program", line.name()), "add it, or remove the line");
        return None;
    }
    let note = "a hook that asks which state it is told of";
    context.ledger.changed(line.at(), note);
    if line.argument(1).is_some() {
        context.ledger.changed(line.at(), format!("it runs as the daemon does, not as {}", line.text(1)));
    }
    Some(At(line.at(), words))
}
