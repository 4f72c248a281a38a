//! The one list of what building and testing need.

use std::path::Path;

use lb_ebpf::{Compiler, Version};

use super::{guest_kernel, machine::Machine};

/// The release of `bpf-linker` that is installed, and the oldest that is accepted.
pub(super) const LINKER_VERSION: &str = "0.13.0";

/// Packages of which each is needed; of the alternatives, the first that the package lists have.
pub(super) type Packages = &'static [&'static [&'static str]];

/// What a part is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Building the daemon with its XDP program.
    Build,
    /// The end-to-end tests and the bench.
    Test,
    /// The lints.
    Lint,
    /// Tests and the bench in a QEMU guest.
    Vm,
}

/// How a part is recognised.
#[derive(Clone, Copy, Debug)]
pub(super) enum Probe {
    /// All of these programs are there.
    Programs(&'static [&'static str]),
    /// This file is there.
    File(&'static str),
    /// A compiler with the source of `core` is there.
    BpfCompiler,
    /// The BPF compiler's own clippy is there.
    BpfClippy,
    /// A `bpf-linker` of a sufficient release is there, and runs.
    BpfLinker,
    /// A kernel of this series is unpacked in the workspace.
    GuestKernel(&'static str),
}

/// How a part is installed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Remedy {
    /// From the distribution.
    Packages(Packages),
    /// From the distribution, or as a component of rustup's toolchain where the distribution has none.
    PackagesOrComponent(Packages, &'static str),
    /// As components of rustup's toolchain, or from the distribution where there is no rustup.
    ComponentsOrPackages(&'static [&'static str], Packages),
    /// Built with cargo, against the LLVM of these packages.
    CargoInstall(Packages),
    /// The kernel of a series that a package stands for, unpacked in the workspace: the machine's own kernels stay as they are.
    UnpackKernel { series: &'static str, package: &'static str },
}

/// One thing that must be there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) purpose: Purpose,
    pub(super) probe: Probe,
    pub(super) remedy: Remedy,
}

impl Part {
    /// Whether it is there.
    pub(super) fn is_present(&self, machine: &Machine, compiler: Option<&Compiler>) -> bool {
        match self.probe {
            Probe::Programs(programs) => programs.iter().all(|program| machine.find(program).is_some()),
            Probe::File(path) => Path::new(path).is_file(),
            Probe::BpfCompiler => compiler.is_some(),
            Probe::BpfClippy => compiler.is_some_and(|compiler| compiler.cargo_clippy().is_some()),
            Probe::BpfLinker => machine.version_of("bpf-linker") >= Version::parse(LINKER_VERSION),
            Probe::GuestKernel(series) => guest_kernel::is_present(series),
        }
    }
}

/// A program of a package of the distribution that the tests or the bench run.
const fn test_program(name: &'static str, programs: &'static [&'static str], packages: Packages) -> Part {
    Part { name, purpose: Purpose::Test, probe: Probe::Programs(programs), remedy: Remedy::Packages(packages) }
}

/// A program of a package of the distribution that guests need.
const fn vm_program(name: &'static str, programs: &'static [&'static str], packages: Packages) -> Part {
    Part { purpose: Purpose::Vm, ..test_program(name, programs, packages) }
}

/// A kernel of Debian 12.
const fn guest_kernel(name: &'static str, series: &'static str, package: &'static str) -> Part {
    let remedy = Remedy::UnpackKernel { series, package };
    Part { name, purpose: Purpose::Vm, probe: Probe::GuestKernel(series), remedy }
}

/// Everything, in the order in which it is reported.
pub(super) const PARTS: &[Part] = &[
    Part {
        name: "BPF compiler (rustc 1.95 or newer with the source of core)",
        purpose: Purpose::Build,
        probe: Probe::BpfCompiler,
        remedy: Remedy::PackagesOrComponent(&[&["rustc-web"], &["cargo-web"], &["rust-web-src"]], "rust-src"),
    },
    Part {
        name: "bpf-linker 0.13.0 or newer",
        purpose: Purpose::Build,
        probe: Probe::BpfLinker,
        remedy: Remedy::CargoInstall(&[&["llvm-22-dev"]]),
    },
    Part {
        name: "clippy of the BPF compiler",
        purpose: Purpose::Lint,
        probe: Probe::BpfClippy,
        remedy: Remedy::PackagesOrComponent(&[&["rust-web-clippy"]], "clippy"),
    },
    Part {
        name: "rustfmt and clippy",
        purpose: Purpose::Lint,
        probe: Probe::Programs(&["cargo-fmt", "rustfmt", "cargo-clippy", "clippy-driver"]),
        remedy: Remedy::ComponentsOrPackages(&["rustfmt", "clippy"], &[&["rustfmt-web"], &["rust-web-clippy"]]),
    },
    test_program("ip", &["ip"], &[&["iproute2"]]),
    test_program("ethtool", &["ethtool"], &[&["ethtool"]]),
    test_program("nginx", &["nginx"], &[&["nginx-light", "nginx"]]),
    test_program("curl", &["curl"], &[&["curl"]]),
    test_program("wrk", &["wrk"], &[&["wrk"]]),
    test_program("dig", &["dig"], &[&["bind9-dnsutils", "dnsutils"]]),
    // Of Debian's two packages this is the one without a service.
    test_program("dnsmasq", &["dnsmasq"], &[&["dnsmasq-base"]]),
    test_program("iperf3", &["iperf3"], &[&["iperf3"]]),
    test_program("ping", &["ping"], &[&["iputils-ping"]]),
    // What the bench measures against.
    test_program("haproxy", &["haproxy"], &[&["haproxy"]]),
    test_program("nft", &["nft"], &[&["nftables"]]),
    Part {
        name: "stream module of nginx",
        purpose: Purpose::Test,
        probe: Probe::File("/usr/lib/nginx/modules/ngx_stream_module.so"),
        remedy: Remedy::Packages(&[&["libnginx-mod-stream"]]),
    },
    vm_program("QEMU", &["qemu-system-x86_64"], &[&["qemu-system-x86"]]),
    vm_program("ipvsadm", &["ipvsadm"], &[&["ipvsadm"]]),
    vm_program("modprobe and depmod", &["modprobe", "depmod"], &[&["kmod"]]),
    vm_program("sysctl", &["sysctl"], &[&["procps"]]),
    vm_program("strip", &["strip"], &[&["binutils"]]),
    guest_kernel("kernel 6.1 for guests", "6.1", "linux-image-cloud-amd64"),
    guest_kernel("kernel 6.12 for guests", "6.12", "linux-image-6.12-cloud-amd64"),
];
