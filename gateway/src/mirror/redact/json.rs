//! Takes values out of a JSON text as it passes, piece by piece: everything else stays byte for byte. Pure.
//!
//! Strict by RFC 8259, UTF-8 included, so that no lenient reader could see in it what we did not: a text that is not one JSON
//! value is refused. A name that stands twice is taken twice. Nothing recurses, and memory beside the output is bounded by the
//! depth, the pointers and the longest of their names.

use super::REDACTED;
use crate::limits::JSON_DEPTH_MAX;

/// Where secrets stand: JSON pointers (RFC 6901), with `*` for every member or element.
#[derive(Debug)]
pub struct Pointers {
    pointers: Vec<Vec<Token>>,
    /// Bytes of the longest name, every byte of it written as an escape.
    name_bytes_max: usize,
}

#[derive(Debug)]
enum Token {
    Any,
    /// Any element of an array.
    Element,
    /// A member, or an element by its number.
    Name(Vec<u8>, Option<u64>),
}

impl Token {
    fn new(text: &str) -> Self {
        if text == "*" {
            return Self::Any;
        }
        let name = text.replace("~1", "/").replace("~0", "~");
        let is_number = name == "0" || (!name.starts_with('0') && name.bytes().all(|b| b.is_ascii_digit()));
        let number = is_number.then(|| name.parse().ok()).flatten();
        Self::Name(name.into_bytes(), number)
    }
}

impl Pointers {
    pub fn new(given: &[String]) -> Self {
        let pointer = |text: &String| text.split('/').skip(1).map(Token::new).collect::<Vec<_>>();
        // A batch is an array of such values: a name is looked for in each of its elements.
        let in_batch = |text: &String| {
            let pointer = pointer(text);
            let is_name = matches!(pointer.first(), Some(Token::Name(_, None)));
            is_name.then(|| std::iter::once(Token::Element).chain(pointer).collect())
        };
        let pointers: Vec<Vec<Token>> =
            given.iter().map(pointer).chain(given.iter().filter_map(in_batch)).collect();
        let longest = pointers.iter().flatten().map(|token| match token {
            Token::Any | Token::Element => 0,
            Token::Name(name, _) => name.len(),
        });
        let name_bytes_max = longest.max().unwrap_or(0).saturating_mul(r"\u0000".len());
        Self { pointers, name_bytes_max }
    }

    /// For a value at `path`, or in a value that a pointer names: the path of the secret, by the first pointer that fits. Names
    /// of members, `None` for any index; a name behind `*` is none of the pointer's own words.
    ///
    /// `is_same` says which names are one.
    pub fn covering<'p>(
        &self,
        path: &[Option<&'p str>],
        is_same: impl Fn(&[u8], &[u8]) -> bool,
    ) -> Option<Vec<Option<&'p str>>> {
        let fits = |(token, at): (&Token, &Option<&str>)| match (token, at) {
            (Token::Any, Some(_) | None) | (Token::Element, None) => true,
            (Token::Element, Some(_)) => false,
            (Token::Name(known, _), Some(name)) => is_same(known, name.as_bytes()),
            (Token::Name(_, number), None) => number.is_some(),
        };
        let leads = |pointer: &&Vec<Token>| pointer.len() <= path.len() && pointer.iter().zip(path).all(fits);
        let pointer = self.pointers.iter().filter(leads).min_by_key(|pointer| pointer.len())?;
        Some(
            pointer
                .iter()
                .zip(path)
                .map(|(token, at)| match token {
                    Token::Any => at.map(|_| "*"),
                    Token::Element => None,
                    Token::Name(..) => *at,
                })
                .collect(),
        )
    }
}

/// The text is not one JSON value, or nested too deeply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotJson;

/// The search of one text.
#[derive(Debug)]
pub struct Search<'p> {
    pointers: &'p Pointers,
    state: State,
    stack: Vec<Frame>,
    /// Pointers that lead to where each open container stands, one container behind the other.
    leads: Vec<usize>,
    /// The name being read, as written, and whether it is longer than any that is looked for.
    name: Vec<u8>,
    name_too_long: bool,
    /// A value is being left out: how many containers it stands in.
    muted: Option<usize>,
}

