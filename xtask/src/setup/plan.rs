//! Decides what is done about missing parts. Pure: what the machine has comes in as [`Facts`].

use super::{
    parts::{Packages, Part, Remedy},
    step::Step,
};

/// What the decision depends on.
pub(super) struct Facts<'a> {
    /// rustup is there, so its toolchain can be extended.
    pub(super) rustup: bool,
    /// The BPF compiler that is there belongs to rustup.
    pub(super) rustup_compiler: bool,
    /// The LLVM that `bpf-linker` is built against is there.
    pub(super) llvm: bool,
    /// systemd's control program is there.
    pub(super) systemctl: bool,
    /// Whether the package lists have a package.
    pub(super) available: &'a dyn Fn(&str) -> bool,
}

/// What to do, and what cannot be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// To be done in this order.
    pub(super) steps: Vec<Step>,
    /// Packages that are needed and that the package lists do not have.
    pub(super) unavailable: Vec<&'static str>,
}

/// What the missing parts call for.
#[derive(Default)]
struct Needs {
    packages: Vec<&'static str>,
    components: Vec<&'static str>,
    unavailable: Vec<&'static str>,
    linker: bool,
    kernels: Vec<Step>,
}

/// Plans the installation of `missing`.
pub(super) fn plan(missing: &[&Part], facts: &Facts<'_>) -> Plan {
    let mut needs = Needs::default();
    // A toolchain of rustup's that became or is the BPF compiler is extended by rustup.
    let mut of_rustup = facts.rustup_compiler;
    for part in missing {
        match part.remedy {
            Remedy::Packages(packages) => needs.packages(packages, facts),
            Remedy::PackagesOrComponent(packages, component) => {
                if facts.rustup && (of_rustup || !all_available(packages, facts)) {
                    of_rustup = true;
                    add(&mut needs.components, component);
                } else {
                    needs.packages(packages, facts);
                }
            }
            Remedy::ComponentsOrPackages(components, packages) => {
                if facts.rustup {
                    components.iter().for_each(|component| add(&mut needs.components, component));
                } else {
                    needs.packages(packages, facts);
                }
            }
            Remedy::CargoInstall(packages) => {
                needs.linker = true;
                if !facts.llvm {
                    needs.packages(packages, facts);
                }
            }
            Remedy::UnpackKernel { series, package } => needs.kernel(series, package, facts),
        }
    }
    needs.into_plan(facts)
}

impl Needs {
    fn packages(&mut self, packages: Packages, facts: &Facts<'_>) {
        for alternatives in packages {
            match alternatives.iter().find(|package| (facts.available)(package)) {
                Some(package) => add(&mut self.packages, package),
                None => self.unavailable.extend(alternatives.first()),
            }
        }
    }

    fn kernel(&mut self, series: &'static str, package: &'static str, facts: &Facts<'_>) {
        if (facts.available)(package) {
            self.kernels.push(Step::GuestKernel { series, package });
        } else {
            self.unavailable.push(package);
        }
    }

    fn into_plan(self, facts: &Facts<'_>) -> Plan {
        let mut steps = Vec::new();
        let installs = |service: &&str| self.packages.iter().any(|package| package.starts_with(*service));
        let services: Vec<&'static str> = ["nginx", "haproxy"].into_iter().filter(installs).collect();
        if !self.packages.is_empty() {
            steps.push(Step::Packages(self.packages));
        }
        if facts.systemctl {
            steps.extend(services.into_iter().map(Step::DisableService));
        }
        if !self.components.is_empty() {
            steps.push(Step::Components(self.components));
        }
        if self.linker {
            steps.push(Step::Linker);
        }
        steps.extend(self.kernels);
        Plan { steps, unavailable: self.unavailable }
    }
}

/// Every package that may be installed for `missing`: what the package lists are asked for.
pub(super) fn candidates(missing: &[&Part]) -> Vec<&'static str> {
    let mut names = Vec::new();
    for part in missing {
        let packages = match part.remedy {
            Remedy::Packages(packages)
            | Remedy::PackagesOrComponent(packages, _)
            | Remedy::ComponentsOrPackages(_, packages)
            | Remedy::CargoInstall(packages) => packages,
            Remedy::UnpackKernel { package, .. } => {
                add(&mut names, package);
                continue;
            }
        };
        packages.iter().flat_map(|alternatives| alternatives.iter()).for_each(|name| add(&mut names, name));
    }
    names
}

fn all_available(packages: Packages, facts: &Facts<'_>) -> bool {
    packages.iter().all(|alternatives| alternatives.iter().any(|package| (facts.available)(package)))
}

