//! A crowd of connections that stay open, all of them asked again and again by a few threads.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::Held;
use crate::namespace::Namespace;

/// Open files of this process besides the crowd's.
const OTHER_FILES: u64 = 512;

/// Open connections.
#[derive(Debug)]
pub struct Crowd {
    /// By the thread that asks.
    parts: Vec<Vec<Held>>,
}

/// What came of asking.
#[derive(Debug, Default)]
pub struct Asked {
    /// How long each answer took.
    pub times: Vec<Duration>,
    /// Connections that broke, or were answered by another backend than at first, and why. They are asked no more.
    pub broken: Vec<String>,
}

/// Lets this process, and those that it starts from now on, have so many connections open at a time.
///
/// # Errors
/// When that is more than this user may.
pub fn allow_connections(count: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = count + OTHER_FILES;
    if soft >= wanted {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted))
        .with_context(|| format!("cannot have {wanted} open files; is this root?"))
}

impl Crowd {
    /// Opens `count` connections, which `parallel` threads will ask.
    ///
    /// # Errors
    /// When one of them is not answered, or so many files may not be open.
    pub fn open(namespace: &Namespace, server: SocketAddr, count: usize, parallel: usize) -> Result<Self> {
        allow_connections(count as u64)?;
        let part = |index: usize| count / parallel + usize::from(index < count % parallel);
        let parts = (0..parallel).map(|index| Held::open_many(part(index), namespace, server));
        Ok(Self { parts: parts.collect::<Result<_>>()? })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(Vec::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks each once, and again from the first one as long as it shall `go_on`.
    pub fn ask_while(&mut self, go_on: impl Fn() -> bool + Sync) -> Asked {
        let asked: Vec<Asked> = thread::scope(|scope| {
            let go_on = &go_on;
            let threads: Vec<_> = self.parts.iter_mut().map(|part| scope.spawn(move || ask(part, go_on))).collect();
            threads.into_iter().map(|thread| thread.join().expect("nobody panics there")).collect()
        });
        let mut all = Asked::default();
        for part in asked {
            all.times.extend(part.times);
            all.broken.extend(part.broken);
        }
        all
    }
}

fn ask(part: &mut Vec<Held>, go_on: &impl Fn() -> bool) -> Asked {
    let mut asked = Asked::default();
    let mut is_first = true;
    while is_first || go_on() {
        part.retain_mut(|held| {
            if !is_first && !go_on() {
                return true;
            }
            let begun = Instant::now();
            let outcome = held.check();
            match &outcome {
                Ok(()) => asked.times.push(begun.elapsed()),
                Err(error) => asked.broken.push(format!("{error:#}")),
            }
            outcome.is_ok()
        });
        is_first = false;
        if part.is_empty() {
            break;
        }
    }
    asked
}

impl Asked {
    /// The time that this part of the answers took no longer than, 0 to 1; `None` without any.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let mut times = self.times.clone();
        times.sort_unstable();
        let last = times.len().checked_sub(1)?;
        Some(times[(last as f64 * part).round() as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_times() {
        let asked = Asked { times: (0..=100).rev().map(Duration::from_millis).collect(), broken: Vec::new() };
        assert_eq!(asked.quantile(0.99), Some(Duration::from_millis(99)));
        assert_eq!(asked.quantile(0.5), Some(Duration::from_millis(50)));
        assert_eq!(Asked::default().quantile(0.5), None);
    }
}
