//! Nothing panics, whatever the text, and what is imported is always accepted by our own check.

use proptest::prelude::*;

use super::{Imported, config, ipvsadm, keepalived, options};

const RULES: &str = "-A -t 192.0.2.10:80 -s wlc -p 600 -M 255.255.255.0
-a -t 192.0.2.10:80 -r 10.0.0.1:8080 -m -w 3 -x 100 -y 50
-a -t 192.0.2.10:80 -r 10.0.0.2:80 -i -w 1 --tun-type gue --tun-port 6080
-A -u [2001:db8::10]:53 -s sh -b sh-port,sh-fallback --ops
-a -u [2001:db8::10]:53 -r [2001:db8::1]:53 -g -w 0
-A -f 1 -s fo
-E -t 192.0.2.10:80 -s mh
-d -t 192.0.2.10:80 -r 10.0.0.2
--set 900 120 300
";

const FILE: &str = "$N=3
~SEQ(I, 1, 2, 5) $J=${I}
global_defs {
  lvs_timeouts tcp 900 tcpfin 10 udp 30
}
virtual_server_group g {
  192.0.2.1 80
  192.0.2.4-9 443
  2001:db8::1-9 53
  fwmark 1
}
virtual_server group g {
  delay_loop 6
  lb_algo sh
  lb_kind TUN type gue port 6080
  persistence_timeout 50
  persistence_granularity 24
  quorum 3
  hysteresis 1
  quorum_up \"/bin/up 'a b'\"
  sorry_server 10.0.0.9 80
  protocol TCP
  alpha
  real_server 10.0.0.${N} 80 {
    weight 2
    inhibit_on_failure
    notify_down /bin/down
    HTTP_GET {
      url {
        path /
        status_code 200-299 301
        regex a.b
        regex_options caseless
      }
      connect_port 81
      retry 3
    }
    MISC_CHECK {
      misc_path \"/bin/check a\"
    }
  }
  real_server 10.0.0.4 80 {
    UDP_CHECK {
      payload 00 ff
      require_reply 00 xx
    }
    DNS_CHECK {
      name example.com
      type A
    }
  }
}
";

/// Pieces that mutations put in: what the formats give a meaning to.
fn piece() -> impl Strategy<Value = String> {
    let known = [
        "{",
        "}",
        "\n",
        "\"",
        "'",
        "\\",
        "#",
        "!",
        "$",
        "${",
        "@main ",
        "@^main ",
        "~SEQ(",
        ")",
        "~LST(A, a)",
        "include ",
        " -",
        "--",
        "-C\n",
        "-t ",
        "-r ",
        "[",
        "]",
        ":",
        "/",
        "0",
        "1",
        "99999999999999999999",
        "-1",
        "0.0.0.0",
        "255.255.255.255",
        "127.0.0.1",
        "2001:db8::1",
        "::ffff:10.0.0.1",
        "fe80::1",
        "192.0.2.1",
        "gre",
        "UDP",
        "SCTP",
        "fo",
        "ovf",
        "mh",
        "fwmark",
        "group g",
        "1e9",
        "0.0001",
        "NaN",
        "inf",
        "(?=a)",
        "\\x00",
        "\\c",
        "\u{0}",
        "\u{1b}",
        "\u{feff}",
        "é",
        "NAT",
        "DR",
        "x",
    ];
    prop_oneof![
        "[\\PC\\n\\t]{0,6}",
        prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        // Words of the formats at other places.
        prop::sample::select(RULES.split_whitespace().chain(FILE.split_whitespace()).collect::<Vec<_>>())
            .prop_map(|word| format!(" {word} ")),
        prop::sample::select(FILE.lines().collect::<Vec<_>>()).prop_map(|line| format!("\n{line}\n")),
    ]
}

fn mutated(text: &'static str) -> impl Strategy<Value = String> {
    prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, piece()), 1..5).prop_map(move |changes| {
        let mut letters: Vec<char> = text.chars().collect();
        for (start, length, piece) in changes {
            let start = start.index(letters.len() + 1);
            let end = (start + length).min(letters.len());
            letters.splice(start..end, piece.chars());
        }
        letters.into_iter().collect()
    })
}

/// A text is refused with reasons that stand in it, or a good configuration and a row for each line come of it.
fn holds(text: &str) -> Result<(), TestCaseError> {
    let lines = text.lines().count();
    for result in [ipvsadm::import(text, "x", &options()), keepalived::import_text(text, &options())] {
        match result {
            Ok(Imported { configuration, report }) => {
                let parsed = config::parse(&configuration, "x.yaml");
                prop_assert!(parsed.is_ok(), "{:?}\n{}", parsed.err(), configuration);
                prop_assert_eq!(report.rows.len(), lines);
            }
            Err(error) => {
                prop_assert!(!error.problems.is_empty());
                for problem in &error.problems {
                    prop_assert!(problem.line as usize <= lines, "{} of {}: {}", problem.line, lines, problem.reason);
                    prop_assert!(!problem.reason.is_empty() && !problem.remedy.is_empty());
                }
            }
        }
    }
    Ok(())
}

/// A short run by default; `PROPTEST_CASES=100000 cargo test -p evenkeel --test import arbitrary` is a long one.
fn run() -> ProptestConfig {
    let usual = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { usual.cases } else { 400 };
    ProptestConfig { cases, failure_persistence: None, ..usual }
}

proptest! {
    #![proptest_config(run())]

    #[test]
    fn arbitrary_text_does_not_panic(text in "(\\PC|[\\n\\t{}$@~\"'-]){0,200}") {
        holds(&text)?;
    }

    #[test]
    fn mutated_rules_do_not_panic(text in mutated(RULES)) {
        holds(&text)?;
    }

    #[test]
    fn mutated_files_do_not_panic(text in mutated(FILE)) {
        holds(&text)?;
    }
}
