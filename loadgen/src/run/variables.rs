//! Variables in a request as it is written: `{{1..100}}`, `{{a|b|c}}`, `{{hex:8}}`, `{{uuid}}`, `{{n}}`; behind `{{name=…}}`,
//! `{{name}}` repeats its value. Pure, but for chance.

use std::collections::HashMap;

/// Digits of one `hex`.
const HEX_MAX: usize = 256;

/// True if a text has variables.
pub fn is_varied(text: &str) -> bool {
    text.contains("{{")
}

/// A text with places for values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Varied {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Fixed(String),
    Drawn { name: Option<String>, from: Source },
    Again(String),
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Range(u64, u64),
    OneOf(Vec<String>),
    Hex(usize),
    Uuid,
    Number,
}

/// The values of one request: a named value is the same in its URL, its fields and its content.
pub struct Values<'r> {
    random: &'r mut fastrand::Rng,
    /// How many requests were made before of the same text.
    number: u64,
    named: HashMap<String, String>,
}

impl<'r> Values<'r> {
    pub fn new(random: &'r mut fastrand::Rng, number: u64) -> Self {
        Self { random, number, named: HashMap::new() }
    }

    /// The text with values in their places.
    pub fn fill(&mut self, text: &Varied) -> Result<String, String> {
        let mut out = String::new();
        for part in &text.parts {
            match part {
                Part::Fixed(text) => out.push_str(text),
                Part::Again(name) => {
                    let value = self.named.get(name).ok_or_else(|| unknown(name))?;
                    out.push_str(value);
                }
                Part::Drawn { name, from } => {
                    let value = self.draw(from);
                    out.push_str(&value);
                    if let Some(name) = name {
                        self.named.insert(name.clone(), value);
                    }
                }
            }
        }
        Ok(out)
    }

    fn draw(&mut self, from: &Source) -> String {
        let mut hex = |digits: usize| -> String {
            (0..digits).map(|_| char::from_digit(self.random.u32(0..16), 16).unwrap_or('0')).collect()
        };
        match from {
            Source::Range(low, high) => self.random.u64(*low..=*high).to_string(),
            Source::OneOf(values) => self.random.choice(values).cloned().unwrap_or_default(),
            Source::Hex(digits) => hex(*digits),
            Source::Uuid => {
                // RFC 9562 §5.4: four digits are fixed in part.
                let (a, b, c, d, e) = (hex(8), hex(4), hex(3), hex(3), hex(12));
                format!("{a}-{b}-4{c}-8{d}-{e}")
            }
            Source::Number => self.number.to_string(),
        }
    }
}

impl std::str::FromStr for Varied {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once("{{") {
            let (inside, behind) = after
                .split_once("}}")
                .ok_or_else(|| format!("`{{{{{after}`: a variable ends with `}}}}`"))?;
            if !before.is_empty() {
                parts.push(Part::Fixed(before.to_owned()));
            }
            parts.push(part(inside)?);
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Fixed(rest.to_owned()));
        }
        Ok(Self { parts })
    }
}

/// The text between the braces.
fn part(inside: &str) -> Result<Part, String> {
    if let Some((name, from)) = inside.split_once('=') {
        if !is_name(name) {
            return Err(format!("`{name}` is no name of a variable"));
        }
        let from = source(from)?.ok_or_else(|| unknown(from))?;
        return Ok(Part::Drawn { name: Some(name.to_owned()), from });
    }
    match source(inside)? {
        Some(from) => Ok(Part::Drawn { name: None, from }),
        None if is_name(inside) => Ok(Part::Again(inside.to_owned())),
        None => Err(unknown(inside)),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Where a value comes from; `None` where this says nothing of that.
fn source(text: &str) -> Result<Option<Source>, String> {
    if text.contains('|') {
        return Ok(Some(Source::OneOf(text.split('|').map(str::to_owned).collect())));
    }
    if let Some((low, high)) = text.split_once("..") {
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is no number"));
        let (low, high) = (number(low)?, number(high)?);
        return if low <= high {
            Ok(Some(Source::Range(low, high)))
        } else {
            Err(format!("`{text}` is empty"))
        };
    }
    if let Some(digits) = text.strip_prefix("hex:") {
        let digits = digits.parse().ok().filter(|digits| (1..=HEX_MAX).contains(digits));
        return digits
            .map(|digits| Some(Source::Hex(digits)))
            .ok_or_else(|| format!("`{text}`: hex:1 to hex:{HEX_MAX}"));
    }
    Ok(match text {
        "uuid" => Some(Source::Uuid),
        "n" => Some(Source::Number),
        _ => None,
    })
}

fn unknown(what: &str) -> String {
    format!(
        "`{{{{{what}}}}}` is no variable: 1..100, a|b, hex:8, uuid, n, name=… or a name from further ahead"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(texts: &[&str], number: u64) -> Result<Vec<String>, String> {
        let mut random = fastrand::Rng::with_seed(7);
        let mut values = Values::new(&mut random, number);
        texts.iter().map(|text| values.fill(&text.parse()?)).collect()
    }

    #[test]
    fn a_value_with_a_name_is_the_same_wherever_it_is_said_again() {
        let said =
            filled(&["/users/{{id=1..9}}/x", "{\"id\":{{id}},\"b\":{\"n\":{{n}}}}"], 4).expect("filled");
        let id = said[0].trim_start_matches("/users/").trim_end_matches("/x").to_owned();
        assert!(id.parse::<u64>().is_ok_and(|id| (1..=9).contains(&id)), "{said:?}");
        assert_eq!(said[1], format!("{{\"id\":{id},\"b\":{{\"n\":4}}}}"));
    }

    #[test]
    fn values_are_of_the_kind_that_is_asked_for() {
        let said = filled(&["{{hex:12}}", "{{uuid}}", "{{red|green}}", "plain"], 0).expect("filled");
        assert!(said[0].len() == 12 && said[0].bytes().all(|b| b.is_ascii_hexdigit()), "{said:?}");
        let lengths: Vec<usize> = said[1].split('-').map(str::len).collect();
        assert_eq!((lengths, said[1].as_bytes()[14]), (vec![8, 4, 4, 4, 12], b'4'), "{said:?}");
        assert!(["red", "green"].contains(&said[2].as_str()) && said[3] == "plain", "{said:?}");
    }

    #[test]
    fn what_is_no_variable_is_named() {
        for (text, told) in [
            ("{{who}}", "`{{who}}` is no variable"),
            ("{{1..x}}", "`x` is no number"),
            ("{{9..1}}", "`9..1` is empty"),
            ("{{hex:0}}", "hex:1 to hex:256"),
            ("{{a b}}", "`{{a b}}` is no variable"),
            ("{{=1..2}}", "`` is no name"),
            ("{{n", "a variable ends with `}}`"),
        ] {
            let said = filled(&[text], 0).expect_err(text);
            assert!(said.contains(told), "{text}: {said}");
        }
    }
}
