//! Rules and routes that lead what has the probes' mark to their device.

use anyhow::{Context as _, Result, bail};
use futures::TryStreamExt as _;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use nix::errno::Errno;
use rtnetlink::{Error, Handle, IpVersion, LinkUnspec, RouteMessageBuilder, new_connection};

/// The routing table with the one route to the device.
const TABLE: u32 = 59_239;
/// After `local`, before whatever an administrator has.
const PRIORITY: u32 = 99;
/// Whatever leads to backends takes this, with a tunnel's headers on top. (A probe is smaller; servers are told by it how large
/// their segments may be.)
const MTU: u32 = 1400;

/// Takes a device into use for what has a mark.
pub(super) async fn add(device: &str, mark: u32) -> Result<()> {
    let (connection, handle, _) = new_connection()?;
    let connection = tokio::spawn(connection);
    let added = try_add(&handle, device, mark).await;
    connection.abort();
    added
}

async fn try_add(handle: &Handle, device: &str, mark: u32) -> Result<()> {
    let index = nix::net::if_::if_nametoindex(device)?;
    handle.link().set(LinkUnspec::new_with_index(index).mtu(MTU).up().build()).execute().await.context("set it up")?;
    // Those of a daemon that was killed, with another mark perhaps.
    remove_by(handle).await?;
    let v4 = RouteMessageBuilder::<std::net::Ipv4Addr>::new().output_interface(index).table_id(TABLE).build();
    handle.route().add(v4).replace().execute().await.context("IPv4 route")?;
    let rule = || handle.rule().add().fw_mark(mark).table_id(TABLE).priority(PRIORITY).action(RuleAction::ToTable);
    rule().v4().execute().await.context("IPv4 rule")?;
    let v6 = RouteMessageBuilder::<std::net::Ipv6Addr>::new().output_interface(index).table_id(TABLE).build();
    match handle.route().add(v6).replace().execute().await {
        Ok(()) => rule().v6().execute().await.context("IPv6 rule"),
        // A host without IPv6, or where it is switched off.
        Err(Error::NetlinkError(error)) => {
            tracing::warn!(%error, "no IPv6 for probes on the way of the traffic");
            Ok(())
        }
        Err(error) => Err(error).context("IPv6 route"),
    }
}

/// Sees to it that the rules stay.
#[derive(Debug)]
pub(super) struct Rules {
    handle: Handle,
    connection: tokio::task::JoinHandle<()>,
    /// Those that were there first.
    count: usize,
}

impl Rules {
    /// Remembers the rules that are there.
    ///
    /// # Errors
    ///
    /// If the kernel cannot be asked.
    pub(super) async fn present() -> Result<Self> {
        let (connection, handle, _) = new_connection()?;
        let connection = tokio::spawn(connection);
        let count = ours(&handle).await?.len();
        Ok(Self { handle, connection, count })
    }

    /// Whether somebody has removed one since.
    ///
    /// # Errors
    ///
    /// If the kernel cannot be asked.
    pub(super) async fn are_gone(&self) -> Result<bool> {
        Ok(ours(&self.handle).await?.len() < self.count)
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Removes the rules of a daemon that is gone; those of one that has its device stay.
///
/// # Errors
///
/// If the kernel refuses.
pub async fn remove_leftover() -> Result<()> {
    let is_used = nix::net::if_::if_nametoindex(super::device::NAME).is_ok();
    if is_used { Ok(()) } else { remove().await }
}

/// Removes the rules; they do nothing once the device is gone, and this leaves nothing behind.
///
/// # Errors
///
/// If the kernel refuses.
pub async fn remove() -> Result<()> {
    let (connection, handle, _) = new_connection()?;
    let connection = tokio::spawn(connection);
    let removed = remove_by(&handle).await;
    connection.abort();
    removed.context("the rules for probes cannot be removed")
}

async fn remove_by(handle: &Handle) -> Result<()> {
    for rule in ours(handle).await? {
        handle.rule().del(rule).execute().await?;
    }
    Ok(())
}

async fn ours(handle: &Handle) -> Result<Vec<RuleMessage>> {
    let mut found = Vec::new();
    for version in [IpVersion::V4, IpVersion::V6] {
        let rules: Vec<RuleMessage> = match handle.rule().get(version).execute().try_collect().await {
            Ok(rules) => rules,
            // No IPv6.
            Err(Error::NetlinkError(error)) if -error.raw_code() == Errno::EAFNOSUPPORT as i32 => continue,
            Err(error) => bail!(error),
        };
        found.extend(rules.into_iter().filter(is_ours));
    }
    Ok(found)
}

fn is_ours(rule: &RuleMessage) -> bool {
    let has = |attribute: RuleAttribute| rule.attributes.contains(&attribute);
    has(RuleAttribute::Table(TABLE)) && has(RuleAttribute::Priority(PRIORITY))
}
