//! Forwarding modes: how a packet gets to its destination. One mode a file.

pub mod dsr_l2;
