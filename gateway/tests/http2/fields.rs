//! HPACK: the examples of RFC 7541 appendix C, and `loona-hpack` as the second reader and writer.

use gateway::http2::hpack::encode::{field, indexed};
use gateway::http2::hpack::{Decoder, Encoder, Extent, Field, ListLimits, Sink, Unreadable, huffman};

/// Fields as they come.
#[derive(Default)]
pub(crate) struct List {
    out: Vec<u8>,
    pub(crate) fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Sink for List {
    fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    fn field(&mut self, field: Field) {
        let (name, rest) = self.out[field.at..].split_at(field.name_len);
        assert_eq!((&rest[..2], rest.len()), (&b": "[..], field.value_len + 2));
        self.fields.push((name.to_vec(), rest[2..].to_vec()));
    }
}

const LIMITS: ListLimits = ListLimits { bytes_max: 1 << 20, fields_max: 10_000 };

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, Unreadable> {
    let mut list = List::default();
    decoder.decode(block, LIMITS, &mut list)?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ok(list.fields.into_iter().map(|(n, v)| (text(n), text(v))).collect())
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Checks blocks of one connection in a row, with their fields.
#[track_caller]
fn check(blocks: &[(&str, &[(&str, &str)])]) {
    let mut decoder = Decoder::default();
    for (hex, expect) in blocks {
        let expect: Vec<_> = expect.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        assert_eq!(decode(&mut decoder, &bytes(hex)), Ok(expect), "{hex}");
    }
}

#[test]
fn the_representations_of_appendix_c_2() {
    check(&[("400a637573746f6d2d6b65790d637573746f6d2d686561646572", &[("custom-key", "custom-header")])]);
    check(&[("040c2f73616d706c652f70617468", &[(":path", "/sample/path")])]);
    check(&[("100870617373776f726406736563726574", &[("password", "secret")])]);
    check(&[("82", &[(":method", "GET")])]);
}

const FIRST: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
const SECOND: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
    ("cache-control", "no-cache"),
];
const THIRD: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
];

#[test]
fn the_requests_of_appendix_c_3_and_c_4() {
    check(&[
        ("828684410f7777772e6578616d706c652e636f6d", FIRST),
        ("828684be58086e6f2d6361636865", SECOND),
        ("828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565", THIRD),
    ]);
    check(&[
        ("828684418cf1e3c2e5f23a6ba0ab90f4ff", FIRST),
        ("828684be5886a8eb10649cbf", SECOND),
        ("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", THIRD),
    ]);
}

const ANSWERS: [&[(&str, &str)]; 3] = [
    &[
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ],
    &[
        (":status", "307"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ],
    &[
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ("location", "https://www.example.com"),
        ("content-encoding", "gzip"),
        ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ],
];

/// The examples have a table of 256 bytes: a size update in front of the first block.
#[test]
fn the_responses_of_appendix_c_5_and_c_6() {
    check(&[
        (
            "3fe101 4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470\
             733a2f2f7777772e6578616d706c652e636f6d",
            ANSWERS[0],
        ),
        ("4803333037c1c0bf", ANSWERS[1]),
        (
            "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b\
             425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
            ANSWERS[2],
        ),
    ]);
    check(&[
        (
            "3fe101 488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82\
             ae43d3",
            ANSWERS[0],
        ),
        ("4883640effc1c0bf", ANSWERS[1]),
        (
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af2708\
             7f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
            ANSWERS[2],
        ),
    ]);
}

#[test]
fn integers_and_sizes_have_bounds() {
    let mut decoder = Decoder::default();
    // C.1.2: 1337 behind five bits is no size that we allow; 4096 is.
    assert!(decode(&mut decoder, &bytes("3fe11f")).is_ok());
    assert!(decode(&mut decoder, &bytes("3fe21f")).is_err());
    assert!(decode(&mut decoder, &bytes("203fe11f82")).is_ok());
    assert!(decode(&mut decoder, &bytes("20203fe11f82")).is_err());
    assert!(decode(&mut decoder, &bytes("8220")).is_err());
    assert!(decode(&mut decoder, &bytes("ff80808080808000")).is_err());
    assert!(decode(&mut decoder, &bytes("80")).is_err());
    assert!(decode(&mut decoder, &bytes("bd")).is_ok());
    assert!(decode(&mut decoder, &bytes("be")).is_err());
    assert!(decode(&mut decoder, &bytes("3f")).is_err());
    assert!(decode(&mut decoder, &bytes("43")).is_err());
}

#[test]
fn what_is_too_large_is_counted_as_the_peer_counts() {
    let mut decoder = Decoder::default();
    let limits = ListLimits { bytes_max: 42 + 38, fields_max: 2 };
    let mut list = List::default();
    // `:method: GET` is 10 bytes and 32, `x: yyyyy` 6 and 32.
    let extent = decoder.decode(b"\x82\x00\x01x\x05yyyyy", limits, &mut list);
    assert_eq!(extent, Ok(Extent { bytes: 80, fields: 2, is_too_large: false }));
    let extent = decoder.decode(b"\x82\x00\x01x\x06yyyyyy", limits, &mut list);
    assert_eq!(extent, Ok(Extent { bytes: 81, fields: 2, is_too_large: true }));
    assert_eq!(decoder.decode(&[0x82; 7], limits, &mut list).map(|extent| extent.is_too_large), Ok(true));
    assert_eq!(decoder.decode(&[0x82; 8], limits, &mut list), Err(Unreadable::TooLarge));
}

#[test]
fn loona_reads_what_we_write_and_we_read_what_it_writes() {
    let fields: Vec<(Vec<u8>, Vec<u8>)> = (0..200usize)
        .map(|n| {
            let name =
                ["x-trace", "cookie", "content-type", "accept", "a-rather-long-name-that-no-table-has"]
                    [n % 5];
            (name.into(), vec![b'a' + (n % 26) as u8; n * 7 % 300])
        })
        .collect();
    let mut ours = Vec::new();
    Encoder::default().begin(&mut ours);
    indexed(&mut ours, 2);
    fields.iter().for_each(|(name, value)| field(&mut ours, name, value, false));
    let mut expect = vec![(b":method".to_vec(), b"GET".to_vec())];
    expect.extend(fields);
    assert_eq!(loona_hpack::Decoder::new().decode(&ours).unwrap(), expect);
    // Loona's encoder indexes all that it can; three blocks fill and turn its table over.
    let (mut encoder, mut decoder) = (loona_hpack::Encoder::new(), Decoder::default());
    for _ in 0..3 {
        let theirs = encoder.encode(expect.iter().map(|(name, value)| (name.as_slice(), value.as_slice())));
        let mut list = List::default();
        decoder.decode(&theirs, LIMITS, &mut list).unwrap();
        assert_eq!(list.fields, expect);
    }
}

#[test]
fn loona_reads_our_huffman() {
    for text in ["", "a", "www.example.com", "\u{e4}\u{1}~~~", "302 no-cache /index.html?x=%20"] {
        let mut coded = Vec::new();
        huffman::encode(text.as_bytes(), &mut coded);
        let block = [&[0, 1, b'x', 0x80 | coded.len() as u8][..], &coded].concat();
        let theirs = loona_hpack::Decoder::new().decode(&block).unwrap();
        assert_eq!(theirs, [(b"x".to_vec(), text.as_bytes().to_vec())]);
    }
}
