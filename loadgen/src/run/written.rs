//! Requests as people write them: URLs, and lines of files with weights. One with variables becomes as many prepared ones as are
//! asked for, so that sending costs no more than without.

use std::path::Path;

use anyhow::{Context, ensure};
use bytes::Bytes;

use super::request::{Mix, Shape, Url, sized_body};
use super::variables::{self, Values, Varied};
use crate::{file, units};

/// Requests that are made of one with variables, where nothing is said of how many.
pub const VARIANTS: u64 = 1000;

/// The content of a request.
#[derive(Clone)]
enum Content {
    Bytes(Bytes),
    /// May have variables.
    Text(String),
}

impl Content {
    fn of(shape: &Shape) -> Self {
        shape.text.as_ref().map_or_else(|| Self::Bytes(shape.body.clone()), |text| Self::Text(text.clone()))
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Text(text) => text.is_empty(),
        }
    }

    fn is_varied(&self) -> bool {
        match self {
            Self::Bytes(_) => false,
            Self::Text(text) => variables::is_varied(text),
        }
    }
}

impl Mix {
    pub fn add_url(&mut self, shape: &Shape, url: &Url) -> anyhow::Result<()> {
        let content = Content::of(shape);
        let has_content = !content.is_empty() || shape.grpc_messages.is_some();
        let method = shape.method.as_deref().unwrap_or(if has_content { "POST" } else { "GET" });
        self.add_written(shape, method, url, &content, 1.0)
    }

    /// Lines of `[WEIGHT] [METHOD] URL [@BODYFILE|size=4k|body=TEXT]`; `#` starts a comment, but in a TEXT, which goes to the
    /// line's end.
    pub fn add_file(&mut self, shape: &Shape, path: &Path) -> anyhow::Result<()> {
        let text = file::read_text(path).with_context(|| format!("cannot read {}", path.display()))?;
        for (number, line) in text.lines().enumerate() {
            self.add_line(shape, line).with_context(|| format!("{}:{}", path.display(), number + 1))?;
        }
        Ok(())
    }

    fn add_line(&mut self, shape: &Shape, line: &str) -> anyhow::Result<()> {
        let (words, text) = match line.split_once(" body=") {
            Some((words, text)) if !words.contains('#') => (words, Some(text)),
            _ => (line.split('#').next().unwrap_or_default(), None),
        };
        if words.trim().is_empty() {
            return Ok(());
        }
        let (mut weight, mut method, mut url) = (1.0, shape.method.clone(), None);
        let mut content = text.map_or_else(|| Content::of(shape), |text| Content::Text(text.to_owned()));
        for word in words.split_whitespace() {
            if let Some(path) = word.strip_prefix('@') {
                let read = file::read(Path::new(path)).with_context(|| format!("cannot read {path}"))?;
                content = Content::Bytes(read.into());
            } else if let Some(size) = word.strip_prefix("size=") {
                content = Content::Bytes(sized_body(units::size(size).map_err(anyhow::Error::msg)?));
            } else if word.starts_with("http://") || word.starts_with("https://") {
                url = Some(word.parse::<Url>().map_err(anyhow::Error::msg)?);
            } else if let Ok(number) = word.parse::<f64>() {
                weight = number;
            } else {
                method = Some(word.to_string());
            }
        }
        let url = url.context("no http:// or https:// URL in this line")?;
        ensure!(weight > 0.0 && weight.is_finite(), "a weight is above zero");
        let method = method.unwrap_or_else(|| if content.is_empty() { "GET" } else { "POST" }.to_string());
        self.add_written(shape, &method, &url, &content, weight)
    }

    fn add_written(
        &mut self,
        shape: &Shape,
        method: &str,
        url: &Url,
        content: &Content,
        weight: f64,
    ) -> anyhow::Result<()> {
        let written = url.to_string();
        let is_varied = variables::is_varied(&written)
            || content.is_varied()
            || shape.headers.iter().any(|(_, value)| variables::is_varied(value));
        ensure!(!is_varied || !shape.websocket, "messages of a WebSocket have no variables");
        let kind = self.kind(&format!("{method} {written}"));
        if !is_varied {
            let bytes = match content {
                Content::Bytes(bytes) => &bytes[..],
                Content::Text(text) => text.as_bytes(),
            };
            return self.add(shape, method, url, bytes, (weight, kind)).map(drop);
        }
        let variants = Variants::of(shape, &written, content).map_err(anyhow::Error::msg)?;
        let mut random = fastrand::Rng::with_seed(shape.seed ^ u64::from(kind));
        let count = shape.variants.max(1);
        for number in 0..count {
            let (url, headers, body) =
                variants.one(&mut Values::new(&mut random, number)).map_err(anyhow::Error::msg)?;
            let shape = Shape { headers, ..shape.clone() };
            let url: Url = url.parse().map_err(anyhow::Error::msg)?;
            self.add(&shape, method, &url, &body, (weight / count as f64, kind))?;
        }
        Ok(())
    }
}

