//! Hooks: programs that are told of changes. docs/health.md says what they are given.
//!
//! The controller only hands over what happened ([`Hooks::tell`]); a task of its own runs the programs, a few at a time. Of each
//! subject (a service's quorum, a backend of a service) one program runs at a time, and of what happens meanwhile only the newest
//! waits: so a hook never overtakes an older one, and the last thing that a subject's hook is told is what holds.

use std::collections::{HashMap, HashSet, VecDeque};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
    time::timeout,
};

use crate::{
    config::model::Hook,
    probe::shown,
    process::{Program, ending},
};

/// Programs that run at a time.
const AT_ONCE: usize = 8;
/// Of these, of one service: one that hangs does not hold up the others.
const OF_A_SERVICE: usize = 2;
/// Backends whose hooks wait at a time; services' hooks wait beside them.
const MOST_WAITING: usize = 4096;

/// Whom a change is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The service's name.
    pub service: String,
    /// The backend; `None`: the service's quorum.
    pub backend: Option<String>,
}

/// A change that a program is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whom it is about.
    pub subject: Subject,
    /// The program.
    pub hook: Hook,
    /// What it is told.
    pub environment: Vec<(&'static str, String)>,
}

/// The handle to the hooks. Programs that run are killed when it is dropped.
#[derive(Debug)]
pub struct Hooks(UnboundedSender<Event>);

impl Hooks {
    /// Starts the task that runs them.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    #[must_use]
    pub fn start() -> Self {
        let (sender, receiver) = unbounded_channel();
        tokio::spawn(work(receiver));
        Self(sender)
    }

    /// Has a hook told; does not wait. (The task on the other side only sorts what comes, and bounds what waits.)
    pub fn tell(&self, event: Event) {
        // The task ends with this handle only.
        drop(self.0.send(event));
    }
}

async fn work(mut events: UnboundedReceiver<Event>) {
    let mut queue = Queue::default();
    let mut running = JoinSet::new();
    loop {
        while let Some(event) = queue.next() {
            running.spawn(async move {
                run(&event).await;
                event.subject
            });
        }
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => {
                    if let Some(subject) = queue.add(event) {
                        tracing::error!(?subject, "too many hooks wait, this one is not told");
                    }
                }
                None => return,
            },
            Some(ended) = running.join_next() => match ended {
                Ok(subject) => queue.end(&subject),
                Err(error) => tracing::error!(%error, "a hook's task failed"),
            },
        }
    }
}

async fn run(event: &Event) {
    let (command, subject) = (&event.hook.command[0], &event.subject);
    let (service, backend) = (&subject.service, subject.backend.as_deref().unwrap_or("-"));
    let program = match Program::start(&event.hook.command, &event.environment) {
        Ok(program) => program,
        Err(error) => return tracing::error!(command, service, backend, %error, "hook cannot be started"),
    };
    let limit = event.hook.timeout;
    match timeout(limit, program.end()).await {
        Ok(Ok((status, _))) if status.success() => tracing::info!(command, service, backend, "hook done"),
        Ok(Ok((status, output))) => {
            tracing::error!(command, service, backend, output = shown(&output), "hook failed: {}", ending(status));
        }
        Ok(Err(error)) => tracing::error!(command, service, backend, %error, "hook failed"),
        Err(_) => tracing::error!(command, service, backend, ?limit, "hook took too long and was killed"),
    }
}

/// What waits and what runs.
#[derive(Debug, Default)]
struct Queue {
    /// Subjects with something that waits, in the order in which it came.
    order: VecDeque<Subject>,
    waiting: HashMap<Subject, Event>,
    running: HashSet<Subject>,
}

impl Queue {
    /// Takes an event in the place of an older one of the subject; returns its subject if there is no room.
    fn add(&mut self, event: Event) -> Option<Subject> {
        let is_new = !self.waiting.contains_key(&event.subject);
        if is_new && event.subject.backend.is_some() && self.waiting.len() >= MOST_WAITING {
            return Some(event.subject);
        }
        if is_new {
            self.order.push_back(event.subject.clone());
        }
        self.waiting.insert(event.subject.clone(), event);
        None
    }

