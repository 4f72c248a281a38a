//! What the demo is played on: the daemon, the traffic, and the screen that shows both.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use evenkeel_tests::{daemon::Daemon, scenario::service_status};
use serde_json::Value;

use crate::{SERVICE, interrupt::Interrupt, screen::Screen, table::Row, traffic::Traffic, verdict::Finding};

/// Everything that a step of the demo needs to show something.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    /// The balancer.
    pub(crate) daemon: &'a Daemon<'a>,
    /// The clients.
    pub(crate) traffic: &'a Traffic,
    /// Where it is shown.
    pub(crate) screen: &'a mut Screen,
    /// Ctrl-C.
    pub(crate) interrupt: &'a Interrupt,
}

impl Stage<'_> {
    /// Announces a step.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub(crate) fn announce(&mut self, number: u32, text: &str) -> Result<()> {
        Ok(self.screen.say(&format!("\n{number}/{} {text}", crate::story::STEPS))?)
    }

    /// Says what a step came to.
    ///
    /// # Errors
    /// As [`Self::announce`].
    pub(crate) fn report(&mut self, findings: &[Finding]) -> Result<()> {
        for finding in findings {
            self.screen.say(&format!("    {finding}"))?;
        }
        Ok(())
    }

    /// Shows the table until a condition holds.
    ///
    /// # Errors
    /// When the demo is interrupted, the daemon does not answer, or nobody reads any more.
    pub(crate) fn watch(&mut self, mut done: impl FnMut() -> bool) -> Result<()> {
        while !done() {
            if self.interrupt.is_set() {
                bail!("interrupted");
            }
            if self.screen.is_due() {
                let rows = rows(&service_status(self.daemon, SERVICE)?, self.traffic)?;
                self.screen.show(&rows, self.traffic.totals().failed())?;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Ok(())
    }

    /// Shows the table until a moment.
    ///
    /// # Errors
    /// As [`Self::watch`].
    pub(crate) fn watch_until(&mut self, end: Instant) -> Result<()> {
        self.watch(|| Instant::now() >= end)
    }
}

/// Puts together what the daemon says and what the clients saw.
fn rows(status: &Value, traffic: &Traffic) -> Result<Vec<Row>> {
    let (last_second, totals) = (traffic.last_second(), traffic.totals());
    let backends = status["backends"].as_array().context("the daemon's status has no backends")?;
    let row = |backend: &Value| {
        let text = |key: &str| backend[key].as_str().unwrap_or("?").to_owned();
        let number = |key: &str| backend[key].as_u64().unwrap_or(0);
        let name = text("name");
        Row {
            weight: number("weight"),
            last_second: last_second.of(&name),
            total: totals.of(&name),
            share: totals.share(&name),
            flows: number("active_flows"),
            health: text("health"),
            state: text("admin_state"),
            name,
        }
    };
    Ok(backends.iter().map(row).collect())
}
