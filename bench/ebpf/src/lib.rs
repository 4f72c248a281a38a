//! The records of the bench's maps, for both sides.
#![cfg_attr(target_arch = "bpf", no_std)]

/// Bytes of a packet that the driver writes anew each time: enough for every header that a program changes.
pub const TEMPLATE_BYTES: usize = 80;

/// What the driver sends.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Plan {
    /// The beginning of each packet, as words as in memory.
    pub template: [u64; TEMPLATE_BYTES / 8],
    /// Length of each packet, bytes; at least [`TEMPLATE_BYTES`] for IPv6 and 64 for IPv4. In 64 bits because
    /// the verifier allows no arithmetic with packet pointers in 32.
    pub length: u64,
    /// IP version.
    pub version: u32,
    /// Number of flows less one; a power of two less one.
    pub flow_mask: u32,
    /// Whether the packet's end has to be restored as well as its beginning.
    pub restore_tail: u32,
    /// Number of services less one that the flows are spread over; a power of two less one. The last two bytes of an
    /// IPv4 destination take the service's number, if this is not 0.
    pub service_mask: u32,
}

/// What the driver counted.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Progress {
    /// Packets so far: chooses the next flow.
    pub packets: u64,
    /// Packets whose program could not be called.
    pub lost: u64,
}

/// Packets between two of the sink's time stamps.
pub const SINK_SPAN: u64 = 1024;
/// Time stamps that the sink has room for.
pub const SINK_STAMPS: u32 = 64;

/// A service of the textbook balancer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TextbookService {
    /// VIP as in memory; IPv4 in the first word.
    pub address: [u32; 4],
    /// Port as in memory.
    pub port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// 4 or 6.
    pub version: u8,
}

/// A flow of the textbook balancer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TextbookFlow {
    /// Source as in memory.
    pub source: [u32; 4],
    /// Destination as in memory.
    pub destination: [u32; 4],
    /// Both ports as in memory.
    pub ports: u32,
    /// IP protocol.
    pub protocol: u32,
}

/// What the textbook balancer remembers of a flow.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct TextbookEntry {
    /// Index of the backend.
    pub backend: u32,
    /// Not used.
    pub spare: u32,
    /// Nanoseconds of the monotonic clock at the last UDP packet.
    pub seen: u64,
}

/// A backend of the textbook balancer.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct TextbookBackend {
    /// MAC address of the next hop.
    pub mac: [u8; 6],
    /// MAC address of the outgoing interface.
    pub source_mac: [u8; 6],
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TextbookCounter {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Slots of a service in the textbook's Maglev array.
pub const TEXTBOOK_RING: u32 = 65_537;
/// Indexes into the textbook's counters: packets that hit, that were inserted, that no service takes.
pub const TEXTBOOK_HIT: u32 = 0;
/// See [`TEXTBOOK_HIT`].
pub const TEXTBOOK_INSERT: u32 = 1;
/// See [`TEXTBOOK_HIT`].
pub const TEXTBOOK_PASS: u32 = 2;
/// Counters before those of the backends.
pub const TEXTBOOK_COUNTERS: u32 = 4;

/// Where the payload of a UDP datagram begins, with an IPv4 header without options and no VLAN tag.
pub const QUIC_PAYLOAD: usize = 14 + 20 + 8;
