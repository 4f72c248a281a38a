//! Included files and drop-ins.

use std::{fs, path::PathBuf};

use evenkeel::config;
use tempfile::TempDir;

const WEB: &str = "services:\n- {name: web, vip: 192.0.2.1, port: 80, protocol: tcp, backends: [10.0.0.1]}\n";
const DNS: &str = "services:\n- {name: dns, vip: 192.0.2.2, port: 53, protocol: udp, backends: [10.0.0.2]}\n";
const NODE: &str = "node: {interfaces: [eth0]}\n";

/// Files in a directory; the main one is `main.yaml`.
fn files(files: &[(&str, &str)]) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let main = directory.path().join("main.yaml");
    (directory, main)
}

fn names(list: &[(&str, &str)]) -> Vec<String> {
    let (_directory, main) = files(list);
    let config = config::load(&main).unwrap_or_else(|error| panic!("{error}"));
    config.services.iter().map(|service| service.name.clone()).collect()
}

/// The problems, with the directory taken out.
fn problems(list: &[(&str, &str)]) -> String {
    let (directory, main) = files(list);
    let error = config::load(&main).expect_err("is to be refused");
    error.to_string().replace(&format!("{}/", directory.path().display()), "")
}

#[test]
fn services_are_joined_in_the_order_of_names() {
    let main = format!("version: 1\ninclude: ['more/*.yaml']\n{NODE}{WEB}");
    let other = DNS.replace("dns", "b").replace("192.0.2.2", "192.0.2.3");
    let third = DNS.replace("dns", "c").replace("192.0.2.2", "192.0.2.4");
    let list = [("main.yaml", main.as_str()), ("more/20.yaml", DNS), ("more/10.yaml", &other), ("more/x.yml", "no")];
    assert_eq!(names(&list), ["web", "b", "dns"]);
    let list =
        [&list[..], &[("main.yaml.d/1.yaml", &third)], &[("main.yaml.d/.hidden.yaml", "no"), ("main.yaml.d/x", "no")]];
    assert_eq!(names(&list.concat()), ["web", "b", "dns", "c"]);
}

#[test]
fn node_and_defaults_may_stand_in_an_included_file() {
    let list = [
        ("main.yaml", "version: 1\ninclude: [node.yaml]\n"),
        ("node.yaml", "version: 1\nnode: {interfaces: [eth0]}\ndefaults: {mode: ipip}\n"),
        ("main.yaml.d/web.yaml", WEB),
    ];
    // Without a source address of tunnels `ipip` is refused, so the defaults were read.
    assert!(problems(&list).contains("main.yaml.d/web.yaml:2:"), "{}", problems(&list));
    let good = list[1].1.replace("ipip", "dsr-l2");
    assert_eq!(names(&[list[0], ("node.yaml", &good), list[2]]), ["web"]);
}

#[test]
fn an_absolute_path_may_be_included() {
    let (directory, _) = files(&[("more.yaml", DNS)]);
    let main = format!("version: 1\ninclude: [{}]\n{NODE}", directory.path().join("more.yaml").display());
    assert_eq!(names(&[("main.yaml", &main)]), ["dns"]);
}

#[test]
fn problems_name_the_file_in_which_they_are() {
    let main = format!("version: 1\ninclude: ['more/*.yaml']\n{NODE}{WEB}");
    let with = |more: &str| problems(&[("main.yaml", &main), ("more/a.yaml", more)]);
    for (more, expected) in [
        ("", "more/a.yaml: the file is empty; start from"),
        ("services: [", "more/a.yaml:"),
        ("- 1\n", "more/a.yaml:1:1: expected a map; give `services`, `node` or `defaults`"),
        ("services: 5\n", "more/a.yaml:1:11: expected a list; give a list of services"),
        ("servces: []\n", "more/a.yaml:1:1: unknown key `servces`; did you mean `services`?"),
        ("version: 2\nservices: []\n", "more/a.yaml:1:10: another `version` than the main file's; use `version: 1`"),
        ("include: [b.yaml]\n", "more/a.yaml:1:1: `include` in an included file; only the main file includes others"),
        (NODE, "more/a.yaml:1:1: `node` is given twice, first in main.yaml:3; remove one of the two"),
        ("services:\n- name: dns\n  vip: x\n", "more/a.yaml:3:8: `vip` `x` is no address or prefix"),
        (WEB, "more/a.yaml:2:10: two services are named `web`; give one of them another `name`"),
        (
            "services:\n- {name: w, vip: 192.0.2.1, port: 80, protocol: tcp, backends: [10.0.0.1]}\n",
            "more/a.yaml:2:35: service `w` overlaps service `web`",
        ),
    ] {
        let found = with(more);
        assert!(found.lines().any(|line| line.starts_with(expected)), "no {expected:?} in:\n{found}");
    }
    let twice = [("main.yaml", main.as_str()), ("more/a.yaml", "defaults: {}\n"), ("more/b.yaml", "\ndefaults: {}\n")];
    assert_eq!(
        problems(&twice),
        "more/b.yaml:2:1: `defaults` is given twice, first in more/a.yaml:1; remove one of the two"
    );
}

#[test]
fn includes_that_lead_nowhere_are_told() {
    let with = |include: &str| {
        let main = format!("version: 1\n{NODE}include: {include}\n{WEB}");
        problems(&[("main.yaml", &main), ("a.yaml", DNS), ("d/x", "")])
    };
    for (include, expected) in [
        (
            "[nowhere.yaml]",
            "main.yaml:3:11: `include` `nowhere.yaml` matches no file; correct or remove it, or make the file",
        ),
        ("['x/*.yaml']", "main.yaml:3:11: `include` `x/*.yaml` matches no file"),
        ("['a[.yaml']", "main.yaml:3:11: `include` `a[.yaml`: "),
        ("['a***']", "main.yaml:3:11: `include` `a***`: "),
        ("[d]", "main.yaml:3:11: included file d cannot be read: "),
        ("[5]", "main.yaml:3:11: expected a string, found integer `5`; put it in quotes"),
        ("a.yaml", "main.yaml:3:10: expected a list"),
        ("[a.yaml, a.yaml]", "main.yaml:3:19: a.yaml is read twice; include it once"),
        ("[main.yaml]", "main.yaml:3:11: main.yaml is read twice"),
    ] {
        let found = with(include);
        assert!(found.lines().any(|line| line.starts_with(expected)), "no {expected:?} in:\n{found}");
    }
}