    /// The next one to run, which runs from now on.
    fn next(&mut self) -> Option<Event> {
        if self.running.len() >= AT_ONCE {
            return None;
        }
        let of_service = |name: &str| self.running.iter().filter(|running| running.service == name).count();
        let may_run =
            |subject: &Subject| !self.running.contains(subject) && of_service(&subject.service) < OF_A_SERVICE;
        let place = self.order.iter().position(may_run)?;
        let subject = self.order.remove(place)?;
        let event = self.waiting.remove(&subject)?;
        self.running.insert(subject);
        Some(event)
    }

    fn end(&mut self, subject: &Subject) {
        self.running.remove(subject);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    fn event(service: &str, backend: Option<&str>, state: &str) -> Event {
        Event {
            subject: Subject { service: service.to_owned(), backend: backend.map(str::to_owned) },
            hook: Hook { command: vec!["/bin/true".to_owned()], timeout: Duration::from_secs(10) },
            environment: vec![("EVENKEEL_STATE", state.to_owned())],
        }
    }

    fn state(event: Option<Event>) -> Option<(String, String)> {
        event.map(|event| (event.subject.service, event.environment[0].1.clone()))
    }

    fn said(service: &str, state: &str) -> Option<(String, String)> {
        Some((service.to_owned(), state.to_owned()))
    }

    #[test]
    fn one_runs_for_each_subject_and_the_newest_waits() {
        let mut queue = Queue::default();
        for step in [("a", "lost"), ("a", "met"), ("b", "lost")] {
            assert_eq!(queue.add(event(step.0, None, step.1)), None);
        }
        assert_eq!(state(queue.next()), said("a", "met"));
        queue.add(event("a", None, "lost"));
        queue.add(event("a", None, "met"));
        queue.add(event("a", None, "lost"));
        assert_eq!(state(queue.next()), said("b", "lost"));
        assert_eq!(queue.next(), None);
        queue.end(&event("a", None, "").subject);
        assert_eq!(state(queue.next()), said("a", "lost"));
        queue.end(&event("a", None, "").subject);
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn few_run_at_once_and_what_waits_is_bounded_but_for_services() {
        let mut queue = Queue::default();
        for number in 0..MOST_WAITING {
            assert_eq!(queue.add(event("a", Some(&number.to_string()), "down")), None);
        }
        assert!(queue.add(event("a", Some("one more"), "down")).is_some());
        assert_eq!(queue.add(event("a", Some("7"), "up")), None);
        assert_eq!(queue.add(event("a", None, "lost")), None);
        assert_eq!((0..10).filter(|_| queue.next().is_some()).count(), OF_A_SERVICE);
        (0..10).for_each(|number| drop(queue.add(event(&number.to_string(), None, "lost"))));
        assert_eq!((0..20).filter(|_| queue.next().is_some()).count(), AT_ONCE - OF_A_SERVICE);
    }

    #[tokio::test]
    async fn the_last_state_is_told_and_a_hook_that_hangs_or_is_missing_holds_up_nobody() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("told");
        let script = format!("sleep 0.05; echo $EVENKEEL_STATE >> {}", file.display());
        let shell = |script: &str| vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()];
        let hooks = Hooks::start();
        let tell = |service: &str, command: Vec<String>, state: &str| {
            let limit = Duration::from_secs(if service == "hangs" { 3600 } else { 60 });
            hooks.tell(Event { hook: Hook { command, timeout: limit }, ..event(service, None, state) });
        };
        tell("hangs", shell("sleep 3600"), "lost");
        tell("missing", vec!["/nonexistent/hook".to_owned()], "lost");
        let states = ["lost", "met", "lost", "met", "lost", "last"];
        states.iter().for_each(|state| tell("a", shell(&script), state));
        let told = || fs::read_to_string(&file).unwrap_or_default();
        while !told().ends_with("last\n") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (order, told): (Vec<&str>, String) = (states.to_vec(), told());
        let mut rest = order.iter();
        assert!(told.lines().all(|line| rest.any(|state| *state == line)), "out of order: {told}");
    }
}