fn add(names: &mut Vec<&'static str>, name: &'static str) {
    if !names.contains(&name) {
        names.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::parts::PARTS, *};

    fn facts<'a>(available: &'a dyn Fn(&str) -> bool) -> Facts<'a> {
        Facts { rustup: true, rustup_compiler: false, llvm: false, systemctl: false, available }
    }

    fn parts(names: &[&str]) -> Vec<&'static Part> {
        let found: Vec<_> = PARTS.iter().filter(|part| names.iter().any(|name| part.name.starts_with(name))).collect();
        assert_eq!(found.len(), names.len(), "{names:?}");
        found
    }

    #[test]
    fn nothing_missing_calls_for_nothing() {
        assert_eq!(plan(&[], &facts(&|_| true)), Plan::default());
    }

    #[test]
    fn an_empty_debian_gets_packages_first_and_the_linker_last() {
        let everything: Vec<_> = PARTS.iter().collect();
        let plan = plan(&everything, &Facts { systemctl: true, ..facts(&|_| true) });
        let [
            Step::Packages(packages),
            Step::DisableService("nginx"),
            Step::DisableService("haproxy"),
            Step::Components(components),
            Step::Linker,
            Step::GuestKernel { series: "6.1", package: "linux-image-cloud-amd64" },
            Step::GuestKernel { series: "6.12", package: "linux-image-6.12-cloud-amd64" },
        ] = &plan.steps[..]
        else {
            panic!("{plan:?}")
        };
        let mut expected = vec!["rustc-web", "cargo-web", "rust-web-src", "llvm-22-dev", "rust-web-clippy"];
        expected.extend([
            "iproute2",
            "ethtool",
            "nginx-light",
            "curl",
            "wrk",
            "bind9-dnsutils",
            "dnsmasq-base",
            "iperf3",
            "iputils-ping",
            "haproxy",
            "nftables",
            "libnginx-mod-stream",
            "qemu-system-x86",
            "ipvsadm",
            "kmod",
            "procps",
            "binutils",
        ]);
        assert_eq!(*packages, expected);
        assert_eq!(*components, ["rustfmt", "clippy"]);
        assert!(plan.unavailable.is_empty());
    }

    #[test]
    fn the_first_available_alternative_is_taken() {
        let plan =
            plan(&parts(&["nginx", "dig"]), &facts(&|name| matches!(name, "nginx" | "bind9-dnsutils" | "dnsutils")));
        assert_eq!(plan.steps, [Step::Packages(vec!["nginx", "bind9-dnsutils"])]);
    }

    #[test]
    fn without_the_distributions_compiler_rustup_gives_compiler_and_clippy() {
        let missing = parts(&["BPF compiler", "clippy of"]);
        let plan = plan(&missing, &facts(&|_| false));
        assert_eq!(plan.steps, [Step::Components(vec!["rust-src", "clippy"])]);
        assert!(plan.unavailable.is_empty());
    }

    #[test]
    fn clippy_comes_from_where_the_compiler_came_from() {
        let missing = parts(&["clippy of"]);
        let of_rustup = plan(&missing, &Facts { rustup_compiler: true, ..facts(&|_| true) });
        assert_eq!(of_rustup.steps, [Step::Components(vec!["clippy"])]);
        let of_debian = plan(&missing, &facts(&|_| true));
        assert_eq!(of_debian.steps, [Step::Packages(vec!["rust-web-clippy"])]);
    }

    #[test]
    fn the_linker_needs_llvm_only_where_llvm_is_missing() {
        let missing = parts(&["bpf-linker"]);
        assert_eq!(plan(&missing, &Facts { llvm: true, ..facts(&|_| true) }).steps, [Step::Linker]);
        let with_llvm = plan(&missing, &facts(&|_| true)).steps;
        assert_eq!(with_llvm, [Step::Packages(vec!["llvm-22-dev"]), Step::Linker]);
    }

    #[test]
    fn what_no_list_has_is_named_and_the_rest_is_still_installed() {
        let plan = plan(&parts(&["wrk", "curl"]), &facts(&|name| name == "curl"));
        assert_eq!(plan.steps, [Step::Packages(vec!["curl"])]);
        assert_eq!(plan.unavailable, ["wrk"]);
    }

    #[test]
    fn a_kernel_that_no_list_has_is_named() {
        let missing = parts(&["kernel 6.12"]);
        let package = "linux-image-6.12-cloud-amd64";
        let step = Step::GuestKernel { series: "6.12", package };
        assert_eq!(plan(&missing, &facts(&|name| name == package)).steps, [step]);
        let without = plan(&missing, &facts(&|_| false));
        assert_eq!((without.steps.len(), &without.unavailable[..]), (0, &[package][..]));
        assert_eq!(candidates(&missing), [package]);
    }

    #[test]
    fn the_lists_are_asked_for_every_alternative_once() {
        assert_eq!(candidates(&parts(&["nginx"])), ["nginx-light", "nginx"]);
        let everything: Vec<_> = PARTS.iter().collect();
        let names = candidates(&everything);
        assert_eq!(names.iter().filter(|name| **name == "rust-web-clippy").count(), 1);
    }
}
