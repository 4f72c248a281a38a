//! Options that a virtual server has for its real servers, and these for their checkers.

use std::time::Duration;

use super::{
    super::{Context, report::Outcome},
    tree::Statement,
};

/// What was said on one level.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) connect_timeout: Option<Duration>,
    pub(super) retry: Option<u64>,
    pub(super) delay_before_retry: Option<Duration>,
    pub(super) delay_loop: Option<Duration>,
    pub(super) is_alpha: Option<bool>,
    pub(super) virtualhost: Option<String>,
    pub(super) is_inhibited: Option<bool>,
}

impl Settings {
    /// Takes a line if it is about one of these.
    pub(super) fn take(&mut self, context: &mut Context, line: &Statement) -> bool {
        let at = line.at();
        match line.name() {
            "connect_timeout" => self.connect_timeout = timer(context, line),
            "delay_before_retry" => self.delay_before_retry = timer(context, line),
            "delay_loop" => self.delay_loop = timer(context, line),
            "retry" | "nb_get_retry" => self.retry = number(context, line, 0, 1 << 31),
            "alpha" => self.is_alpha = boolean(context, line),
            "inhibit_on_failure" => self.is_inhibited = boolean(context, line),
            "virtualhost" => self.virtualhost = text(context, line),
            "warmup" => {
                let note = "first probes are spread by themselves";
                context.ledger.note(at, Outcome::Changed, note);
                return true;
            }
            "smtp_alert" => {
                context.ledger.no_counterpart(at, "no mail is sent; `hooks` can");
                return true;
            }
            "snmp_name" => {
                context.ledger.no_counterpart(at, "there is no SNMP");
                return true;
            }
            "log_all_failures" => {
                context.ledger.no_counterpart(at, "`evenkeel backend show` has the last results");
                return true;
            }
            _ => return false,
        }
        context.ledger.taken(at);
        true
    }

    /// With another's where it says nothing.
    pub(super) fn over(&self, outer: &Self) -> Self {
        let (own, outer) = (self.clone(), outer.clone());
        Self {
            connect_timeout: own.connect_timeout.or(outer.connect_timeout),
            retry: own.retry.or(outer.retry),
            delay_before_retry: own.delay_before_retry.or(outer.delay_before_retry),
            delay_loop: own.delay_loop.or(outer.delay_loop),
            is_alpha: own.is_alpha.or(outer.is_alpha),
            virtualhost: own.virtualhost.or(outer.virtualhost),
            is_inhibited: own.is_inhibited.or(outer.is_inhibited),
        }
    }
}

/// The value of a line that has one.
pub(super) fn text(context: &mut Context, line: &Statement) -> Option<String> {
    let word = line.argument(0);
    if word.is_none() {
        context.fault(line.at(), format!("`{}` has no value", line.name()), "add it, or remove the line");
    }
    word.map(|word| word.text.clone())
}

/// A whole number.
pub(super) fn number(context: &mut Context, line: &Statement, least: u64, most: u64) -> Option<u64> {
    let value = text(context, line)?;
    let number = value.parse().ok().filter(|number| (least..=most).contains(number));
    if number.is_none() {
        let at = line.argument(0).map_or(line.at(), |word| word.at);
        context.fault(at, format!("`{}` `{value}` is out of range", line.name()), format!("use {least} to {most}"));
    }
    number
}

/// A time in seconds, with a fraction or without.
fn timer(context: &mut Context, line: &Statement) -> Option<Duration> {
    let value = text(context, line)?;
    let seconds = value.parse::<f64>().ok().filter(|seconds| (0.0..=10_000_000.0).contains(seconds));
    if seconds.is_none() {
        let at = line.argument(0).map_or(line.at(), |word| word.at);
        context.fault(at, format!("`{}` `{value}` is no time", line.name()), "give seconds, such as 6 or 2.5");
    }
    seconds.map(Duration::from_secs_f64)
}

/// A word that is on if it is alone.
fn boolean(context: &mut Context, line: &Statement) -> Option<bool> {
    match line.text(0) {
        "" | "on" | "true" | "yes" => Some(true),
        "off" | "false" | "no" => Some(false),
        other => {
            context.fault(line.at(), format!("`{}` `{other}` is neither on nor off", line.name()), "use on or off");
            None
        }
    }
}
