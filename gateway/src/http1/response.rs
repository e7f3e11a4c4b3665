//! A response read from the bytes of a connection, in pieces of any size: interim heads, the final head, content, the end.
//! Pure: bytes in, facts out; the room with the socket asks for more where more is needed.

use super::body::Incoming;
use super::framing::Framing;
use super::head::{ResponseHead, with_response};
use super::offer::Offer;
use super::scan::{HeadScanner, Scan};
use crate::limits::INTERIM_RESPONSES_MAX;

/// How large a response's head may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeadLimits {
    /// Of each head, interim ones too.
    pub bytes_max: usize,
    pub fields_max: usize,
}

impl From<&config::Limits> for HeadLimits {
    fn from(limits: &config::Limits) -> Self {
        Self { bytes_max: limits.response_head_bytes_max, fields_max: limits.fields_max }
    }
}

/// Why the bytes are no response that can be believed. Later bytes on the connection mean nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    BareLf,
    HeadTooLarge,
    /// A head that breaks the grammar, or whose end two readers could see in two places.
    Malformed(&'static str),
    /// 101 to a request that asked for no other protocol, or not for this one (RFC 9110 §15.2.2).
    SwitchedProtocols,
    TooManyInterims,
    BadChunk,
}

impl Fault {
    /// The fault in words that a client may be told.
    pub fn detail(self) -> &'static str {
        match self {
            Self::BareLf => "the upstream sent a bare LF",
            Self::HeadTooLarge => "the upstream's response head is too large",
            Self::Malformed(detail) => detail,
            Self::SwitchedProtocols => "the upstream switched protocols unasked",
            Self::TooManyInterims => "the upstream sent too many interim responses",
            Self::BadChunk => "the upstream sent malformed chunks",
        }
    }
}

/// The meaning of the bytes read so far.
#[derive(Debug)]
pub enum Step<T> {
    /// No further head is complete.
    More,
    /// A 1xx head of so many bytes; another head follows.
    Interim { used: usize, told: T },
    /// The final head of so many bytes, and the message behind it.
    Head { used: usize, told: T, message: Message },
}

/// Reads the heads of one response.
#[derive(Debug)]
pub struct Reader {
    limits: HeadLimits,
    /// The response is to a HEAD request.
    to_head: bool,
    /// The tunnel that the request asked for, where it did.
    offer: Option<Offer>,
    scanner: HeadScanner,
    interims: usize,
}

impl Reader {
    pub fn new(limits: HeadLimits, to_head: bool) -> Self {
        Self { limits, to_head, offer: None, scanner: HeadScanner::default(), interims: 0 }
    }

    /// Of a response to a request that made this offer: 101 may be its final head, and all behind it is the tunnel's.
    pub fn to_offer(self, offer: Option<Offer>) -> Self {
        Self { offer, ..self }
    }

    /// Whether an interim head has come.
    pub fn has_interims(&self) -> bool {
        self.interims > 0
    }

    /// Looks for the next head at the front of `input`, which starts at that head's first byte and only grows between calls;
    /// `look` is shown it and its bytes. Each byte is looked at once.
    pub fn head<T>(
        &mut self,
        input: &[u8],
        look: impl FnOnce(&ResponseHead<'_, '_>, &[u8]) -> T,
    ) -> Result<Step<T>, Fault> {
        let used = match self.scanner.scan(input) {
            Scan::Partial if input.len() > self.limits.bytes_max => return Err(Fault::HeadTooLarge),
            Scan::Partial => return Ok(Step::More),
            Scan::BareLf => return Err(Fault::BareLf),
            Scan::Complete(used) => used,
        };
        let raw = input.get(..used).unwrap_or(input);
        let offer = self.offer;
        let found = with_response(raw, self.limits.fields_max, self.to_head, |head| {
            let is_tunnel = head.status == 101;
            if is_tunnel && !offer.is_some_and(|offer| offer.is_taken_by(head)) {
                return Err(Fault::SwitchedProtocols);
            }
            let message = (head.status >= 200 || is_tunnel).then(|| Message {
                status: head.status,
                incoming: Incoming::new(if is_tunnel { Framing::UntilClose } else { head.framing }),
                keeps: head.keeps() && !is_tunnel,
                withholds: head.withholds,
            });
            Ok((look(head, raw), message))
        });
        let (told, message) = found.map_err(Fault::Malformed)??;
        let Some(message) = message else {
            self.interims += 1;
            if self.interims > INTERIM_RESPONSES_MAX {
                return Err(Fault::TooManyInterims);
            }
            return Ok(Step::Interim { used, told });
        };
        Ok(Step::Head { used, told, message })
    }
}

