//! Thresholds of real servers, which `ipvsadm -S` leaves out and `ipvsadm -L -n --thresholds` tells.

use std::collections::HashMap;

/// The rules of `ipvsadm -S -n`, with `-x` and `-y` from `ipvsadm -L -n --thresholds` at the lines of real servers.
#[must_use]
pub fn with_thresholds(saved: &str, listed: &str) -> String {
    let known = read(listed);
    let mut text = String::new();
    for line in saved.lines() {
        text.push_str(line.trim_end());
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["-a", protocol, service, "-r", server, ..] = words[..]
            && let Some((upper, lower)) = known.get(&(protocol, service, server))
        {
            text.push_str(&format!(" -x {upper} -y {lower}"));
        }
        text.push('\n');
    }
    text
}

/// Both thresholds of each real server that has one, by the words of its line in rules.
fn read(listed: &str) -> HashMap<(&str, &str, &str), (u64, u64)> {
    let (mut known, mut service) = (HashMap::new(), None);
    for line in listed.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["TCP", address, ..] => service = Some(("-t", address)),
            ["UDP", address, ..] => service = Some(("-u", address)),
            ["->", server, upper, lower, ..] => {
                let numbers = (upper.parse().ok(), lower.parse().ok());
                if let (Some((protocol, address)), (Some(upper), Some(lower))) = (service, numbers)
                    && (upper, lower) != (0, 0)
                {
                    known.insert((protocol, address, server), (upper, lower));
                }
            }
            // A service of another kind, or the heading.
            _ => service = None,
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_come_to_their_servers() {
        let saved = "-A -t 192.0.2.10:80 -s wlc\n-a -t 192.0.2.10:80 -r 10.0.0.1:80 -m -w 3\n\
                     -a -t 192.0.2.10:80 -r 10.0.0.2:80 -m -w 1\n-A -u [2001:db8::10]:53 -s rr\n\
                     -a -u [2001:db8::10]:53 -r [2001:db8::1]:53 -g -w 1\n-A -f 1 -s rr\n-a -f 1 -r 10.0.0.1:80 -g -w 1\n";
        let listed = "IP Virtual Server version 1.2.1 (size=4096)\n\
                      Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn\n  -> RemoteAddress:Port\n\
                      TCP  192.0.2.10:80\n  -> 10.0.0.1:80                  100        50         0          0\n  \
                      -> 10.0.0.2:80                  0          0          0          0\nUDP  [2001:db8::10]:53\n  \
                      -> [2001:db8::1]:53             7          0          0          0\nFWM  1\n  \
                      -> 10.0.0.1:80                  9          9          0          0\n";
        let lines: Vec<String> = with_thresholds(saved, listed).lines().map(str::to_owned).collect();
        assert_eq!(lines[1], "-a -t 192.0.2.10:80 -r 10.0.0.1:80 -m -w 3 -x 100 -y 50");
        assert_eq!(lines[4], "-a -u [2001:db8::10]:53 -r [2001:db8::1]:53 -g -w 1 -x 7 -y 0");
        let others: Vec<&str> = [0, 2, 3, 5, 6].map(|index| lines[index].as_str()).to_vec();
        let unchanged: Vec<&str> = saved.lines().collect();
        assert_eq!(others, [0, 2, 3, 5, 6].map(|index| unchanged[index]));
    }
}
