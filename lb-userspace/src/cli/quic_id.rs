//! `evenkeel quic-id`

use std::{collections::HashSet, fs::File, io::Read as _, net::IpAddr, path::PathBuf};

use anyhow::ensure;
use clap::{Args, Subcommand};
use lb_common::quic::{
    ConnectionId, DRAFT, MAX_LENGTH, Parameters, QuicLb, Unroutable,
    encode::{Encoder, LowBits},
    server_id::server_id,
};
use rand::RngCore as _;
use serde::Serialize;
use thiserror::Error;

use super::{
    Daemon,
    output::{self, Rows, plain},
};
use crate::{
    api::model::{QuicServerStatus, Status},
    quic::Hex,
};

/// Octets of a key.
const KEY: usize = 16;
/// Largest file of a key, bytes.
const MAX_KEY_FILE: u64 = 1024;

const EXAMPLES: &str = "\
Examples:
  evenkeel quic-id make --config-id 0 --server-id c4605e --nonce-length 5
  evenkeel quic-id make --config-id 1 --server-id ed793a51 --nonce-length 12 \\
    --key-file /etc/evenkeel/quic.key --count 3 --json
  evenkeel quic-id servers
  evenkeel quic-id read --config-id 0 --server-id-length 3 --nonce-length 4 \\
    07c4605e4504cc4f";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Command {
    /// Print connection ids that a server could use.
    ///
    /// Nonces are random, and no two are the same in one run.
    #[command(after_help = EXAMPLES)]
    Make(Make),
    /// Print the server id in a connection id.
    ///
    /// With a wrong key, or for a connection id that a client made up, that is some number that looks random: nothing in a
    /// connection id tells.
    #[command(after_help = EXAMPLES)]
    Read(Read),
    /// Print what the server of each backend has to use: its server id in each configuration.
    ///
    /// Asks the daemon. Every node with the same `hash_secret` says the same.
    Servers(Servers),
}

#[derive(Debug, Args)]
pub(super) struct Servers {
    /// Only those of this service.
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    override_usage = "evenkeel quic-id make --config-id <ID> --server-id <HEX>\n                             --nonce-length <OCTETS> [OPTIONS]"
)]
pub(super) struct Make {
    #[command(flatten)]
    configuration: Configuration,
    /// The server's id: 1 to 15 octets, two digits each.
    #[arg(long, value_name = "HEX")]
    server_id: Hex,
    /// How many to print.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    count: u32,
    /// Fill five bits of the first octet with random ones, not with the length.
    ///
    /// For servers without hardware that needs the length there.
    #[arg(long)]
    random_bits: bool,
}

#[derive(Debug, Args)]
#[command(
    override_usage = "evenkeel quic-id read --config-id <ID> --server-id-length <OCTETS>\n                             --nonce-length <OCTETS> [OPTIONS] <HEX>"
)]
pub(super) struct Read {
    #[command(flatten)]
    configuration: Configuration,
    /// Octets of a server id, 1 to 15.
    #[arg(long, value_name = "OCTETS")]
    server_id_length: u8,
    /// The connection id: up to 20 octets, two digits each.
    #[arg(value_name = "HEX")]
    connection_id: Hex,
}

#[derive(Debug, Args)]
struct Configuration {
    /// The configuration's id, 0 to 6.
    #[arg(long, value_name = "ID")]
    config_id: u8,
    /// Octets of a nonce: 4 or more, and at most 19 with the server id.
    #[arg(long, value_name = "OCTETS")]
    nonce_length: u8,
    /// The key: 16 octets. Without one, ids are plain text.
    ///
    /// Everybody on this machine can see it while the command runs; prefer --key-file.
    #[arg(long, value_name = "HEX", conflicts_with = "key_file")]
    key: Option<Hex>,
    /// A file with the key, in the same form.
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,
}

/// Arguments that do not go together. The message has cause and remedy.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub(super) struct BadArguments(String);

