//! What an HTTP answer says, whatever version it came with.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use regex::bytes::Regex;

use super::trouble::{Trouble, shown};
use crate::{
    config::model::{BodyMatch, Http},
    health::Advice,
};

/// How much of a body is read, in bytes.
pub(super) const MOST_BODY: usize = 64 << 10;
/// How large the headers of an answer may be, in bytes.
pub(super) const MOST_HEADERS: u32 = 64 << 10;

/// What the probe is called in the logs of servers.
pub(super) const USER_AGENT: &str = concat!("evenkeel/", env!("CARGO_PKG_VERSION"));

/// Judges status and headers.
pub(super) fn head(http: &Http, status: StatusCode, headers: &HeaderMap) -> Result<Advice, Trouble> {
    if !http.status.has(status.as_u16()) {
        return Err(Trouble::target(format!("status {}, expected {}", status.as_u16(), http.status)));
    }
    let said = http.weight_header.as_ref().map(|name| (name, headers.get(name)));
    let weight_percent = match said {
        None => None,
        // It is not below its weight any more.
        Some((_, None)) => Some(100),
        Some((name, Some(value))) => Some(percent(value.as_bytes()).ok_or_else(|| {
            let value = shown(value.as_bytes());
            Trouble::target(format!("header `{name}` says `{value}`, which is not 0 to 255 percent"))
        })?),
    };
    Ok(Advice { weight_percent, wants: None })
}

fn percent(value: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let digits = text.strip_suffix('%').unwrap_or(text).trim_end();
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// A body as it comes in.
#[derive(Default)]
pub(super) struct Body(Vec<u8>);

impl Body {
    /// Takes a part; returns whether there is room for more.
    pub(super) fn take(&mut self, part: &Bytes) -> bool {
        let room = MOST_BODY - self.0.len();
        self.0.extend_from_slice(&part[..part.len().min(room)]);
        part.len() < room
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.0
    }

    /// Judges it.
    pub(super) fn judge(&self, wanted: &BodyMatch) -> Result<(), Trouble> {
        let (found, what) = match wanted {
            BodyMatch::Contains(text) => {
                (memchr::memmem::find(&self.0, text.as_bytes()).is_some(), format!("does not hold `{text}`"))
            }
            BodyMatch::Matches(pattern) => {
                (compiled(pattern)?.is_match(&self.0), format!("holds nothing that matches `{pattern}`"))
            }
        };
        let whole = if self.0.len() < MOST_BODY { "the body" } else { "the first 64 KiB of the body" };
        if found { Ok(()) } else { Err(Trouble::target(format!("{whole} {what}"))) }
    }
}

/// Regular expressions that were compiled: that takes longer than a probe, and a target, which is compared and sorted by its
/// options, has only the text.
static COMPILED: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
/// When those of configurations that are gone are forgotten.
const MOST_COMPILED: usize = 1024;

fn compiled(pattern: &str) -> Result<Regex, Trouble> {
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(regex) = compiled.get(pattern) {
        return Ok(regex.clone());
    }
    let regex = Regex::new(pattern).map_err(|error| Trouble::Node(error.to_string()))?;
    if compiled.len() >= MOST_COMPILED {
        compiled.clear();
    }
    compiled.insert(pattern.to_owned(), regex.clone());
    Ok(regex)
}
