//! What outlives the daemon: maps and links, pinned in a directory on a bpffs.
//!
//! ```text
//! PIN_DIRECTORY/                  0700
//!   layout-7/                     one for each layout of the tables
//!     maps/CONTROL, …             and for a while flow tables of two sizes (`migration`)
//!     links/eth0:2:native, …      attached interfaces
//!   next-layout-8/                the same pins once more, until a newer version takes them over (`migration`)
//! ```

use std::{
    fs::{self, File},
    io,
    os::{
        fd::AsFd as _,
        unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use aya::maps::{MapData, MapInfo, MapType};
use lb_common::{
    abi::{
        ClientBucket, Control, Destination, DestinationCounters, Egress, LAYOUT_VERSION, LimitCounters, ListBound,
        MAX_EGRESS, MAX_POOL, NatBucket, NatSlots, NodeCounters, PassiveCounters, PoolAddress, QUIC_PLACES, QuicBucket,
        QuicRecord, ReplyBudget, Score, Service, ServiceBucket, ServiceLimits, SlotPair, Tunnel, Word64, map,
    },
    decap,
    flow::FlowBucket,
};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::statfs::statfs,
};

use super::{LoadOptions, detach::detach, layouts, migration, region::Region};

/// `BPF_FS_MAGIC` of the kernel's `magic.h`.
const BPF_FS: i64 = 0xcafe_4a11;
/// `BPF_F_MMAPABLE`.
const MAPPED: u32 = 1 << 10;

/// A pin directory of one layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    root: PathBuf,
    owner: &'static Owner,
}

/// Whose directory it is.
#[derive(Debug, PartialEq, Eq)]
struct Owner {
    layout: u32,
    /// Layouts whose tables can be taken over.
    earlier: &'static [u32],
    /// Where the directory is chosen, for messages.
    setting: &'static str,
    /// What frees it, and what that costs.
    detach: &'static str,
    /// What to do if a table has another form.
    restore: &'static str,
}

const BALANCER: Owner = Owner {
    layout: LAYOUT_VERSION,
    earlier: layouts::EARLIER,
    setting: "`node.pin_directory`",
    detach: "`evenkeel detach` (which ends all flows)",
    restore: "Restore the sizes under `node`",
};

const DECAPSULATOR: Owner = Owner {
    layout: decap::LAYOUT_VERSION,
    earlier: &[],
    setting: "`--pin-directory`",
    detach: "`evenkeel decap detach` (nothing is unpacked until it runs again)",
    restore: "Run the version of evenkeel that made it",
};

/// What a map has to look like.
struct Shape {
    name: &'static str,
    kind: MapType,
    value: usize,
    /// How many; `None`: the table is taken over whatever its size.
    entries: Option<u32>,
    flags: u32,
}

impl Pins {
    /// Names of all maps.
    pub const MAPS: [&'static str; 25] = [
        map::CONTROL,
        map::SERVICE_BUCKETS,
        map::SERVICES,
        map::SLOTS,
        map::DESTINATIONS,
        map::TUNNELS,
        map::EGRESS,
        map::EGRESS_DEVICES,
        map::FLOWS,
        map::NAT_BUCKETS,
        map::NAT_SLOTS,
        map::NAT_POOL,
        map::BACKEND_SET,
        map::FRAGMENTS,
        map::QUIC_CONFIGURATIONS,
        map::QUIC_SERVERS,
        map::SCORES,
        map::LIMITS,
        map::LIST_BOUNDS,
        map::CLIENTS,
        map::LIMIT_COUNTERS,
        map::NODE_COUNTERS,
        map::DESTINATION_COUNTERS,
        map::PASSIVE_COUNTERS,
        map::REPLY_BUDGET,
    ];

    /// Names of the decapsulator's maps.
    pub const DECAP_MAPS: [&'static str; 2] = [decap::map::CONTROL, decap::map::COUNTERS];

    /// Names the directory without touching it.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), owner: &BALANCER }
    }

    /// Names the decapsulator's directory without touching it.
    #[must_use]
    pub fn of_decap(root: &Path) -> Self {
        Self { root: root.to_owned(), owner: &DECAPSULATOR }
    }

