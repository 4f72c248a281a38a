//! QUIC-LB: the draft's own vectors, and connection ids there and back.

use aes::{
    Aes128,
    cipher::{BlockCipherEncrypt as _, KeyInit as _},
};
use lb_common::quic::{
    ConnectionId, Parameters, ParametersError, QuicLb, ServerId, Unroutable,
    encode::{EncodeError, Encoder, LowBits},
    server_id::server_id,
};
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

fn key(text: &str) -> Option<[u8; 16]> {
    (!text.is_empty()).then(|| hex(text).try_into().expect("16 octets"))
}

fn parameters(id: u8, server_id: &[u8], nonce: &[u8], key: Option<[u8; 16]>) -> Parameters {
    Parameters { id, server_id_length: server_id.len() as u8, nonce_length: nonce.len() as u8, key }
}

/// The server id that the data path reads, as long as the configuration has it.
fn read(parameters: &Parameters, octets: &[u8]) -> Result<Vec<u8>, Unroutable> {
    let record = QuicLb::new(parameters).expect("valid parameters");
    let id = ConnectionId::from_slice(octets).expect("1 to 20 octets");
    let found = server_id(&id, octets.len() as u32, |place| (place == parameters.id).then_some(&record))?;
    let octets = found.octets();
    let (used, rest) = octets.split_at(usize::from(parameters.server_id_length));
    assert!(rest.iter().all(|octet| *octet == 0), "nothing but zeros after a server id");
    Ok(used.to_vec())
}

const KEY: &str = "8f95f09245765f80256934e50c66207f";

/// Appendix B and the example of section 5.4.2 of draft-ietf-quic-load-balancers-21:
/// configuration, key, server id, nonce, connection id.
const VECTORS: [(u8, &str, &str, &str, &str); 6] = [
    (0, "", "c4605e", "4504cc4f", "07c4605e4504cc4f"),
    (0, KEY, "ed793a", "ee080dbf", "0720b1d07b359d3c"),
    (1, KEY, "ed793a51d49b8f5fab65", "ee080dbf48", "2fcc381bc74cb4fbad2823a3d1f8fed2"),
    (2, KEY, "ed793a51d49b8f5f", "ee080dbf48c0d1e5", "504dd2d05a7b0de9b2b9907afb5ecf8cc3"),
    (3, KEY, "ed793a51d49b8f5fab", "ee080dbf48c0d1e55d", "125779c9cc86beb3a3a4a3ca96fce4bfe0cdbc"),
    (0, "fdf726a9893ec05c0632d3956680baf0", "31441a", "9c69c275", "0767947d29be054a"),
];

/// The fourth row with a key has the first octet of configuration 0, not of the 3 that stands beside it.
const MISPRINTED: usize = 4;

#[test]
fn the_drafts_vectors_are_made_and_read() {
    for (i, (id, key_text, server, nonce, printed)) in VECTORS.into_iter().enumerate() {
        let mut expected = hex(printed);
        if i == MISPRINTED {
            assert_eq!(expected[0], 0x12);
            expected[0] = 0x72;
        }
        let (server, nonce) = (hex(server), hex(nonce));
        let parameters = parameters(id, &server, &nonce, key(key_text));
        let encoder = Encoder::new(&parameters).expect("valid parameters");
        assert_eq!(encoder.connection_id(&server, &nonce, LowBits::Length), Ok(expected.clone()), "{printed}");
        assert_eq!(read(&parameters, &expected), Ok(server), "{printed}");
    }
}

/// The second row of appendix B.1, `1 350d28b420 3487d970b 20a350d28b4203487d970b`, was printed without leading zeros: nine digits are
/// no octets, and the connection id has one digit too many in front of the server id. What can be told: its configuration, and that
/// the printed server id lies in it half an octet on.
#[test]
fn the_drafts_vector_with_half_an_octet_lost() {
    let octets = hex("20a350d28b4203487d970b");
    let parameters = Parameters { id: 1, server_id_length: 5, nonce_length: 5, key: None };
    assert_eq!(read(&parameters, &octets), Ok(hex("a350d28b42")));
    let (server, nonce) = (hex("350d28b420"), hex("03487d970b"));
    let encoder = Encoder::new(&parameters).expect("valid parameters");
    let made = encoder.connection_id(&server, &nonce, LowBits::Length).expect("right lengths");
    assert_eq!(made, hex("2a350d28b42003487d970b"));
    assert_eq!(read(&parameters, &made), Ok(server));
}

