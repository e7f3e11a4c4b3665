//! Hostile texts: the reader reports their faults and never panics.

use super::*;

/// A fixed sequence of numbers that look random (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound.max(1)
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..(start + self.below(40)).min(length)
    }
}

const SCRAPS: [&str; 32] = [
    "\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "#",
    "\n",
    "\r",
    "\0",
    "é",
    "\u{feff}",
    "-1",
    "0",
    "nan",
    "1e400",
    "99999999999999999999",
    "true",
    "1979-05-27T07:32:00Z",
    "\"\"",
    "[]",
    "{}",
    "[[[[[[[[[[",
    "a.b.c",
    "route",
    "\"v1\"",
];

/// Reading any text neither panics nor is silent about a fault.
fn survives(text: &str) {
    match parse("t.toml", text) {
        Ok(Checked { config, .. }) => {
            assert!(config.workers.count > 0 && !config.listeners.is_empty() && !config.routes.is_empty());
            for upstream in &config.upstreams {
                assert!(!upstream.endpoints.is_empty(), "{text}");
            }
            for route in &config.routes {
                assert!(route.upstreams().all(|id| id < config.upstreams.len()), "{text}");
                for mirror in &route.mirrors {
                    let lane = &config.lanes[mirror.lane];
                    let to = match lane.capture {
                        Some(id) => &config.captures[id].name,
                        None => &config.upstreams[lane.upstream].name,
                    };
                    assert_eq!(lane.name, *to, "{text}");
                    assert!(mirror.body_bytes_max <= lane.ring_bytes_max, "{text}");
                }
            }
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a word:\n{text}");
            let lines = text.matches('\n').count() + 1;
            for problem in &problems {
                assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem}:\n{text}");
                assert!(!problem.message.contains('\n'), "{problem}:\n{text}");
            }
        }
    }
}

#[test]
fn no_text_makes_the_reader_panic() {
    let files: Vec<&str> = EXAMPLES.iter().map(|(_, text)| *text).chain([GATEWAY, AS_DESCRIBED]).collect();
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    for _ in 0..6_000 {
        let mut bytes = dice.one(&files).as_bytes().to_vec();
        for _ in 0..=dice.below(4) {
            let range = dice.range(bytes.len());
            let piece: Vec<u8> = match dice.below(5) {
                0 => Vec::new(),
                1 => dice.one(&SCRAPS).into(),
                2 => bytes[range.clone()].repeat(2),
                3 => {
                    let other = dice.one(&files).as_bytes();
                    other[dice.range(other.len())].to_vec()
                }
                _ => vec![dice.below(256) as u8],
            };
            bytes.splice(range, piece);
        }
        survives(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn no_value_in_the_place_of_another_makes_the_checks_panic() {
    let mut dice = Dice(0xD1B5_4A32_D192_ED03);
    for (_, file) in EXAMPLES.iter().chain([("", GATEWAY), ("", AS_DESCRIBED)].iter()) {
        for _ in 0..300 {
            let text: String = file
                .split_inclusive('\n')
                .map(|line| match line.split_once(" = ") {
                    Some((key, _)) if !key.starts_with('#') && dice.below(6) == 0 => {
                        format!("{key} = {}\n", dice.one(&SCRAPS))
                    }
                    Some(_) | None => line.to_owned(),
                })
                .collect();
            survives(&text);
        }
    }
}

#[test]
fn deep_nesting_is_refused_not_followed() {
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        let deep = format!("route = {}{}", open.repeat(100_000), close.repeat(100_000));
        assert!(parse("t.toml", &deep).is_err());
    }
    let dotted = "a.".repeat(20_000);
    for text in [format!("{dotted}a = 1"), format!("[{dotted}a]\n"), format!("[[{dotted}a]]\n")] {
        assert!(parse("t.toml", &text).is_err());
    }
}

#[test]
fn a_problem_repeats_no_value_that_may_be_a_secret() {
    let texts = [
        "[admin]\nbind = \"127.0.0.1:0\"\ntoken = 12345678\n".to_owned(),
        routing("request_headers.set = { authorization = \"Bearer 12345678\\n\" }"),
        routing("request_headers.set = { authorization = 12345678 }"),
        routing("response_headers.add = { x-key = 12345678 }"),
    ];
    for text in texts {
        let problems = parse("t.toml", &text).expect_err(&text);
        let said: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
        assert!(!said.contains("12345678"), "{said}");
        assert!(said.contains("token") || said.contains("headers"), "{said}");
    }
}