/// The message behind a final head.
#[derive(Debug)]
pub struct Message {
    pub status: u16,
    pub incoming: Incoming,
    /// The server leaves the connection open behind it.
    pub keeps: bool,
    /// The head declares content that the message must not have, which some servers send all the same.
    pub withholds: bool,
}

impl Message {
    /// Reads content at the front of `input`, each piece of it told to `see`; returns how many bytes belong to the message.
    pub fn read(&mut self, input: &[u8], see: impl FnMut(&[u8])) -> Result<usize, Fault> {
        self.incoming.read(input, see).map_err(|_| Fault::BadChunk)
    }

    /// Whether it is complete, where the connection `is_closed` at this byte or is not.
    pub fn is_over(&self, is_closed: bool) -> bool {
        self.incoming.is_done() || (is_closed && self.incoming.ends_at_close())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes_max: 200, fields_max: 10 };

    /// The reading of a whole connection's bytes: statuses of heads, content, whether the message is over, bytes behind it.
    #[derive(Debug, PartialEq, Eq)]
    struct Read {
        statuses: Vec<u16>,
        content: Vec<u8>,
        keeps: Option<bool>,
        over: bool,
        rest: usize,
    }

    /// Reads `input` as it comes in pieces of `piece` bytes; the connection closes behind it.
    fn read(input: &[u8], piece: usize, to_head: bool) -> Result<Read, Fault> {
        let mut reader = Reader::new(LIMITS, to_head);
        let (mut statuses, mut content, mut message) = (Vec::new(), Vec::new(), None::<Message>);
        let mut buf = Vec::new();
        for part in input.chunks(piece) {
            buf.extend_from_slice(part);
            while message.is_none() {
                match reader.head(&buf, |head, _| head.status)? {
                    Step::More => break,
                    Step::Interim { used, told } => {
                        statuses.push(told);
                        buf.drain(..used);
                    }
                    Step::Head { used, told, message: found } => {
                        statuses.push(told);
                        buf.drain(..used);
                        message = Some(found);
                    }
                }
            }
            if let Some(message) = &mut message {
                let used = message.read(&buf, |bytes| content.extend_from_slice(bytes))?;
                buf.drain(..used);
            }
        }
        let over = message.as_ref().is_some_and(|message| message.is_over(true));
        Ok(Read { statuses, content, keeps: message.map(|message| message.keeps), over, rest: buf.len() })
    }

    #[track_caller]
    fn check(input: &str, to_head: bool, expect: Result<(&[u16], &str, bool, bool, usize), Fault>) {
        let expect = expect.map(|(statuses, content, keeps, over, rest)| Read {
            statuses: statuses.to_vec(),
            content: content.as_bytes().to_vec(),
            keeps: Some(keeps),
            over,
            rest,
        });
        for piece in (1..input.len() + 1).rev() {
            assert_eq!(read(input.as_bytes(), piece, to_head), expect, "in pieces of {piece}: {input:?}");
        }
    }

