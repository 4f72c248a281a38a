//! `HTTP_GET` and `SSL_GET`.

use regex::bytes::RegexBuilder;

use super::{
    super::{
        super::{Context, report::Outcome, values::scalar},
        settings::{self, Settings},
        tree::Statement,
    },
    Common,
};

/// Most memory that a regular expression may take, in bytes, as the configuration allows.
const MOST_PATTERN: usize = 1 << 20;

pub(super) fn read(
    context: &mut Context,
    checker: &Statement,
    common: &mut Common<'_>,
    settings: &Settings,
    is_tls: bool,
) -> (&'static str, Vec<(&'static str, String)>) {
    let mut keys = Vec::new();
    let mut host = settings.virtualhost.clone();
    if let Some(url) = common.line("url") {
        let mut found = Url::default();
        found.read(context, url);
        host = found.host.take().or(host);
        keys = found.keys(context);
        while let Some(other) = common.line("url") {
            let note = format!("a probe asks for one path: that of line {}", url.at().line);
            other.cover(context, Outcome::NoCounterpart, &note);
        }
    } else {
        context.ledger.changed(checker.at(), "no url: the path is /");
    }
    for name in ["http_protocol", "fast_recovery"] {
        while let Some(line) = common.line(name) {
            match (name, line.text(0)) {
                ("http_protocol", "1.1") => context.ledger.taken(line.at()),
                ("http_protocol", _) => context.ledger.changed(line.at(), "probes speak HTTP/1.1 and close"),
                _ => context.ledger.note(line.at(), Outcome::Taken, "one path is asked for, so it is as fast"),
            }
        }
    }
    let has_sni = common.line("enable_sni").map(|line| context.ledger.taken(line.at())).is_some();
    if let Some(host) = host.filter(|host| is_host(context, checker, host)) {
        if is_tls && has_sni {
            keys.push(("server_name", scalar(host.split(':').next().unwrap_or_default())));
        }
        keys.push(("host", scalar(&host)));
    }
    if is_tls {
        context.ledger.added(
            "verify: none in probes from SSL_GET, which looks at no certificate; remove it to have them verified",
        );
        keys.push(("verify", "none".to_owned()));
    }
    (if is_tls { "https" } else { "http" }, keys)
}

fn is_host(context: &mut Context, checker: &Statement, host: &str) -> bool {
    let is_one = host.parse::<http::uri::Authority>().is_ok_and(|authority| !authority.as_str().contains('@'));
    if !is_one {
        context.fault(checker.at(), format!("virtualhost `{host}` is no host"), "give a name such as www.example.com");
    }
    is_one
}

/// A `url` block.
#[derive(Default)]
struct Url {
    path: Option<String>,
    status: Option<String>,
    host: Option<String>,
    pattern: Option<(super::Place, String)>,
    flags: String,
    is_inverse: bool,
}

impl Url {
    fn read(&mut self, context: &mut Context, url: &Statement) {
        url.taken(context);
        for line in &url.block {
            self.line(context, line);
        }
    }

    fn line(&mut self, context: &mut Context, line: &Statement) {
        let at = line.at();
        match line.name() {
            "path" => {
                context.ledger.taken(at);
                self.path = settings::text(context, line);
                if self.path.as_ref().is_some_and(|path| !path.starts_with('/')) {
                    context.fault(at, "`path` does not begin with `/`", "begin it with `/`");
                }
            }
            "status_code" => self.status(context, line),
            "virtualhost" => {
                context.ledger.taken(at);
                self.host = settings::text(context, line);
            }
            "digest" => {
                context
                    .ledger
                    .no_counterpart(at, "no sum of the page is made; `body_contains` or `body_matches` looks into it");
            }
            "regex" => self.pattern = settings::text(context, line).map(|pattern| (at, pattern)),
            "regex_no_match" => {
                self.is_inverse = true;
                context.ledger.no_counterpart(at, "a body must match, or is not looked at");
            }
            "regex_options" => {
                for word in &line.words[1..] {
                    match word.text.as_str() {
                        "caseless" => self.flags.push('i'),
                        "multiline" => self.flags.push('m'),
                        "dotall" => self.flags.push('s'),
                        "extended" => self.flags.push('x'),
                        "ungreedy" => self.flags.push('U'),
                        "utf" | "ucp" => {}
                        other => {
                            context.ledger.no_counterpart(at, format!("`{other}`: expressions have no such option"))
                        }
                    }
                }
                context.ledger.taken(at);
            }
            "regex_stack" => context.ledger.note(at, Outcome::Taken, "expressions need no stack"),
            "regex_min_offset" | "regex_max_offset" => {
                context.ledger.no_counterpart(at, "the first 64 KiB of the body are looked through");
            }
            other => {
                let note = format!("`{other}` is not known here; look whether it matters");
                line.cover(context, Outcome::NoCounterpart, &note);
            }
        }
    }

    fn status(&mut self, context: &mut Context, line: &Statement) {
        context.ledger.taken(line.at());
        let code = |text: &str| text.parse::<u16>().ok().filter(|code| (100..=599).contains(code));
        for word in &line.words[1..] {
            let (first, last) = word.text.split_once('-').unwrap_or((&word.text, &word.text));
            if !matches!((code(first), code(last)), (Some(first), Some(last)) if first <= last) {
                let reason = format!("`{}` is no status and no range of them", word.text);
                context.fault(word.at, reason, "use 100 to 599, such as 200-299");
                return;
            }
        }
        let words: Vec<&str> = line.words[1..].iter().map(|word| word.text.as_str()).collect();
        if words.is_empty() {
            context.fault(line.at(), "`status_code` has no value", "add codes, such as 200-299");
        }
        self.status = Some(words.join(","));
    }

    fn keys(mut self, context: &mut Context) -> Vec<(&'static str, String)> {
        let mut keys = vec![("path", scalar(&self.path.unwrap_or_else(|| "/".to_owned())))];
        keys.extend(self.status.map(|status| ("status", format!("\"{status}\""))));
        let Some((at, pattern)) = self.pattern.take() else { return keys };
        if self.is_inverse {
            context.ledger.no_counterpart(at, "with regex_no_match it is not looked for");
            return keys;
        }
        let pattern = if self.flags.is_empty() { pattern } else { format!("(?{}){pattern}", self.flags) };
        match RegexBuilder::new(&pattern).size_limit(MOST_PATTERN).build() {
            Ok(_) => {
                context.ledger.taken(at);
                keys.push(("body_matches", scalar(&pattern)));
            }
            Err(_) => context.ledger.no_counterpart(
                at,
                "the expression is not one of docs.rs/regex, which has no look-around and no back-references",
            ),
        }
        keys
    }
}