    /// Creates the directories where they are missing.
    ///
    /// # Errors
    ///
    /// If the directory is not on a bpffs, or belongs to another layout.
    pub fn open(root: &Path) -> Result<Self> {
        Self::at(root).make()
    }

    /// As [`Self::open`], of a directory that was named.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn make(self) -> Result<Self> {
        let (pins, root, setting) = (&self, &self.root, self.owner.setting);
        pins.refuse_other_layouts()?;
        make_directory(root, setting)?;
        // Tables of an earlier layout are taken over by `stage`.
        if pins.others()?.is_empty() {
            for directory in [pins.layout(), pins.maps(), pins.links()] {
                make_directory(&directory, setting)?;
            }
        }
        let kind = statfs(root).with_context(|| format!("{}", root.display()))?.filesystem_type();
        let is_bpf = kind.0 & 0xffff_ffff == BPF_FS;
        ensure!(
            is_bpf,
            "pin directory {} is not on a bpffs; mount one with `mount -t bpf bpf /sys/fs/bpf` or set \
             {setting} to a directory on one",
            root.display()
        );
        Ok(self)
    }

    /// Makes the directory this process's own until the lock is dropped.
    ///
    /// # Errors
    ///
    /// If a daemon has it, or it does not exist.
    pub fn lock(&self) -> Result<Flock<File>> {
        // A bpffs has no ordinary files, but its directories can be locked.
        let directory = File::open(&self.root).with_context(|| format!("{}", self.root.display()))?;
        Flock::lock(directory, FlockArg::LockExclusiveNonblock)
            .map_err(|_| anyhow!("another daemon uses pin directory {}", self.root.display()))
    }

    /// Prepares to take over tables of an earlier layout, if there are any: the same maps and links are pinned a second time,
    /// and the flow table as one of an earlier program's. Nothing changes for packets, and the first pins stay in force until
    /// `commit`. The directory has to be locked.
    ///
    /// # Errors
    ///
    /// If a pin cannot be made.
    pub fn stage(&self) -> Result<()> {
        let (own, setting) = (self.own(), self.owner.setting);
        self.unstage()?;
        let others = self.others()?;
        let Some((layout, older)) = others.first().filter(|_| !own.exists()) else {
            // A start was killed after its commit.
            return self.remove_others();
        };
        let staged = self.staged();
        for directory in [&staged, &staged.join("maps"), &staged.join("links")] {
            make_directory(directory, setting)?;
        }
        for pin in entries(&older.join("links"))? {
            link_into(&self.links(), &pin, None)?;
        }
        let next = self.next_flows();
        let (tables, others): (Vec<_>, Vec<_>) = entries(&older.join("maps"))?
            .filter(|pin| pin.file_name() != next.file_name())
            .partition(|pin| pin.file_name().is_some_and(|name| name == map::FLOWS));
        for pin in others {
            link_into(&self.maps(), &pin, None)?;
        }
        // Its new name is one that none of the others has.
        for pin in tables {
            link_into(&self.maps(), &pin, Some(&self.free_before(*layout)?))?;
        }
        Ok(())
    }

    /// Puts what [`Self::stage`] prepared in force, by one step.
    ///
    /// # Errors
    ///
    /// If the directory cannot be renamed.
    pub(super) fn commit(&self) -> Result<()> {
        let (own, staged) = (self.own(), self.staged());
        if staged.exists() {
            fs::rename(&staged, &own).with_context(|| format!("{}", staged.display()))?;
        }
        Ok(())
    }

    /// Takes back what [`Self::stage`] prepared.
    fn unstage(&self) -> Result<()> {
        let staged = self.staged();
        for directory in [staged.join("maps"), staged.join("links"), staged] {
            remove_files_and_directory(&directory)?;
        }
        Ok(())
    }

    /// Removes the pins of other layouts, which are this one's as well.
    pub(super) fn remove_others(&self) -> Result<()> {
        for (_, other) in self.others()? {
            for directory in [other.join("maps"), other.join("links"), other] {
                remove_files_and_directory(&directory)?;
            }
        }
        Ok(())
    }

    /// The pin of a map.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// The directory of the links' pins.
    #[must_use]
    pub fn links(&self) -> PathBuf {
        self.layout().join("links")
    }

    /// Whether tables are there that can be adopted. The flow table may have another size
    /// ([`Loaded::adopt_flows`](super::Loaded::adopt_flows)).
    ///
    /// Remnants of a start that did not get far enough for a packet to pass are removed.
    ///
    /// # Errors
    ///
    /// If a map is there but has another type, size or flag than we need: nothing is touched then.
    pub fn check(&self, options: &LoadOptions) -> Result<bool> {
        let adopts = self.check_shapes(&shapes(options)).inspect_err(|_| drop(self.unstage()))?;
        migration::remove_unused(self)?;
        Ok(adopts)
    }

    /// Layout of the tables that are pinned, and fingerprint of the key that they were made with; `None`: there are none.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn identity(&self) -> Result<Option<(u32, u64)>> {
        let pin = self.map(map::CONTROL);
        if !pin.exists() {
            return Ok(None);
        }
        let map = MapData::from_pin(&pin).with_context(|| format!("{}", pin.display()))?;
        let control: Region<Control> = Region::map(map.fd().as_fd(), 1, false)?;
        let control = &control.records()[0];
        Ok(Some((control.layout_version(), control.key_fingerprint())))
    }

    /// The pin of a flow table that is not in force yet.
    pub(super) fn next_flows(&self) -> PathBuf {
        self.maps().join(format!("{}_next", map::FLOWS))
    }

    /// Pins of flow tables that were in force, and whose flows may not be in the present one, with their layouts.
    pub(super) fn flows_before(&self) -> Result<Vec<(u32, PathBuf)>> {
        let layout_of = |path: &Path| -> Option<u32> {
            let name = path.file_name()?.to_string_lossy().into_owned();
            name.strip_prefix(map::FLOWS)?.strip_prefix("_before_")?.split_once('_')?.0.parse().ok()
        };
        Ok(entries(&self.maps())?.filter_map(|path| Some((layout_of(&path)?, path))).collect())
    }

    /// A free name among [`Self::flows_before`].
    fn free_before(&self, layout: u32) -> Result<String> {
        let name = |number| format!("{}_before_{layout}_{number}", map::FLOWS);
        (1_u32..).map(name).find(|name| !self.map(name).exists()).context("a free number")
    }

    /// Puts the next flow table in the place of the present one, which stays as one of [`Self::flows_before`]. At any moment
    /// one of both is at its place.
    pub(super) fn exchange_flows(&self) -> Result<()> {
        let (present, next) = (self.map(map::FLOWS), self.next_flows());
        let before = self.free_before(self.owner.layout)?;
        link_into(&self.maps(), &present, Some(&before))?;
        fs::rename(&next, &present).with_context(|| format!("{}", next.display()))
    }

    /// Forgets [`Self::flows_before`].
    pub(super) fn remove_flows_before(&self) -> Result<()> {
        self.flows_before()?
            .iter()
            .try_for_each(|(_, pin)| fs::remove_file(pin).with_context(|| format!("{}", pin.display())))
    }

    /// [`Self::check`] for the decapsulator.
    ///
    /// # Errors
    ///
    /// As [`Self::check`].
    pub fn check_decap(&self) -> Result<bool> {
        self.check_shapes(&decap_shapes())
    }

    fn check_shapes(&self, shapes: &[Shape]) -> Result<bool> {
        // A flow table of this layout is made in the place of an earlier one.
        let has_earlier = !self.flows_before()?.is_empty();
        let is_to_come = |shape: &Shape| shape.name == map::FLOWS && has_earlier;
        let present = shapes.iter().filter(|shape| self.map(shape.name).exists() || is_to_come(shape)).count();
        if present == 0 {
            return Ok(false);
        }
        if present < shapes.len() && !self.has_links()? {
            tracing::warn!("{present} of {} maps are pinned and nothing is attached: starting afresh", shapes.len());
            remove_files(&self.maps())?;
            return Ok(false);
        }
        for shape in shapes {
            if self.map(shape.name).exists() || !is_to_come(shape) {
                self.compare(shape)?;
            }
        }
        Ok(true)
    }

    fn compare(&self, shape: &Shape) -> Result<()> {
        let path = self.map(shape.name);
        let info = MapInfo::from_pin(&path).with_context(|| {
            format!("pinned map {} cannot be opened; {} removes all pins", path.display(), self.owner.detach)
        })?;
        let found = (info.map_type()?, info.key_size(), info.value_size(), info.max_entries(), info.map_flags());
        let entries = shape.entries.unwrap_or(info.max_entries());
        let wanted = (shape.kind, 4, shape.value as u32, entries, shape.flags);
        ensure!(
            found == wanted,
            "pinned map {} has (type, key, value, entries, flags) = {found:?}, this configuration needs {wanted:?}; \
             nothing was changed. {}, or run {} and start again",
            path.display(),
            self.owner.restore,
            self.owner.detach,
        );
        Ok(())
    }

    /// Removes everything: what is attached is detached, the tables are gone with the last user.
    ///
    /// # Errors
    ///
    /// If a pin cannot be removed.
    pub fn remove(&self) -> Result<Vec<String>> {
        let mut links = Vec::new();
        self.unstage()?;
        for (_, layout) in self.layouts()? {
            for link in entries(&layout.join("links"))? {
                detach(&link)?;
                links.extend(link.file_name().map(|name| name.to_string_lossy().into_owned()));
            }
            remove_files(&layout.join("maps"))?;
            for directory in [layout.join("links"), layout.join("maps"), layout] {
                remove_directory(&directory)?;
            }
        }
        remove_directory(&self.root)?;
        Ok(links)
    }

    fn own(&self) -> PathBuf {
        self.root.join(format!("layout-{}", self.owner.layout))
    }

    fn staged(&self) -> PathBuf {
        self.root.join(format!("next-layout-{}", self.owner.layout))
    }

    /// The directory of this layout, or what is prepared to become it.
    fn layout(&self) -> PathBuf {
        let (own, staged) = (self.own(), self.staged());
        if !own.exists() && staged.exists() { staged } else { own }
    }

    fn maps(&self) -> PathBuf {
        self.layout().join("maps")
    }

    fn has_links(&self) -> Result<bool> {
        Ok(entries(&self.links())?.next().is_some())
    }

    fn layouts(&self) -> Result<Vec<(Option<u32>, PathBuf)>> {
        let layout_of = |path: PathBuf| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            Some((name.strip_prefix("layout-")?.parse().ok(), path))
        };
        Ok(entries(&self.root)?.filter_map(layout_of).collect())
    }

    /// Directories of other layouts that can be taken over.
    fn others(&self) -> Result<Vec<(u32, PathBuf)>> {
        let other = |(layout, path): (Option<u32>, PathBuf)| Some((layout?, path));
        let others = self.layouts()?.into_iter().filter_map(other);
        Ok(others.filter(|(layout, _)| self.owner.earlier.contains(layout)).collect())
    }

    fn refuse_other_layouts(&self) -> Result<()> {
        for (layout, path) in self.layouts()? {
            if layout.is_some_and(|layout| layout == self.owner.layout || self.owner.earlier.contains(&layout)) {
                continue;
            }
            let kind = if layout.is_some_and(|layout| layout < self.owner.layout) { "an earlier" } else { "a newer" };
            bail!(
                "{} holds tables of {kind} version of evenkeel, which this one cannot read: it needs {}; nothing was \
                 changed. Run that version, or {} and start again",
                path.display(),
                self.own().display(),
                self.owner.detach
            );
        }
        Ok(())
    }
}

