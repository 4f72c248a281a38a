//! Tables of earlier layouts that this version can take over.
//!
//! All maps but the flow table are shared with the program before, and the flow table is read as its layout asks. A layout whose other
//! records differ is not among these, so its tables are refused. Layouts 1 to 6 were never released.

use lb_common::{
    abi::LAYOUT_VERSION,
    flow::{FlowEntry, FlowWord},
};

/// Reads an entry of a flow table as tag and word; `None`: it is not used.
pub(super) type ReadFlow = fn(&FlowEntry) -> Option<(u64, FlowWord)>;

/// The earlier layouts.
pub(super) const EARLIER: &[u32] = if cfg!(feature = "next-layout") { &[7] } else { &[] };

/// How flow tables of a layout are read, if this version can: its own, and the earlier ones.
pub(super) fn reader(layout: u32) -> Option<ReadFlow> {
    match layout {
        LAYOUT_VERSION => Some(|entry| in_use(entry.load())),
        #[cfg(feature = "next-layout")]
        7 => Some(|entry| in_use(entry.load_of_layout_7())),
        _ => None,
    }
}

/// Whether tables of this layout can be taken over as they are, or converted.
#[must_use]
pub fn is_known(layout: u32) -> bool {
    reader(layout).is_some()
}

fn in_use((tag, word): (u64, FlowWord)) -> Option<(u64, FlowWord)> {
    word.state().map(|_| (tag, word))
}