/// A request with variables.
struct Variants {
    url: Varied,
    headers: Vec<(String, Varied)>,
    content: Result<Varied, Bytes>,
}

type One = (String, Vec<(String, String)>, Bytes);

impl Variants {
    fn of(shape: &Shape, url: &str, content: &Content) -> Result<Self, String> {
        let headers = shape.headers.iter().map(|(name, value)| Ok((name.clone(), value.parse()?)));
        Ok(Self {
            url: url.parse()?,
            headers: headers.collect::<Result<_, String>>()?,
            content: match content {
                Content::Bytes(bytes) => Err(bytes.clone()),
                Content::Text(text) => Ok(text.parse()?),
            },
        })
    }

    fn one(&self, values: &mut Values<'_>) -> Result<One, String> {
        let url = values.fill(&self.url)?;
        let mut headers = Vec::with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            headers.push((name.clone(), values.fill(value)?));
        }
        let content = match &self.content {
            Ok(text) => values.fill(text)?.into(),
            Err(bytes) => bytes.clone(),
        };
        Ok((url, headers, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(shape: &Shape, lines: &[&str]) -> anyhow::Result<Mix> {
        let mut mix = Mix::default();
        lines.iter().try_for_each(|line| mix.add_line(shape, line))?;
        Ok(mix)
    }

    #[test]
    fn weighted_lines_say_weight_method_url_and_body() {
        let shape = Shape { keep_alive: true, ..Default::default() };
        let lines = [
            "# what follows",
            "http://127.0.0.1:1/a  # a comment",
            "3 http://127.0.0.1:1/b",
            "0.5 PUT http://127.0.0.2:1/c size=10",
            "http://127.0.0.1:1/d body={\"a\": \"#1\"}",
        ];
        let mix = mix(&shape, &lines).expect("all of them are requests");
        assert_eq!(mix.templates.iter().map(|t| t.weight).collect::<Vec<_>>(), [1.0, 3.0, 0.5, 1.0]);
        assert!(mix.templates[2].bytes.starts_with(b"PUT /c HTTP/1.1\r\n"));
        let last = &mix.templates[3].bytes;
        assert!(last.starts_with(b"POST /d ") && last.ends_with(b"\r\n\r\n{\"a\": \"#1\"}"), "{last:?}");
        assert_eq!(mix.targets.len(), 2);
        let kinds = ["GET http://127.0.0.1:1/a", "GET http://127.0.0.1:1/b"];
        assert_eq!(mix.kinds[..2], kinds.map(str::to_owned));
        assert!(Mix::default().add_line(&shape, "3 /b").is_err());
    }

    #[test]
    fn one_with_variables_is_many_that_weigh_as_one_and_are_told_as_one() {
        let headers = vec![("X-User".to_owned(), "u{{id}}".to_owned())];
        let shape = Shape { headers, keep_alive: true, variants: 50, seed: 3, ..Default::default() };
        let line = "2 http://127.0.0.1:1/users/{{id=1..9}} body={\"id\": {{id}}, \"n\": {{n}}}";
        let mix = mix(&shape, &[line]).expect("a request");
        assert_eq!((mix.templates.len(), mix.kinds.len(), mix.targets.len()), (50, 1, 1));
        let weight: f64 = mix.templates.iter().map(|template| template.weight).sum();
        assert!((weight - 2.0).abs() < 1e-9, "{weight}");
        let mut seen = std::collections::BTreeSet::new();
        for (n, template) in mix.templates.iter().enumerate() {
            let text = String::from_utf8_lossy(&template.bytes).into_owned();
            let id = text["POST /users/".len()..].split(' ').next().expect("an id").to_owned();
            assert!(text.contains(&format!("\r\nX-User: u{id}\r\n")), "{text}");
            assert!(text.ends_with(&format!("\r\n\r\n{{\"id\": {id}, \"n\": {n}}}")), "{text}");
            seen.insert(id);
        }
        assert!(seen.len() > 3, "{seen:?}");
        assert!(self::mix(&shape, &["http://127.0.0.1:1/{{who}}"]).is_err());
    }

    #[test]
    fn however_many_there_are_figures_are_told_by_a_few() {
        let lines: Vec<String> = (0..100).map(|n| format!("http://127.0.0.1:1/{n}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mix = mix(&Shape::default(), &lines).expect("requests");
        assert_eq!((mix.kinds.len(), mix.kinds[63].as_str()), (64, "(others)"));
        assert_eq!((mix.templates[0].kind, mix.templates[63].kind, mix.templates[99].kind), (0, 63, 63));
    }
}