#[derive(Debug, Serialize, PartialEq, Eq)]
struct Made {
    draft: &'static str,
    config_id: u8,
    mode: &'static str,
    server_id: String,
    nonce_length: u8,
    connection_ids: Vec<String>,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
struct Found {
    draft: &'static str,
    config_id: u8,
    mode: &'static str,
    server_id: String,
}

#[derive(Debug, Serialize)]
struct Server {
    service: String,
    backend: String,
    address: IpAddr,
    port: u16,
    #[serde(flatten)]
    quic: QuicServerStatus,
}

pub(super) fn main(command: &Command, daemon: &Daemon<'_>) -> anyhow::Result<()> {
    let json = daemon.json;
    match command {
        Command::Servers(arguments) => {
            let servers = servers(daemon.get("/v1/status")?, arguments.service.as_deref())?;
            if json {
                return output::json(&servers);
            }
            print_servers(&servers);
        }
        Command::Make(arguments) => {
            let made = make(arguments)?;
            if json {
                return output::json(&made);
            }
            output::print(&made.connection_ids.join("\n"));
        }
        Command::Read(arguments) => {
            let found = read(arguments)?;
            if json {
                return output::json(&found);
            }
            output::print(&found.server_id);
        }
    }
    Ok(())
}

fn servers(status: Status, wanted: Option<&str>) -> anyhow::Result<Vec<Server>> {
    let mut found = Vec::new();
    let mut is_known = wanted.is_none();
    for service in status.services.into_iter().filter(|service| wanted.is_none_or(|name| service.name == name)) {
        is_known = true;
        for backend in service.backends {
            for quic in backend.quic {
                let (service, backend, address, port) =
                    (service.name.clone(), backend.name.clone(), backend.address, backend.port);
                found.push(Server { service, backend, address, port, quic });
            }
        }
    }
    ensure!(is_known, "there is no service `{}`; `evenkeel service list` shows them", wanted.unwrap_or_default());
    Ok(found)
}

fn print_servers(servers: &[Server]) {
    if servers.is_empty() {
        return output::print("no service has `quic`");
    }
    let mut rows = Rows::new(&["SERVICE", "BACKEND", "CONFIG", "MODE", "SERVER ID", "NONCE"]);
    for Server { service, backend, quic, .. } in servers {
        rows.row([
            plain(service),
            plain(backend),
            plain(quic.config_id.to_string()),
            plain(&quic.mode),
            plain(&quic.server_id),
            plain(format!("{} octets", quic.nonce_length)),
        ]);
    }
    rows.print();
}

fn make(arguments: &Make) -> Result<Made, BadArguments> {
    let server_id = &arguments.server_id.0;
    let length = u8::try_from(server_id.len()).unwrap_or(u8::MAX);
    let parameters = arguments.configuration.parameters(length)?;
    let encoder = Encoder::new(&parameters).map_err(told)?;
    let mut random = rand::rng();
    let mut nonce = vec![0; usize::from(parameters.nonce_length)];
    let mut used = HashSet::new();
    let mut connection_ids = Vec::new();
    while connection_ids.len() < arguments.count as usize {
        random.fill_bytes(&mut nonce);
        // There are at least 2^32 nonces, and at most 2^16 are wanted.
        if used.insert(nonce.clone()) {
            let bits = if arguments.random_bits { LowBits::Random(random.next_u32() as u8) } else { LowBits::Length };
            let id = encoder.connection_id(server_id, &nonce, bits).map_err(told)?;
            connection_ids.push(Hex(id).to_string());
        }
    }
    Ok(Made {
        draft: DRAFT,
        config_id: parameters.id,
        mode: parameters.mode_name(),
        server_id: arguments.server_id.to_string(),
        nonce_length: parameters.nonce_length,
        connection_ids,
    })
}

fn read(arguments: &Read) -> Result<Found, BadArguments> {
    let parameters = arguments.configuration.parameters(arguments.server_id_length)?;
    let record = QuicLb::new(&parameters).map_err(told)?;
    let octets = &arguments.connection_id.0;
    let Some(id) = ConnectionId::from_slice(octets) else {
        return Err(BadArguments(format!(
            "a connection id of {} octets is longer than QUIC has them; write at most {MAX_LENGTH} octets",
            octets.len()
        )));
    };
    let known = |place| (place == parameters.id).then_some(&record);
    let found = server_id(&id, octets.len() as u32, known).map_err(|why| unroutable(why, &id, octets, &parameters))?;
    let server_id = found.octets()[..usize::from(parameters.server_id_length)].to_vec();
    Ok(Found {
        draft: DRAFT,
        config_id: parameters.id,
        mode: parameters.mode_name(),
        server_id: Hex(server_id).to_string(),
    })
}

fn unroutable(why: Unroutable, id: &ConnectionId, octets: &[u8], parameters: &Parameters) -> BadArguments {
    let Parameters { id: expected, server_id_length, nonce_length, .. } = *parameters;
    BadArguments(match why {
        Unroutable::Reserved => {
            "this connection id names no server: its first three bits are ones, so its server has no \
            configuration; give it one, or the id is one that a client made up"
                .to_owned()
        }
        Unroutable::UnknownConfiguration => format!(
            "this connection id is of configuration {}, not of {expected}; give that configuration's id, lengths and key",
            id.configuration()
        ),
        Unroutable::TooShort => format!(
            "a connection id of {} octets is too short for configuration {expected}, which needs {}; check both lengths, or the \
             id is one that a client made up",
            octets.len(),
            1 + u16::from(server_id_length) + u16::from(nonce_length)
        ),
    })
}

fn told(error: impl std::error::Error) -> BadArguments {
    BadArguments(error.to_string())
}

impl Configuration {
    fn parameters(&self, server_id_length: u8) -> Result<Parameters, BadArguments> {
        let parameters =
            Parameters { id: self.config_id, server_id_length, nonce_length: self.nonce_length, key: self.key()? };
        parameters.check().map_err(told)?;
        Ok(parameters)
    }