#[derive(Debug)]
struct Frame {
    is_object: bool,
    /// Number of the element being read.
    index: u64,
    /// Its pointers are `leads[leads_from..]`, while no container in it is open.
    leads_from: usize,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// A value must come.
    Value,
    /// A value, or the array's end.
    FirstElement,
    /// A name, or the object's end.
    FirstName,
    Name,
    Colon,
    String {
        is_name: bool,
        at: Text,
    },
    Number(Digits),
    /// The bytes that must still come of `true`, `false` or `null`.
    Word(&'static [u8]),
    /// A value is over.
    After,
}

/// Inside a string.
#[derive(Debug, Clone, Copy)]
enum Text {
    Plain,
    Escape,
    /// So many hex digits must come.
    Hex(u8),
    /// So many more bytes of a character must come, the next within these bounds (RFC 3629 §4).
    Utf8(u8, u8, u8),
}

/// State inside a number, by the last character.
#[derive(Debug, Clone, Copy)]
enum Digits {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

impl<'p> Search<'p> {
    pub fn new(pointers: &'p Pointers) -> Self {
        Self {
            pointers,
            state: State::Value,
            stack: Vec::new(),
            leads: Vec::new(),
            name: Vec::new(),
            name_too_long: false,
            muted: None,
        }
    }

    /// Reads the next piece and appends it to `out` without its secrets.
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), NotJson> {
        // The part that is not written yet starts here, unless it is left out.
        let mut from = 0;
        let mut at = 0;
        while let Some(byte) = piece.get(at) {
            let was_muted = self.muted.is_some();
            let used = self.step(*byte, &piece[at..])?;
            match (was_muted, self.muted.is_some()) {
                (false, true) => {
                    out.extend_from_slice(&piece[from..at]);
                    out.extend_from_slice(format!("\"{REDACTED}\"").as_bytes());
                }
                (true, false) => from = at + used,
                (true, true) | (false, false) => {}
            }
            at += used;
        }
        if self.muted.is_none() {
            out.extend_from_slice(piece.get(from..).unwrap_or_default());
        }
        Ok(())
    }

    /// The text is over.
    pub fn end(mut self) -> Result<(), NotJson> {
        if let State::Number(digits) = self.state {
            self.end_number(digits)?;
        }
        match self.state {
            State::After if self.stack.is_empty() => Ok(()),
            _unfinished => Err(NotJson),
        }
    }

    /// Reads one byte, or as many as need no decision; returns how many. None where a number ended before it.
    fn step(&mut self, byte: u8, rest: &[u8]) -> Result<usize, NotJson> {
        match self.state {
            State::String { is_name, at } => return self.string(byte, rest, is_name, at),
            State::Number(digits) => match digits.next(byte) {
                Some(next) => self.state = State::Number(next),
                None => {
                    self.end_number(digits)?;
                    return Ok(0);
                }
            },
            State::Word(word) => match word.split_first() {
                Some((first, left)) if *first == byte => {
                    self.state = State::Word(left);
                    if left.is_empty() {
                        self.end_value();
                    }
                }
                Some(_) | None => return Err(NotJson),
            },
            _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => {}
            State::FirstElement if byte == b']' => self.close(false)?,
            State::Value | State::FirstElement => self.value(byte)?,
            State::FirstName if byte == b'}' => self.close(true)?,
            State::FirstName | State::Name if byte == b'"' => {
                self.name.clear();
                self.name_too_long = false;
                self.state = State::String { is_name: true, at: Text::Plain };
            }
            State::FirstName | State::Name => return Err(NotJson),
            State::Colon if byte == b':' => self.state = State::Value,
            State::Colon => return Err(NotJson),
            State::After => match (byte, self.stack.last_mut()) {
                (b',', Some(frame)) => {
                    frame.index += 1;
                    self.state = if frame.is_object { State::Name } else { State::Value };
                }
                (b'}', Some(_)) => self.close(true)?,
                (b']', Some(_)) => self.close(false)?,
                (_, Some(_) | None) => return Err(NotJson),
            },
        }
        Ok(1)
    }