/// The steps of section 5.4.2 as they are written there, octet by octet and with another implementation of AES.
fn by_the_book(parameters: &Parameters, plain: &[u8]) -> Vec<u8> {
    let cipher = Aes128::new(&parameters.key.expect("a key").into());
    let length = plain.len();
    let half = length.div_ceil(2);
    let odd = length % 2 == 1;
    let mut left = plain[..half].to_vec();
    let mut right = plain[length - half..].to_vec();
    let clear_last = |half: &mut Vec<u8>| *half.last_mut().expect("not empty") &= if odd { 0xf0 } else { 0xff };
    let clear_first = |half: &mut Vec<u8>| half[0] &= if odd { 0x0f } else { 0xff };
    clear_last(&mut left);
    clear_first(&mut right);
    for pass in 1..=4 {
        let from = if pass % 2 == 1 { &left } else { &right };
        let mut block = [0; 16];
        block[..half].copy_from_slice(from);
        block[14] = length as u8;
        block[15] = pass;
        let mut block = block.into();
        cipher.encrypt_block(&mut block);
        let to = if pass % 2 == 1 { &mut right } else { &mut left };
        to.iter_mut().zip(block).for_each(|(to, octet)| *to ^= octet);
        clear_last(&mut left);
        clear_first(&mut right);
    }
    if odd {
        let shared = left.pop().expect("not empty");
        right[0] |= shared;
    }
    [left, right].concat()
}

/// All lengths that the draft allows, with or without a key.
fn any_parameters() -> impl Strategy<Value = Parameters> {
    (0_u8..7, 1_u8..=15, any::<Option<[u8; 16]>>())
        .prop_flat_map(|(id, server, key)| (Just(id), Just(server), 4_u8..=19 - server, Just(key)))
        .prop_map(|(id, server_id_length, nonce_length, key)| Parameters { id, server_id_length, nonce_length, key })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn what_is_made_is_read(
        parameters in any_parameters(),
        octets: [u8; 19],
        bits: u8,
        more in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let (server, rest) = octets.split_at(usize::from(parameters.server_id_length));
        let nonce = &rest[..usize::from(parameters.nonce_length)];
        let encoder = Encoder::new(&parameters).expect("valid parameters");
        let mut id = encoder.connection_id(server, nonce, LowBits::Random(bits)).expect("right lengths");
        prop_assert_eq!(id[0], parameters.id << 5 | bits & 0x1f);
        let plain = [server, nonce].concat();
        if let Some(key) = parameters.key && plain.len() == 16 {
            let mut block = <[u8; 16]>::try_from(plain.as_slice()).expect("16 octets").into();
            Aes128::new(&key.into()).encrypt_block(&mut block);
            prop_assert_eq!(&id[1..], &block[..]);
        } else if parameters.key.is_some() {
            prop_assert_eq!(&id[1..], by_the_book(&parameters, &plain));
        } else {
            prop_assert_eq!(&id[1..], plain);
        }
        prop_assert_eq!(read(&parameters, &id), Ok(server.to_vec()));
        // What a server adds behind, or what follows in a short header, makes no difference.
        let room = 20 - id.len();
        id.extend(more.iter().take(room));
        prop_assert_eq!(read(&parameters, &id), Ok(server.to_vec()));
    }

    #[test]
    fn any_octets_are_read_without_a_panic(parameters in any_parameters(), octets in prop::collection::vec(any::<u8>(), 1..=20)) {
        let found = read(&parameters, &octets);
        let block = usize::from(parameters.server_id_length + parameters.nonce_length);
        let expected = match octets[0] >> 5 {
            7 => Some(Unroutable::Reserved),
            place if place != parameters.id => Some(Unroutable::UnknownConfiguration),
            _ if octets.len() <= block => Some(Unroutable::TooShort),
            _ => None,
        };
        prop_assert_eq!(found.err(), expected);
    }

    #[test]
    fn the_draft_decides_which_lengths_there_are(id: u8, server_id_length: u8, nonce_length: u8) {
        let fine = id < 7
            && (1..=15).contains(&server_id_length)
            && nonce_length >= 4
            && u16::from(server_id_length) + u16::from(nonce_length) <= 19;
        let parameters = Parameters { id, server_id_length, nonce_length, key: None };
        prop_assert_eq!(QuicLb::new(&parameters).is_ok(), fine);
    }
}

