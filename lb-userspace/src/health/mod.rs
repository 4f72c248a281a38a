//! Health: what consecutive probe results make of a backend.