    /// A value begins.
    fn value(&mut self, byte: u8) -> Result<(), NotJson> {
        let leads_from = self.leads.len();
        self.lead();
        let depth = self.stack.len();
        let ends_here = |lead: &usize| self.pointers.pointers.get(*lead).is_some_and(|p| p.len() == depth);
        if self.muted.is_none() && self.leads[leads_from..].iter().any(ends_here) {
            self.muted = Some(depth);
            self.leads.truncate(leads_from);
        }
        self.state = match byte {
            b'{' | b'[' => {
                if depth >= JSON_DEPTH_MAX {
                    return Err(NotJson);
                }
                let is_object = byte == b'{';
                self.stack.push(Frame { is_object, index: 0, leads_from });
                self.state = if is_object { State::FirstName } else { State::FirstElement };
                return Ok(());
            }
            b'"' => State::String { is_name: false, at: Text::Plain },
            b'-' => State::Number(Digits::Minus),
            b'0' => State::Number(Digits::Zero),
            b'1'..=b'9' => State::Number(Digits::Whole),
            b't' => State::Word(b"rue"),
            b'f' => State::Word(b"alse"),
            b'n' => State::Word(b"ull"),
            _ => return Err(NotJson),
        };
        self.leads.truncate(leads_from);
        Ok(())
    }

    /// Adds the pointers that lead to the value that begins.
    fn lead(&mut self) {
        if self.muted.is_some() {
            return;
        }
        let Some(frame) = self.stack.last() else {
            self.leads.extend(0..self.pointers.pointers.len());
            return;
        };
        let step = self.stack.len() - 1;
        let name = if frame.is_object && !self.name_too_long { unescaped(&self.name) } else { Vec::new() };
        for i in frame.leads_from..self.leads.len() {
            let lead = self.leads[i];
            let token = self.pointers.pointers.get(lead).and_then(|pointer| pointer.get(step));
            let goes_on = match token {
                None => false,
                Some(Token::Any) => true,
                Some(Token::Element) => !frame.is_object,
                Some(Token::Name(known, _)) if frame.is_object => {
                    !self.name_too_long && known.eq_ignore_ascii_case(&name)
                }
                Some(Token::Name(_, number)) => *number == Some(frame.index),
            };
            if goes_on {
                self.leads.push(lead);
            }
        }
    }

    fn close(&mut self, is_object: bool) -> Result<(), NotJson> {
        match self.stack.pop() {
            Some(frame) if frame.is_object == is_object => {
                self.leads.truncate(frame.leads_from);
                self.end_value();
                Ok(())
            }
            Some(_) | None => Err(NotJson),
        }
    }

    fn end_value(&mut self) {
        if self.muted == Some(self.stack.len()) {
            self.muted = None;
        }
        self.state = State::After;
    }

    fn end_number(&mut self, digits: Digits) -> Result<(), NotJson> {
        match digits {
            Digits::Zero | Digits::Whole | Digits::Fraction | Digits::Exponent => {
                self.end_value();
                Ok(())
            }
            Digits::Minus | Digits::Point | Digits::E | Digits::Sign => Err(NotJson),
        }
    }

    fn string(&mut self, byte: u8, rest: &[u8], is_name: bool, at: Text) -> Result<usize, NotJson> {
        let mut used = 1;
        let next = match at {
            Text::Plain => match byte {
                b'"' if is_name => {
                    self.state = State::Colon;
                    return Ok(1);
                }
                b'"' => {
                    self.end_value();
                    return Ok(1);
                }
                b'\\' => Text::Escape,
                0x20..=0x7f => {
                    let plain = |b: &u8| (0x20..0x80).contains(b) && !matches!(*b, b'"' | b'\\');
                    used = rest.iter().take_while(|b| plain(b)).count();
                    Text::Plain
                }
                0xc2..=0xdf => Text::Utf8(1, 0x80, 0xbf),
                0xe0 => Text::Utf8(2, 0xa0, 0xbf),
                0xed => Text::Utf8(2, 0x80, 0x9f),
                0xe1..=0xef => Text::Utf8(2, 0x80, 0xbf),
                0xf0 => Text::Utf8(3, 0x90, 0xbf),
                0xf1..=0xf3 => Text::Utf8(3, 0x80, 0xbf),
                0xf4 => Text::Utf8(3, 0x80, 0x8f),
                0..0x20 | 0x80..0xc2 | 0xf5.. => return Err(NotJson),
            },
            Text::Escape => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Text::Plain,
                b'u' => Text::Hex(4),
                _ => return Err(NotJson),
            },
            Text::Hex(left) if byte.is_ascii_hexdigit() => {
                if left > 1 {
                    Text::Hex(left - 1)
                } else {
                    Text::Plain
                }
            }
            Text::Utf8(left, low, high) if (low..=high).contains(&byte) => {
                if left > 1 {
                    Text::Utf8(left - 1, 0x80, 0xbf)
                } else {
                    Text::Plain
                }
            }
            Text::Hex(_) | Text::Utf8(..) => return Err(NotJson),
        };
        if is_name && !self.name_too_long {
            let taken = rest.get(..used).unwrap_or_default();
            self.name_too_long = self.name.len() + taken.len() > self.pointers.name_bytes_max;
            if !self.name_too_long {
                self.name.extend_from_slice(taken);
            }
        }
        self.state = State::String { is_name, at: next };
        Ok(used)
    }
}

