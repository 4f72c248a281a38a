//! Waiting for a condition instead of for a time.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

/// How long anything may take on a slow and busy machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Polls until `done` says yes.
///
/// # Errors
/// When it has not after `deadline`; the message names `what` ("waiting until {what}").
pub fn wait_until(what: &str, deadline: Duration, mut done: impl FnMut() -> bool) -> Result<()> {
    wait_ok(what, deadline, || if done() { Ok(()) } else { Err(anyhow!("not yet")) })
}

/// Polls until `attempt` succeeds and returns what it gave.
///
/// # Errors
/// When it has not after `deadline`; the message names `what` and the last failure.
pub fn wait_ok<T>(what: &str, deadline: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(last) if start.elapsed() >= deadline => {
                return Err(last.context(format!("gave up after {deadline:?} of waiting until {what}")));
            }
            Err(_) => thread::sleep(pause),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_as_soon_as_the_condition_holds() {
        let mut polls = 0;
        wait_until("it was polled three times", PATIENCE, || {
            polls += 1;
            polls == 3
        })
        .unwrap();
        assert_eq!(polls, 3);
    }

    #[test]
    fn the_time_out_names_the_condition_and_the_last_failure() {
        let error = wait_ok::<()>("pigs fly", Duration::ZERO, || Err(anyhow!("no wings"))).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("waiting until pigs fly") && text.contains("no wings"), "{text}");
    }
}
