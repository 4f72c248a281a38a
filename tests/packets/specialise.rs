//! The program is replaced by one that can do more, or less, over the same tables.

use evenkeel::dataplane::kernel::{LoadOptions, Loaded, Pins};
use evenkeel_tests::bpffs::Bpffs;
use lb_common::{
    features::Features,
    verdict::PassReason::{self, NotServed, OtherProtocol},
};

use crate::{
    machine::{FRAGMENT_TIMEOUT, INGRESS, ROOMY, hash_key},
    wire::raw,
};

#[test]
fn what_is_asked_for_is_there_before_a_table_needs_it() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: loading the program needs root");
        return;
    }
    let bpffs = Bpffs::mount().expect("a bpffs");
    let pins = Pins::open(&bpffs.pins()).expect("pins");
    let options = LoadOptions {
        sizes: ROOMY,
        hash_key: hash_key(),
        fragment_timeout: FRAGMENT_TIMEOUT,
        pins: Some(pins),
        features: Features::NONE,
        flows_writable: true,
        one_buffer: false,
    };
    let mut loaded = Loaded::load(&options).expect("the kernel takes the program");
    // GRE: a program that knows the family says so, any other says that nobody serves it.
    let frame = raw("192.0.2.7", "198.51.100.10", 47, &[0; 8]).frame();
    let passed = |loaded: &Loaded, reason: PassReason| {
        loaded.run(&frame, Some(INGRESS)).expect("it runs");
        loaded.node_counters().expect("readable").passed(reason).get()
    };
    assert_eq!(passed(&loaded, NotServed), 1);
    loaded.require(Features::IPV6).expect("another program");
    assert_eq!((passed(&loaded, NotServed), loaded.constants().features), (2, Features::IPV6));
    loaded.require(Features::IPV4).expect("another program");
    assert_eq!(passed(&loaded, OtherProtocol), 1, "the counters are those of before, the program is not");
    assert!(loaded.constants().features.has(Features::IPV4.with(Features::IPV6)));
    loaded.specialise(Features::IPV6).expect("another program");
    assert_eq!(passed(&loaded, NotServed), 3);
}