impl Digits {
    /// The state after `byte`; `None` where the number is over or broken.
    fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Whole, b'0'..=b'9') => Some(Self::Whole),
            (Self::Zero | Self::Whole, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Some(Self::E),
            (Self::E, b'+' | b'-') => Some(Self::Sign),
            (Self::E | Self::Sign | Self::Exponent, b'0'..=b'9') => Some(Self::Exponent),
            (_, _) => None,
        }
    }
}

/// The meaning of a name that is valid as written. Half a surrogate pair means nothing that could be looked for.
fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    let mut high = None;
    while let Some((first, behind)) = rest.split_first() {
        if *first != b'\\' {
            out.push(*first);
            (rest, high) = (behind, None);
            continue;
        }
        let Some((kind, behind)) = behind.split_first() else { break };
        rest = behind;
        let unit = match kind {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => 0x0a,
            b'r' => 0x0d,
            b't' => 0x09,
            b'u' => {
                let digits = rest.get(..4).and_then(|digits| std::str::from_utf8(digits).ok());
                rest = rest.get(4..).unwrap_or_default();
                digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0xfffd)
            }
            other => u32::from(*other),
        };
        let code = match (high.take(), unit) {
            (None, 0xd800..=0xdbff) => {
                high = Some(unit);
                continue;
            }
            (Some(high), 0xdc00..=0xdfff) => 0x1_0000 + ((high - 0xd800) << 10) + (unit - 0xdc00),
            (_, unit) => unit,
        };
        let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::random::Random;

    /// Redacts `text` in pieces of every size; all must agree.
    fn redact(pointers: &[&str], text: &[u8]) -> Result<String, NotJson> {
        let given: Vec<String> = pointers.iter().map(|p| (*p).to_owned()).collect();
        let pointers = Pointers::new(&given);
        let in_pieces = |size: usize| {
            let (mut search, mut out) = (Search::new(&pointers), Vec::new());
            text.chunks(size).try_for_each(|piece| search.feed(piece, &mut out))?;
            search.end()?;
            Ok(String::from_utf8(out).expect("what came as UTF-8 goes as UTF-8"))
        };
        let whole = in_pieces(text.len().max(1));
        for size in 1..text.len().min(64) {
            assert_eq!(in_pieces(size), whole, "{} in pieces of {size}", String::from_utf8_lossy(text));
        }
        whole
    }

    #[test]
    fn values_are_taken_where_pointers_lead_and_all_else_stays() {
        let rows: [(&[&str], &str, &str); 22] = [
            (&["/a"], r#"{"a":"S","b":"a"}"#, r#"{"a":R,"b":"a"}"#),
            (&["/a"], r#" { "b" : 1e-2 , "a" : "S" } "#, r#" { "b" : 1e-2 , "a" : R } "#),
            (&["/a"], r#"{"a":{"b":["S",{"a":"S"}]},"c":[]}"#, r#"{"a":R,"c":[]}"#),
            (&["/a"], r#"{"a":["S"]}"#, r#"{"a":R}"#),
            (&["/a"], r#"{"a":-12.5e+3,"b":0}"#, r#"{"a":R,"b":0}"#),
            (&["/a"], r#"{"a":true,"a":null,"A":1}"#, r#"{"a":R,"a":R,"A":R}"#),
            (&["/a"], r#"{"b":{"a":"kept"}}"#, r#"{"b":{"a":"kept"}}"#),
            (&["/a/b"], r#"{"a":{"b":"S","c":1},"b":2}"#, r#"{"a":{"b":R,"c":1},"b":2}"#),
            (&["/a/b"], r#"{"a":"kept","b":"kept"}"#, r#"{"a":"kept","b":"kept"}"#),
            (&["/1"], r#"["kept","S",["kept","kept"]]"#, r#"["kept",R,["kept","kept"]]"#),
            (&["/01"], r#"["kept","kept"]"#, r#"["kept","kept"]"#),
            (&["/*/a"], r#"[{"a":"S"},{"b":1,"a":"S"}]"#, r#"[{"a":R},{"b":1,"a":R}]"#),
            (&["/*/*"], r#"{"x":["S","S"],"y":{"z":"S"}}"#, r#"{"x":[R,R],"y":{"z":R}}"#),
            (&["/*"], r#"[1,2]"#, r#"[R,R]"#),
            (&[""], r#" {"a":1} "#, " R "),
            (&[""], "12", "R"),
            (&["/a", "/*/b"], r#"{"a":{"b":"S"},"c":{"b":"S"}}"#, r#"{"a":R,"c":{"b":R}}"#),
            (&["/a~1b", "/~0"], r#"{"a/b":"S","~":"S","a":1}"#, r#"{"a/b":R,"~":R,"a":1}"#),
            (
                &["/pass"],
                r#"{"p\u0061ss":"S","\u0070\u0061\u0073\u0073":"S"}"#,
                "{\"p\\u0061ss\":R,\"\\u0070\\u0061\\u0073\\u0073\":R}",
            ),
            (
                &["/😀"],
                r#"{"\ud83d\ude00":"S","😀":"S","\ud83d":1}"#,
                "{\"\\ud83d\\ude00\":R,\"😀\":R,\"\\ud83d\":1}",
            ),
            (&["/a"], r#"{"b":"\"a\":\\","a":"S\"S\\"}"#, r#"{"b":"\"a\":\\","a":R}"#),
            (&["/"], r#"{"":"S","b":"ä€"}"#, r#"{"":R,"b":"ä€"}"#),
        ];
        for (pointers, text, expect) in rows {
            let expect = expect.replace('R', "\"[redacted]\"");
            assert_eq!(redact(pointers, text.as_bytes()), Ok(expect), "{pointers:?} in {text}");
        }
    }

    #[test]
    fn what_is_not_one_json_value_is_refused() {
        let rows: [&[u8]; 40] = [
            b"",
            b" ",
            b"{",
            b"}",
            b"[",
            b"]",
            b"[1,]",
            b"[,1]",
            b"[1 2]",
            b"{\"a\"}",
            b"{\"a\":}",
            b"{\"a\":1,}",
            b"{a:1}",
            b"{'a':1}",
            b"[1}",
            b"{\"a\":1]",
            b"1 2",
            b"{} {}",
            b"{}\n{}",
            b"01",
            b"-",
            b"1.",
            b".5",
            b"+1",
            b"1e",
            b"1e+",
            b"0x1",
            b"NaN",
            b"tru",
            b"truE",
            b"\"a",
            b"\"\\x\"",
            b"\"\\u12g4\"",
            b"\"\n\"",
            b"//c\n1",
            b"\xef\xbb\xbf{}",
            b"\"\xff\"",
            b"\"\xc0\xa2\"",
            b"\"\xed\xa0\x80\"",
            b"a=1&b=2",
        ];
        for text in rows {
            assert_eq!(redact(&["/a"], text), Err(NotJson), "{}", String::from_utf8_lossy(text));
        }
        let wide: Vec<u8> = "{\"a\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(redact(&["/a"], &wide), Err(NotJson));
    }

    #[test]
    fn depth_is_bounded_and_a_long_name_is_not_held() {
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert!(redact(&["/a"], nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(redact(&["/a"], nested(JSON_DEPTH_MAX + 1).as_bytes()), Err(NotJson));
        let pointers = Pointers::new(&["/ab".to_owned(), "/*/c".to_owned()]);
        let mut search = Search::new(&pointers);
        let mut out = Vec::new();
        let text = format!("{{\"{}\":{{\"c\":\"S\"}}}}", "n".repeat(100_000));
        search.feed(text.as_bytes(), &mut out).unwrap();
        assert!(search.name.capacity() <= 64, "{}", search.name.capacity());
        search.end().unwrap();
        assert!(out.ends_with(b"{\"c\":\"[redacted]\"}}"));
    }

    /// A value that the draws make, no deeper than `depth`.
    fn any_value(random: &Random, depth: u64) -> Value {
        let some = |n| 0..random.below(n);
        match random.below(if depth == 0 { 4 } else { 6 }) {
            0 => Value::Null,
            1 => Value::from(random.below(1000) as f64 / 8.0 - 60.0),
            2 => Value::from("\u{1F600}\"\\ \n a"),
            3 => Value::from(random.below(2) == 0),
            4 => some(4).map(|_| any_value(random, depth - 1)).collect(),
            _ => some(4).map(|_| (any_name(random), any_value(random, depth - 1))).collect(),
        }
    }

    fn any_name(random: &Random) -> String {
        ["a", "b", "0", "1", "\u{e9}\""][random.below(5) as usize].to_owned()
    }

    /// Takes the value that a pointer's tokens lead to out of a value in memory.
    fn take_away(value: &mut Value, tokens: &[&str]) {
        let Some((token, rest)) = tokens.split_first() else {
            *value = REDACTED.into();
            return;
        };
        let goes = |name: &str| *token == "*" || *token == name;
        match value {
            Value::Object(members) => {
                members.iter_mut().filter(|(name, _)| goes(name)).for_each(|(_, v)| take_away(v, rest));
            }
            Value::Array(elements) => {
                let numbered = elements.iter_mut().enumerate();
                numbered.filter(|(n, _)| goes(&n.to_string())).for_each(|(_, v)| take_away(v, rest));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn any_value_loses_what_another_reader_would_take_from_it() {
        let random = Random::new(11);
        for _ in 0..3000 {
            let mut value = any_value(&random, 4);
            let text = if random.below(2) == 0 { value.to_string() } else { format!("{value:#}") };
            let name = |_| if random.below(3) == 0 { "*".to_owned() } else { any_name(&random) };
            let pointers: Vec<Vec<String>> =
                (0..1 + random.below(3)).map(|_| (0..1 + random.below(3)).map(name).collect()).collect();
            let written: Vec<String> =
                pointers.iter().map(|tokens| format!("/{}", tokens.join("/"))).collect();
            let written: Vec<&str> = written.iter().map(String::as_str).collect();
            let redacted = redact(&written, text.as_bytes()).expect("it is JSON");
            for tokens in &pointers {
                let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
                take_away(&mut value, &tokens);
                if let Value::Array(batch) = &mut value
                    && tokens[0] != "*"
                    && tokens[0].parse::<u64>().is_err()
                {
                    batch.iter_mut().for_each(|value| take_away(value, &tokens));
                }
            }
            assert_eq!(redacted.parse::<Value>().unwrap(), value, "{written:?} in {text}");
        }
    }

    #[test]
    fn what_another_strict_reader_refuses_is_refused_and_what_it_takes_is_taken() {
        const SIGNS: &[u8] = b"{}[],:\"\\0123-.eEtruefalsn u\x00\x1f\x80\xc3\xff";
        let random = Random::new(13);
        for _ in 0..20_000 {
            let mut text = any_value(&random, 3).to_string().into_bytes();
            for _ in 0..1 + random.below(2) {
                let at = random.below(text.len() as u64) as usize;
                let new = SIGNS[random.below(SIGNS.len() as u64) as usize];
                match random.below(3) {
                    0 => text[at] = new,
                    1 => text.insert(at, new),
                    _ => drop(text.remove(at)),
                }
                text.push(b' ');
            }
            let (ours, theirs) = (redact(&["/a"], &text), serde_json::from_slice::<Value>(&text));
            if theirs.as_ref().is_err_and(|error| error.to_string().contains("out of range")) {
                // They stopped there; grammar is all we look at.
                continue;
            }
            let shown = String::from_utf8_lossy(&text);
            assert_eq!(ours.is_ok(), theirs.is_ok(), "{shown}: {theirs:?}");
        }
    }
}
