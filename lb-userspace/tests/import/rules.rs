//! Rules of IPVS.

use std::time::Duration;

use super::*;

#[test]
fn each_option_is_taken_or_told() {
    let (config, report) = of_rules(
        "# from a balancer
-A -t 192.0.2.10:80 -s wlc -p 600 -M 255.255.255.0
-a -t 192.0.2.10:80 -r 10.0.0.1:8080 -m -w 3 -x 100 -y 50
-a -t 192.0.2.10:http -r 10.0.0.2:www -m
/sbin/ipvsadm --add-service --udp-service=192.0.2.10:domain --scheduler=sh -b sh-port,sh-fallback --ops

-au192.0.2.10:53 -r10.0.0.1 -g -w0
-a -u 192.0.2.10:53 -r 10.0.0.2:5353 -g
-A -t [2001:db8::10]:443 -s mh --pe sip
-a -t [2001:db8::10]:443 -r [2001:db8::1]:443 -m -w 100000
--set 7200 0 60
--start-daemon master --mcast-interface eth0
-Z
",
    );
    assert_eq!(outcomes(&report), ".tctc.tccctnt");
    let [web, dns, v6] = &config.services[..] else { panic!("{config:?}") };
    assert_eq!(
        (web.name.as_str(), web.mode, web.scheduler.kind),
        ("tcp-192.0.2.10-80", ForwardingMode::Nat, SchedulerKind::LeastConnections)
    );
    let affinity = web.affinity.unwrap();
    assert_eq!((affinity.timeout, affinity.prefix_ipv4), (Duration::from_secs(600), 24));
    let backend = |index: usize| {
        let backend = &web.backends[index];
        (backend.address.to_string(), backend.port, backend.weight, backend.max_connections)
    };
    assert_eq!((backend(0), backend(1)), (("10.0.0.1".into(), 8080, 3, Some(100)), ("10.0.0.2".into(), 80, 1, None)));
    assert_eq!(
        (dns.protocol, dns.mode, dns.scheduler.kind),
        (Protocol::Udp, ForwardingMode::DsrL2, SchedulerKind::Maglev)
    );
    assert_eq!((dns.backends[0].weight, dns.backends[1].port), (0, 53), "direct return leaves ports as they are");
    assert_eq!((v6.scheduler.kind, v6.backends[0].weight), (SchedulerKind::SourceHash, 65_535));
    assert_eq!(web.timeouts.tcp_established, Duration::from_secs(7200));
    assert_eq!((web.timeouts.tcp_closing, web.timeouts.udp), (Duration::from_secs(10), Duration::from_secs(60)));
    assert!(config.services.iter().all(|service| service.probe.is_none()), "IPVS probes nobody");
    assert!(report.added.iter().any(|note| note.starts_with("probe: none")), "{:?}", report.added);
}

#[test]
fn later_lines_change_earlier_ones() {
    let (config, report) = of_rules(
        "-A -t 192.0.2.9:80
-a -t 192.0.2.9:80 -r 10.0.0.9 -m
-C
-A -t 192.0.2.10:80 -s rr
-a -t 192.0.2.10:80 -r 10.0.0.1 -m -w 5
-a -t 192.0.2.10:80 -r 10.0.0.2 -m
-e -t 192.0.2.10:80 -r 10.0.0.1 -g -w 7
-d -t 192.0.2.10:80 -r 10.0.0.2
-E -t 192.0.2.10:80 -s wrr
-A -u 192.0.2.10:80
-D -u 192.0.2.10:80
",
    );
    assert_eq!(outcomes(&report), "ttttttttttt");
    assert_eq!(row(&report, 2), (Outcome::Taken, "deleted again by line 3"));
    let [service] = &config.services[..] else { panic!("{config:?}") };
    assert_eq!((service.scheduler.kind, service.mode), (SchedulerKind::WeightedRoundRobin, ForwardingMode::DsrL2));
    assert_eq!((service.backends.len(), service.backends[0].weight), (1, 7));
}

#[test]
fn every_scheduler_has_a_counterpart() {
    for (words, expected) in [
        ("rr", SchedulerKind::RoundRobin),
        ("wrr", SchedulerKind::WeightedRoundRobin),
        ("lc", SchedulerKind::LeastConnections),
        ("wlc", SchedulerKind::LeastConnections),
        ("sed", SchedulerKind::LeastConnections),
        ("nq", SchedulerKind::LeastConnections),
        ("lblc", SchedulerKind::SourceHash),
        ("lblcr", SchedulerKind::SourceHash),
        ("lblc -p 60", SchedulerKind::LeastConnections),
        ("dh", SchedulerKind::SourceHash),
        ("sh", SchedulerKind::SourceHash),
        ("sh -b sh-port", SchedulerKind::Maglev),
        ("mh", SchedulerKind::SourceHash),
        ("mh -b mh-port,mh-fallback", SchedulerKind::Maglev),
        ("mh -b flag-1,flag-2", SchedulerKind::Maglev),
        ("twos", SchedulerKind::PowerOfTwo),
    ] {
        let (config, _) = of_rules(&format!("-A -t 192.0.2.10:80 -s {words}\n-a -t 192.0.2.10:80 -r 10.0.0.1 -m\n"));
        assert_eq!(config.services[0].scheduler.kind, expected, "{words}");
        assert_eq!(config.services[0].affinity.is_some(), words.contains(" -p "), "{words}");
    }
    let (config, report) =
        of_rules("-A -t 192.0.2.10:80 -s sh -p 60 -M 255.255.255.0\n-a -t 192.0.2.10:80 -r 10.0.0.1 -m\n");
    assert_eq!((config.services[0].scheduler.prefix_ipv4, outcomes(&report).as_str()), (24, "ct"));
}