#[test]
fn a_short_header_does_not_tell_the_length() {
    let parameters = parameters(0, &[0; 3], &[0; 4], None);
    let record = QuicLb::new(&parameters).expect("valid parameters");
    let id = ConnectionId::from_slice(&hex("07c4605e4504cc4f")).expect("8 octets");
    let expected = ServerId::from_slice(&hex("c4605e")).expect("3 octets");
    assert_eq!(server_id(&id, 20, |_| Some(&record)), Ok(expected));
    assert_eq!(server_id(&id, 7, |_| Some(&record)), Err(Unroutable::TooShort));
    assert_eq!(server_id(&id, 20, |_| Some(&QuicLb::NONE)), Err(Unroutable::UnknownConfiguration));
}

#[test]
fn rotation_keeps_what_older_connections_have() {
    let keys = ["", KEY, "fdf726a9893ec05c0632d3956680baf0", "000102030405060708090a0b0c0d0e0f", KEY, "", KEY];
    let all: Vec<Parameters> = keys
        .iter()
        .zip(0..)
        .map(|(text, id)| Parameters { id, server_id_length: 1 + id, nonce_length: 4 + id, key: key(text) })
        .collect();
    let records: Vec<QuicLb> = all.iter().map(|parameters| QuicLb::new(parameters).expect("valid")).collect();
    for parameters in &all {
        let server: Vec<u8> = (0x51..).take(usize::from(parameters.server_id_length)).collect();
        let nonce = vec![0x33; usize::from(parameters.nonce_length)];
        let encoder = Encoder::new(parameters).expect("valid");
        let octets = encoder.connection_id(&server, &nonce, LowBits::Length).expect("right lengths");
        let id = ConnectionId::from_slice(&octets).expect("at most 20 octets");
        let found = server_id(&id, octets.len() as u32, |place| records.get(usize::from(place)));
        assert_eq!(found, Ok(ServerId::from_slice(&server).expect("at most 15 octets")), "{parameters:?}");
    }
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    let bad = |id, server_id_length, nonce_length| {
        let error = QuicLb::new(&Parameters { id, server_id_length, nonce_length, key: None }).expect_err("bad");
        error.to_string()
    };
    assert_eq!(bad(7, 3, 4), "configuration id 7 means \"no configuration\"; use 0 to 6");
    assert_eq!(bad(9, 3, 4), "there is no configuration id 9; use 0 to 6");
    assert_eq!(bad(0, 16, 4), "a server id cannot have 16 octets; use 1 to 15");
    assert_eq!(bad(0, 3, 3), "a nonce of 3 octets is too short; use 4 or more");
    assert_eq!(ParametersError::Sum { server_id: 10, nonce: 10 }.to_string(), bad(0, 10, 10));
    let encoder = Encoder::new(&Parameters { id: 0, server_id_length: 3, nonce_length: 4, key: None }).expect("valid");
    let error = encoder.connection_id(&[1, 2], &[0; 4], LowBits::Length).expect_err("too short");
    assert_eq!(error, EncodeError::ServerId { has: 2, needs: 3 });
    assert_eq!(error.to_string(), "the server id has 2 octets; the configuration says 3");
    assert!(encoder.connection_id(&[1, 2, 3], &[0; 5], LowBits::Length).is_err());
}

#[test]
fn nothing_prints_a_key() {
    let parameters = Parameters { id: 0, server_id_length: 3, nonce_length: 4, key: Some([0xab; 16]) };
    let record = QuicLb::new(&parameters).expect("valid");
    for text in [format!("{parameters:?}"), format!("{record:?}"), format!("{:?}", Encoder::new(&parameters))] {
        let word = format!("{}", 0xabab_abab_u32);
        assert!(!text.contains("171") && !text.contains(&word) && !text.to_lowercase().contains("abab"), "{text}");
    }
}
