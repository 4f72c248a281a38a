//! The harness of Evenkeel's tests.