    #[test]
    fn a_response_is_the_same_in_whatever_pieces_it_comes() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", false, Ok((&[200], "hi", true, true, 0)));
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiX", false, Ok((&[200], "hi", true, true, 1)));
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", false, Ok((&[200], "hi", true, false, 0)));
        check("HTTP/1.1 200 OK\r\n\r\nhi", false, Ok((&[200], "hi", false, true, 0)));
        check("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false, Ok((&[200], "", false, true, 0)));
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nX",
            false,
            Ok((&[200], "hi", true, true, 1)),
        );
        check("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", true, Ok((&[200], "", true, true, 0)));
        check("HTTP/1.1 204 No\r\n\r\n", false, Ok((&[204], "", true, true, 0)));
        check(
            "HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 304 Not\r\nConnection: close\r\n\r\n",
            false,
            Ok((&[100, 103, 304], "", false, true, 0)),
        );
    }

    #[test]
    fn what_is_no_response_is_a_fault_with_its_reason() {
        let large = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(300));
        assert_eq!(read(large.as_bytes(), 50, false), Err(Fault::HeadTooLarge));
        assert_eq!(read(b"HTTP/1.1 200 OK\nA: b\n\n", 3, false), Err(Fault::BareLf));
        assert!(matches!(read(b"HTTP/1.1 2x0 OK\r\n\r\n", 9, false), Err(Fault::Malformed(_))));
        let both = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(matches!(read(both, 9, false), Err(Fault::Malformed(_))));
        assert_eq!(read(b"HTTP/1.1 101 Go\r\nUpgrade: x\r\n\r\n", 9, false), Err(Fault::SwitchedProtocols));
        let interims = "HTTP/1.1 102 Wait\r\n\r\n".repeat(INTERIM_RESPONSES_MAX + 1);
        assert_eq!(read(interims.as_bytes(), 21, false), Err(Fault::TooManyInterims));
        let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
        assert_eq!(read(chunks, 9, false), Err(Fault::BadChunk));
    }

    #[test]
    fn bounds_of_heads_are_met_exactly() {
        let head = |bytes: usize| format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(bytes - 20)).into_bytes();
        let mut reader = Reader::new(LIMITS, false);
        assert!(matches!(reader.head(&head(200), |_, _| ()), Ok(Step::More)));
        assert!(matches!(reader.head(&head(201), |_, _| ()), Err(Fault::HeadTooLarge)));
        let mut reader = Reader::new(LIMITS, false);
        for n in 0..INTERIM_RESPONSES_MAX {
            assert_eq!(reader.has_interims(), n > 0);
            let step = reader.head(b"HTTP/1.1 102 Wait\r\n\r\n", |_, _| ());
            assert!(matches!(step, Ok(Step::Interim { .. })), "{n}");
        }
    }

    #[test]
    fn bounds_of_heads_are_those_that_are_configured() {
        let services = ["127.0.0.1:1", "127.0.0.1:2"].map(|address| address.parse().unwrap());
        let [v1, v2] = services;
        let limits = "[limits]\nresponse_head_bytes_max = 5000\nfields_max = 7\n";
        let text = config::embedded_text(v1, v2) + limits;
        let config = config::parse("test", &text).expect("the test's own text is sound").config;
        assert_eq!(HeadLimits::from(&config.limits), HeadLimits { bytes_max: 5_000, fields_max: 7 });
    }

    #[test]
    fn what_follows_a_101_that_was_asked_for_is_the_tunnels_until_the_connection_ends() {
        let offer = Offer { protocol: config::Upgrade::WebSocket, accept: [0; 28], is_ours: false };
        let input = b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00";
        let mut reader = Reader::new(LIMITS, false).to_offer(Some(offer));
        let Ok(Step::Head { used, mut message, .. }) = reader.head(input, |_, _| ()) else {
            panic!("it is final");
        };
        assert_eq!((message.status, message.keeps, message.is_over(false)), (101, false, false));
        assert_eq!(message.read(&input[used..], |_| ()), Ok(2));
        assert!(!message.is_over(false) && message.is_over(true));
        let mut reader = Reader::new(LIMITS, false).to_offer(None);
        assert!(matches!(reader.head(input, |_, _| ()), Err(Fault::SwitchedProtocols)));
    }

    #[test]
    fn content_that_must_not_be_there_is_known_and_every_fault_has_its_words() {
        let withholds = |head: &str, to_head: bool| {
            let step = Reader::new(LIMITS, to_head).head(head.as_bytes(), |_, _| ());
            matches!(step, Ok(Step::Head { message: Message { withholds: true, .. }, .. }))
        };
        assert!(withholds("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", true));
        assert!(withholds("HTTP/1.1 304 Not\r\nTransfer-Encoding: chunked\r\n\r\n", false));
        assert!(!withholds("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", false));
        assert!(!withholds("HTTP/1.1 204 No\r\n\r\n", false));
        let faults = [
            Fault::BareLf,
            Fault::HeadTooLarge,
            Fault::Malformed("odd"),
            Fault::SwitchedProtocols,
            Fault::TooManyInterims,
            Fault::BadChunk,
        ];
        let words: std::collections::HashSet<&str> = faults.into_iter().map(Fault::detail).collect();
        assert!(words.len() == faults.len() && words.contains("odd") && !words.contains(""));
    }
}
