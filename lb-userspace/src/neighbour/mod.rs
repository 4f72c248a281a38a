//! Next hops of the backends, through netlink.