    fn key(&self) -> Result<Option<[u8; KEY]>, BadArguments> {
        let hex = match (&self.key, &self.key_file) {
            (Some(key), _) => key.clone(),
            (None, Some(path)) => {
                let refused = |why: &dyn std::fmt::Display| {
                    BadArguments(format!("the key in {}: {why}; write {} hexadecimal digits", path.display(), 2 * KEY))
                };
                let mut text = String::new();
                let file = File::open(path).map_err(|error| refused(&error))?;
                file.take(MAX_KEY_FILE).read_to_string(&mut text).map_err(|error| refused(&error))?;
                text.trim().parse().map_err(|error| refused(&error))?
            }
            (None, None) => return Ok(None),
        };
        let length = hex.0.len();
        let key = <[u8; KEY]>::try_from(hex.0);
        key.map(Some).map_err(|_| BadArguments(format!("a key of {length} octets is none of AES-128; write {KEY}")))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    const KEY_OF_THE_DRAFT: &str = "8f95f09245765f80256934e50c66207f";

    fn command(words: &str) -> Command {
        Line::try_parse_from(["quic-id"].into_iter().chain(words.split_whitespace())).expect("well formed").command
    }

    fn made(words: &str) -> Result<Made, BadArguments> {
        match command(&format!("make {words}")) {
            Command::Make(arguments) => make(&arguments),
            Command::Read(_) | Command::Servers(_) => unreachable!("asked to make"),
        }
    }

    fn found(words: &str) -> Result<String, String> {
        match command(&format!("read {words}")) {
            Command::Read(arguments) => {
                read(&arguments).map(|found| found.server_id).map_err(|error| error.to_string())
            }
            Command::Make(_) | Command::Servers(_) => unreachable!("asked to read"),
        }
    }

    #[test]
    fn what_is_made_is_read_in_every_mode() {
        for (key, nonce, mode) in [
            ("", 4, "plain"),
            (&*format!("--key {KEY_OF_THE_DRAFT}"), 11, "single-pass"),
            (&*format!("--key {KEY_OF_THE_DRAFT}"), 4, "four-pass"),
        ] {
            let made = made(&format!("--config-id 5 --server-id 0001a2b3c4 --nonce-length {nonce} --count 300 {key}"));
            let made = made.expect("made");
            assert_eq!((made.mode, made.config_id, made.connection_ids.len()), (mode, 5, 300));
            assert_eq!(made.connection_ids.iter().collect::<HashSet<_>>().len(), 300);
            for id in made.connection_ids {
                let first: Hex = id[..2].parse().expect("octets");
                assert_eq!(first.0, [5 << 5 | (5 + nonce)], "the length is in the first octet");
                let words = format!("--config-id 5 --server-id-length 5 --nonce-length {nonce} {key} {id}");
                assert_eq!(found(&words).as_deref(), Ok("0001a2b3c4"));
            }
        }
    }

    #[test]
    fn random_bits_are_in_place_of_the_length_if_asked_for() {
        let made = made("--config-id 0 --server-id 01 --nonce-length 4 --count 1000 --random-bits").expect("made");
        let first: HashSet<&str> = made.connection_ids.iter().map(|id| &id[..2]).collect();
        assert_eq!(first.len(), 32, "all values of five bits, and no other");
    }

    #[test]
    fn the_drafts_connection_ids_are_read() {
        let key = format!("--key {KEY_OF_THE_DRAFT}");
        for (words, expected) in [
            ("--config-id 0 --server-id-length 3 --nonce-length 4 07c4605e4504cc4f".to_owned(), "c4605e"),
            (format!("--config-id 0 --server-id-length 3 --nonce-length 4 {key} 0720b1d07b359d3c"), "ed793a"),
            (
                format!("--config-id 2 --server-id-length 8 --nonce-length 8 {key} 504dd2d05a7b0de9b2b9907afb5ecf8cc3"),
                "ed793a51d49b8f5f",
            ),
        ] {
            assert_eq!(found(&words).as_deref(), Ok(expected), "{words}");
        }
    }

    #[test]
    fn the_key_may_be_in_a_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("quic.key");
        std::fs::write(&path, format!("{KEY_OF_THE_DRAFT}\n")).expect("written");
        let words = format!("--config-id 0 --server-id-length 3 --nonce-length 4 --key-file {}", path.display());
        assert_eq!(found(&format!("{words} 0720b1d07b359d3c")).as_deref(), Ok("ed793a"));
        std::fs::write(&path, "not a key").expect("written");
        let error = found(&format!("{words} 0720b1d07b359d3c")).expect_err("no key");
        let expected = format!("the key in {}: `n` is no hexadecimal digit", path.display());
        assert!(error.starts_with(&expected) && error.ends_with("write 32 hexadecimal digits"), "{error}");
        std::fs::remove_file(&path).expect("removed");
        let error = found(&format!("{words} 0720b1d07b359d3c")).expect_err("no file");
        assert!(error.contains("No such file"), "{error}");
    }