/// Pins what is pinned already a second time, by its own or another name.
fn link_into(directory: &Path, pin: &Path, name: Option<&str>) -> Result<()> {
    let name = name.map_or_else(|| pin.file_name().unwrap_or_default().to_owned(), Into::into);
    let second = directory.join(name);
    fs::hard_link(pin, &second).with_context(|| format!("{} cannot be pinned as {}", pin.display(), second.display()))
}

/// Removes a directory with the pins in it; one that is not there is no error.
fn remove_files_and_directory(directory: &Path) -> Result<()> {
    let is_file = |path: &PathBuf| !path.is_dir();
    for path in entries(directory)?.filter(is_file) {
        fs::remove_file(&path).with_context(|| format!("{}", path.display()))?;
    }
    remove_directory(directory)
}

fn shapes(options: &LoadOptions) -> Vec<Shape> {
    let entries = |name: &str| {
        Some(options.entries().iter().find(|(other, _)| *other == name).map_or(1, |(_, entries)| *entries))
    };
    let array = |name, value| Shape { name, kind: MapType::Array, value, entries: entries(name), flags: MAPPED };
    let per_cpu = |name, value| Shape { name, kind: MapType::PerCpuArray, value, entries: entries(name), flags: 0 };
    vec![
        array(map::CONTROL, size_of::<Control>()),
        array(map::SERVICE_BUCKETS, size_of::<ServiceBucket>()),
        array(map::SERVICES, size_of::<Service>()),
        array(map::SLOTS, size_of::<SlotPair>()),
        array(map::DESTINATIONS, size_of::<Destination>()),
        array(map::TUNNELS, size_of::<Tunnel>()),
        Shape { entries: Some(MAX_EGRESS), ..array(map::EGRESS, size_of::<Egress>()) },
        // The kernel adds BPF_F_RDONLY_PROG to device maps.
        Shape { name: map::EGRESS_DEVICES, kind: MapType::DevMap, value: 8, entries: Some(MAX_EGRESS), flags: 1 << 7 },
        Shape { entries: None, ..array(map::FLOWS, size_of::<FlowBucket>()) },
        array(map::NAT_BUCKETS, size_of::<NatBucket>()),
        array(map::NAT_SLOTS, size_of::<NatSlots>()),
        array(map::BACKEND_SET, size_of::<Word64>()),
        Shape { entries: Some(2 * MAX_POOL), ..array(map::NAT_POOL, size_of::<PoolAddress>()) },
        array(map::FRAGMENTS, size_of::<FlowBucket>()),
        Shape { entries: Some(QUIC_PLACES), ..array(map::QUIC_CONFIGURATIONS, size_of::<QuicRecord>()) },
        array(map::QUIC_SERVERS, size_of::<QuicBucket>()),
        array(map::SCORES, size_of::<Score>()),
        array(map::LIMITS, size_of::<ServiceLimits>()),
        array(map::LIST_BOUNDS, size_of::<ListBound>()),
        array(map::CLIENTS, size_of::<ClientBucket>()),
        per_cpu(map::LIMIT_COUNTERS, size_of::<LimitCounters>()),
        per_cpu(map::NODE_COUNTERS, size_of::<NodeCounters>()),
        per_cpu(map::DESTINATION_COUNTERS, size_of::<DestinationCounters>()),
        per_cpu(map::PASSIVE_COUNTERS, size_of::<PassiveCounters>()),
        per_cpu(map::REPLY_BUDGET, size_of::<ReplyBudget>()),
    ]
}