#[test]
fn the_heaviest_comes_first_with_fo() {
    let servers = [(1, 5), (2, 9), (3, 5), (4, 0)];
    let lines = servers.map(|(n, weight)| format!("-a -t 192.0.2.10:80 -r 10.0.0.{n} -m -w {weight}\n"));
    let (config, _) = of_rules(&format!("-A -t 192.0.2.10:80 -s fo\n{}", lines.concat()));
    let service = &config.services[0];
    let priorities: Vec<_> = service.backends.iter().map(|backend| backend.priority).collect();
    assert_eq!((priorities.as_slice(), service.overflow_threshold), (&[1, 0, 2, 3][..], 0));
}

#[test]
fn tunnels_keep_their_kind() {
    let (config, report) = of_rules(
        "-A -t 192.0.2.10:80 -s wrr
-a -t 192.0.2.10:80 -r 10.0.0.1:80 -i -w 1
-a -t 192.0.2.10:80 -r 10.0.0.2:80 -i -w 1 --tun-type gue --tun-port 6666 --tun-nocsum
-a -t 192.0.2.10:80 -r 10.0.0.3:80 -i -w 1 --tun-type gue --tun-port 6666 --tun-csum
-a -t 192.0.2.10:80 -r 10.0.0.4:80 -i -w 1 --tun-type gre
",
    );
    assert_eq!(outcomes(&report), "tttcn");
    let service = &config.services[0];
    let modes: Vec<_> = service.backends.iter().map(|backend| backend.mode.unwrap_or(service.mode)).collect();
    let gue = ForwardingMode::Gue { port: 6666 };
    assert_eq!(modes, [ForwardingMode::Ipip, gue, gue]);
}

#[test]
fn what_our_check_refuses_is_left_out_and_told() {
    let (config, report) = of_rules(
        "-A -t 192.0.2.10:80
-a -t 192.0.2.10:80 -r 127.0.0.1:80 -m
-a -t 192.0.2.10:80 -r 192.0.2.10:80 -g
-a -t 192.0.2.10:80 -r 10.0.0.1:80 -m
-a -t 192.0.2.10:80 -r 10.0.0.1:81 -m
-A -t 224.0.0.1:80
-a -t 224.0.0.1:80 -r 10.0.0.1:80 -m
-A -t 192.0.2.11:80
-A -f 7
-a -f 7 -r 10.0.0.1 -m
--set 999999 0 0
",
    );
    assert_eq!(outcomes(&report), "tnntnntnnnn");
    assert!(row(&report, 2).1.contains("backend 127.0.0.1 is loopback"), "{:?}", row(&report, 2));
    assert!(row(&report, 5).1.contains("given twice"), "{:?}", row(&report, 5));
    assert!(row(&report, 6).1.contains("multicast"), "{:?}", row(&report, 6));
    assert_eq!(row(&report, 8), (Outcome::NoCounterpart, "no backend is left: the service is not written"));
    assert!(row(&report, 9).1.contains("firewall marks"));
    assert_eq!((config.services.len(), config.services[0].backends.len()), (1, 1));
}

/// What ipvsadm 1.31 wrote (`ipvsadm -S -n`) on Debian's kernels 6.1 and 6.12.
#[test]
fn what_ipvsadm_wrote_is_taken() {
    let (config, report) = of_rules(
        "-A -t 192.0.2.10:80 -s wlc -p 600 -M 255.255.255.0
-a -t 192.0.2.10:80 -r 10.0.0.1:8080 -m -w 3
-a -t 192.0.2.10:80 -r 10.0.0.2:80 -g -w 1
-A -t 192.0.2.11:0 -s rr -p 60
-a -t 192.0.2.11:0 -r 10.0.0.3:0 -g -w 1
-A -u 192.0.2.10:53 -s sh -b sh-fallback,sh-port
-a -u 192.0.2.10:53 -r 10.0.0.1:53 -i -w 2 --tun-type ipip
-a -u 192.0.2.10:53 -r 10.0.0.2:53 -i -w 2 --tun-type gue --tun-port 6080 --tun-nocsum
-A -u 192.0.2.12:5060 -s wrr -p 300 --pe sip
-a -u 192.0.2.12:5060 -r 10.0.0.4:5060 -m -w 1
-A -u 192.0.2.13:53 -s rr -o
-a -u 192.0.2.13:53 -r 10.0.0.4:53 -m -w 1
-A -t [2001:db8::10]:443 -s mh -b mh-port
-a -t [2001:db8::10]:443 -r [2001:db8:1::1]:443 -g -w 0
-A -f 7 -s wlc
-a -f 7 -r 10.0.0.5:0 -g -w 1
",
    );
    assert_eq!(outcomes(&report), "ttttttttctctttnn");
    assert_eq!((config.services.len(), config.services[1].ports), (6, Ports::Any));
    assert!(report.added.iter().any(|note| note.contains("--thresholds")), "{:?}", report.added);
}
