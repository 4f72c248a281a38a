//! Coming from IPVS and keepalived: what is taken, what is reported, what is refused, and that nothing panics.

use std::{collections::BTreeSet, fs};

use evenkeel::{
    config::{self, model::*},
    import::{ImportError, Imported, Options, Outcome, Report, ipvsadm, keepalived},
};

#[path = "import/arbitrary.rs"]
mod arbitrary;
#[path = "import/bad.rs"]
mod bad;
#[path = "import/keepalived.rs"]
mod of_keepalived;
#[path = "import/rules.rs"]
mod rules;

const SERVICES: &str = "http 80/tcp www\ndomain 53/tcp\ndomain 53/udp\ntftp 69/udp\n";

fn options() -> Options {
    let tunnel_sources = vec!["10.66.0.0/16".parse().unwrap()];
    Options {
        interfaces: vec!["eth0".into()],
        tunnel_sources,
        config_id: Some("main".into()),
        services: SERVICES.into(),
    }
}

/// What holds of everything that was imported: the configuration is good, and each line of the text has its row.
fn checked(imported: Imported, text: &str) -> (Config, Report) {
    let Imported { configuration, report } = imported;
    let config = config::parse(&configuration, "made.yaml").unwrap_or_else(|error| panic!("{error}\n{configuration}"));
    assert_eq!(config::check_all(&config), Vec::<String>::new());
    assert_eq!(report.rows.len(), text.lines().count());
    let lines: Vec<&str> = report.rows.iter().map(|row| row.text.as_str()).collect();
    for (row, line) in lines.iter().zip(text.lines()) {
        assert!(
            row.starts_with(&line.trim().replace('\t', " ").chars().take(20).collect::<String>())
                || line.contains(char::is_control),
            "{row}"
        );
    }
    let counts = report.counts;
    let sum = counts.taken + counts.changed + counts.no_counterpart + counts.not_ours + counts.blank;
    assert_eq!((counts.lines, sum), (report.rows.len(), report.rows.len()));
    let backends: usize = config.services.iter().map(|service| service.backends.len()).sum();
    assert_eq!((report.services, report.backends), (config.services.len(), backends));
    for row in report.rows.iter().filter(|row| matches!(row.outcome, Outcome::Changed | Outcome::NoCounterpart)) {
        assert!(!row.note.is_empty(), "{row:?}");
    }
    (config, report)
}

fn of_rules(text: &str) -> (Config, Report) {
    checked(ipvsadm::import(text, "rules", &options()).unwrap_or_else(|error| panic!("{error}")), text)
}

fn of_keepalived(text: &str) -> (Config, Report) {
    checked(keepalived::import_text(text, &options()).unwrap_or_else(|error| panic!("{error}")), text)
}

/// The outcome of a line, from 1, and its note.
fn row(report: &Report, line: usize) -> (Outcome, &str) {
    let row = &report.rows[line - 1];
    (row.outcome, row.note.as_str())
}

fn outcomes(report: &Report) -> String {
    let letter = |outcome| match outcome {
        Outcome::Blank => '.',
        Outcome::NotOurs => 'o',
        Outcome::Taken => 't',
        Outcome::Changed => 'c',
        Outcome::NoCounterpart => 'n',
    };
    report.rows.iter().map(|row| letter(row.outcome)).collect()
}

#[test]
fn files_include_files_beside_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("conf.d")).unwrap();
    fs::write(path("keepalived.conf"), "include conf.d/*.conf\ninclude conf.d/none-*.conf\n").unwrap();
    let server = |vip: &str| format!("virtual_server {vip} 80 {{\n include ../servers\n}}\n");
    fs::write(path("conf.d/a.conf"), server("192.0.2.1")).unwrap();
    fs::write(path("conf.d/b.conf"), server("192.0.2.2")).unwrap();
    fs::write(path("servers"), "real_server 10.0.0.1 80 {\n}\n").unwrap();
    let imported = keepalived::import(&path("keepalived.conf"), &options()).unwrap();
    let config = config::parse(&imported.configuration, "x").unwrap();
    let vips: Vec<String> = config.services.iter().map(|service| service.vip.addr().to_string()).collect();
    assert_eq!(vips, ["192.0.2.1", "192.0.2.2"]);
    let files: BTreeSet<_> = imported.report.rows.iter().map(|row| row.file.clone()).collect();
    assert_eq!((files.len(), outcomes(&imported.report).as_str()), (4, "tttttttttt"));

    fs::write(path("servers"), "real_server 10.0.0.1 x {\n}\n").unwrap();
    let error = keepalived::import(&path("keepalived.conf"), &options()).unwrap_err();
    assert!(error.to_string().contains("/servers:1:22: `x` is no port; "), "{error}");
    let ImportError { problems } = keepalived::import(&path("nowhere"), &options()).unwrap_err();
    assert!(problems[0].line == 0 && problems[0].reason.contains("cannot be read"), "{problems:?}");
    let error = keepalived::import(directory.path(), &options()).unwrap_err();
    assert!(error.to_string().contains("is a directory"), "{error}");
}