    #[test]
    fn mistakes_are_told_with_what_to_do() {
        let lengths = "--config-id 0 --server-id-length 3 --nonce-length 4";
        for (words, expected) in [
            (format!("{lengths} 27c4605e4504cc4f"), "is of configuration 1, not of 0; give that"),
            (format!("{lengths} f7c4605e4504cc4f"), "its first three bits are ones"),
            (format!("{lengths} 07c4605e4504cc"), "of 7 octets is too short for configuration 0, which needs 8"),
            (format!("{lengths} {}", "00".repeat(21)), "write at most 20 octets"),
            (format!("{lengths} --key abcd 07c4605e4504cc4f"), "a key of 2 octets is none of AES-128; write 16"),
            ("--config-id 7 --server-id-length 3 --nonce-length 4 00".to_owned(), "use 0 to 6"),
            ("--config-id 0 --server-id-length 3 --nonce-length 3 00".to_owned(), "use 4 or more"),
        ] {
            let error = found(&words).expect_err("refused");
            assert!(error.contains(expected), "{words}: {error}");
        }
        let error = made("--config-id 0 --server-id 00112233445566778899aabbccddeeff --nonce-length 4");
        assert_eq!(error, Err(BadArguments("a server id cannot have 16 octets; use 1 to 15".to_owned())));
    }
}