fn decap_shapes() -> [Shape; 2] {
    let shape = |name, kind, value, flags| Shape { name, kind, value, entries: Some(1), flags };
    [
        shape(decap::map::CONTROL, MapType::Array, size_of::<decap::Control>(), MAPPED),
        shape(decap::map::COUNTERS, MapType::PerCpuArray, size_of::<decap::Counters>(), 0),
    ]
}

fn make_directory(path: &Path, setting: &str) -> Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))
                .with_context(|| format!("permissions of {}", path.display()))
        }
        Err(error) => Err(error).with_context(|| {
            format!(
                "pin directory {} cannot be created; mount a bpffs above it with `mount -t bpf bpf /sys/fs/bpf`, or \
                 set {setting} to a directory on one",
                path.display()
            )
        }),
    }
}

/// Paths in a directory; none if it does not exist.
fn entries(directory: &Path) -> Result<impl Iterator<Item = PathBuf> + use<>> {
    let paths: Vec<PathBuf> = match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("{}", directory.display())),
    };
    Ok(paths.into_iter())
}

fn remove_files(directory: &Path) -> Result<()> {
    for path in entries(directory)? {
        fs::remove_file(&path).with_context(|| format!("{}", path.display()))?;
    }
    Ok(())
}

fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{}", path.display()))
        }
        _ => Ok(()),
    }
}
