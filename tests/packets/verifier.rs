//! How much of the program the verifier has to look at. The kernel gives up at a million instructions.

use std::fs;

use lb_common::features::Features;

use crate::{in_kernel::InKernel, machine::ROOMY};

/// Instructions that the verifier may process for the program with everything in it: two thirds of what the kernel allows are
/// kept for kernels that prune less.
const MOST: u64 = 300_000;

/// What the kernel says of the programs that this process holds; none before Linux 5.17.
fn processed() -> Vec<u64> {
    let descriptors = fs::read_dir("/proc/self/fdinfo").expect("proc is mounted").flatten();
    let infos = descriptors.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    infos
        .filter_map(|info| info.lines().find_map(|line| line.strip_prefix("verified_insns:")?.trim().parse().ok()))
        .collect()
}

#[test]
fn the_verifier_is_far_from_its_limit() {
    let plain = Features::IPV4.with(Features::ICMP_ECHO);
    for (name, features) in [
        ("everything", Features::ALL),
        ("one interface, no prefixes or tunnels", plain.with(Features::IPV6)),
        ("the same with IPv4 only", plain),
    ] {
        let Some(_machine) = InKernel::specialised(ROOMY, features) else { return };
        // Other tests of this process hold programs as well, none of them with more in it.
        let most = processed().into_iter().max();
        println!("{name}: {most:?} instructions processed");
        assert!(most.is_none_or(|most| most < MOST), "{most:?}");
    }
}
