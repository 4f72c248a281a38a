//! The two ends of the relay: the TUN device that probes' packets come from, and the socket that frames leave by.
#![expect(unsafe_code, reason = "libraries have no words for two structures of the kernel")]

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::OpenOptionsExt as _,
    },
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use tokio::io::unix::AsyncFd;

/// The device's name: one daemon of a network namespace has it.
pub(super) const NAME: &str = "evenkeel-probe";

/// A TUN device. It ends with this value, at the latest with the process.
#[derive(Debug)]
pub(super) struct Tun(AsyncFd<File>);

impl Tun {
    /// Makes it.
    ///
    /// # Errors
    ///
    /// If the kernel has none, the right is missing, or another process has one of this name.
    pub(super) fn open() -> io::Result<Self> {
        let told = |what: String| move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
        let file = file.map_err(told("/dev/net/tun".to_owned()))?;
        // SAFETY: a structure of integers, for which zeros are valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(NAME.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: the command reads and writes the structure that it is given, which lives until it returns.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        nix::errno::Errno::result(result)
            .map_err(io::Error::from)
            .map_err(told(format!("{NAME} (is it another daemon's?)")))?;
        // SAFETY: the descriptor is the file's, which is handed over and stays what it is until this value is dropped.
        Ok(Self(unsafe { AsyncFd::register(file) }?))
    }

    #[expect(clippy::unused_self, reason = "it is this device's")]
    pub(super) fn name(&self) -> &'static str {
        NAME
    }

    /// The next packet that the kernel sends by it, from its IP header on.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(result) = ready.try_io(|file| file.get_ref().read(buffer)) {
                return result;
            }
        }
    }
}

/// Sends frames; receives nothing.
#[derive(Debug)]
pub(super) struct Sender(OwnedFd);

impl Sender {
    /// Opens the socket.
    ///
    /// # Errors
    ///
    /// Without the right to.
    pub(super) fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        Ok(Self(socket(AddressFamily::Packet, SockType::Raw, flags, None)?))
    }

    /// Sends a frame by an interface.
    ///
    /// # Errors
    ///
    /// If there is no such interface, or its queue is full.
    pub(super) fn send(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        let wrong = |_| io::Error::from(io::ErrorKind::InvalidInput);
        // SAFETY: a structure of integers, for which zeros are valid.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as libc::c_ushort;
        address.sll_ifindex = ifindex.try_into().map_err(wrong)?;
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the kernel reads the frame and the address, which are as long as it is told, and keeps neither.
        let sent = unsafe {
            let address = (&raw const address).cast();
            libc::sendto(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, address, length)
        };
        nix::errno::Errno::result(sent)?;
        Ok(())
    }
}
