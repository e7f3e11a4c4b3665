//! A kept request, so that a person can make it again: without its secrets, with a list of its missing parts. Also the
//! comparison of two fresh answers to it. Pure.

use config::Config;

use super::differ::{self, Context, Difference};
use super::pair::Pair;
use super::rules::Rules;
use crate::asked::Scheme;
use crate::http1::edit::{field_name, lines};
use crate::mirror::proof::{PROOF, Proof};
use crate::mirror::redact::REDACTED;
use crate::observe::disclosure::{self, Disclosed};
use crate::observe::record::{Answer, Request};

/// Fields that belong to a connection, to a message's frame, to a trace that is over, or to the copy.
const NOT_AGAIN: [&str; 13] = [
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "traceparent",
    "tracestate",
    "via",
];

/// The prefix of the gateway's own fields: the marks of a copy, and the facts on the primary's answer.
const OURS: &str = "x-umbra-";

/// `[redacted]` within a URI.
const REDACTED_IN_URI: &str = "%5Bredacted%5D";

/// Upstream and target of the request to one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Name of its upstream.
    pub upstream: String,
    pub authority: String,
    /// Path and query.
    pub target: String,
}

/// A request that can be made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    pub method: String,
    pub is_secure: bool,
    pub primary: Ask,
    pub mirror: Ask,
    pub fields: Vec<(String, String)>,
    /// `None` where it was not kept whole, or is no text.
    pub content: Option<String>,
    /// The missing parts, in words.
    pub left_out: Vec<String>,
}

impl Again {
    /// `None` where the request was not kept.
    pub(super) fn of(rules: &Rules, pair: &Pair<'_>) -> Option<Self> {
        let Pair { record, copy, .. } = pair;
        let Request { head, content, is_cut } = copy.request.as_ref()?;
        let Disclosed { authority, target, .. } = disclosure::disclosed(record, rules.secrets.as_deref());
        let upstream = |id: usize| record.config.upstreams.get(id).map(|upstream| upstream.name.clone());
        let lane = record.config.lanes.get(record.mirror(copy)?.lane)?;
        let primary = record.primary.as_ref().and_then(|leg| record.upstream(leg))?.name.clone();
        let line = lines(head).next()?;
        let sent = String::from_utf8_lossy(line).split(' ').nth(1)?.to_owned();
        let shown = rules.shown_fields(head.get(line.len()..)?);
        let mut left_out = Vec::new();
        let mut fields = Vec::new();
        let (mut host, mut is_chunked) = (String::new(), false);
        for line in lines(&shown) {
            let name = field_name(line);
            let value = line.get(name.len() + 1..).unwrap_or_default().trim_ascii();
            let [name, value] = [name, value].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            let known = name.to_ascii_lowercase();
            match known.as_str() {
                "host" => host = value,
                "transfer-encoding" => is_chunked = true,
                _ if NOT_AGAIN.contains(&known.as_str()) || known.starts_with(OURS) => {}
                _ if value.contains(REDACTED) || value.contains(REDACTED_IN_URI) => left_out.push(known),
                _ if !is_plain(&value) => left_out.push(format!("{known} (not text)")),
                _ => fields.push((name, value)),
            }
        }
        let mut open = |target: &str| {
            let (target, without) = without_redacted(target);
            left_out.extend(without.into_iter().map(|name| format!("parameter {name}")));
            target
        };
        let [of_primary, of_mirror] = [open(&target), open(&rules.shown_uri(&sent))];
        let text = (!is_cut && !is_chunked).then(|| std::str::from_utf8(content).ok()).flatten();
        let text = text.filter(|text| is_plain(text));
        let content = text.map(|text| rules.shown_content(text.as_bytes(), false));
        match &content {
            None => left_out.push("content (not text, or longer than is kept)".to_owned()),
            Some(content) if content.contains(REDACTED) => left_out.push("parts of the content".to_owned()),
            Some(_) => {}
        }
        left_out.sort_unstable();
        left_out.dedup();
        if ![of_primary.as_str(), &of_mirror].into_iter().all(is_plain) {
            return None;
        }
        let authority = if authority.is_empty() || authority.contains(REDACTED) {
            host.clone()
        } else {
            authority.into_owned()
        };
        Some(Self {
            method: record.method.to_string(),
            is_secure: record.scheme == Scheme::Https,
            primary: Ask { upstream: primary, authority, target: of_primary },
            mirror: Ask { upstream: upstream(lane.upstream)?, authority: host, target: of_mirror },
            fields,
            content,
            left_out,
        })
    }

    /// Asking for it changes nothing (RFC 9110 §9.2.1), and it has no content that could.
    pub fn is_safe(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD") && self.content.as_deref() == Some("")
    }

    /// Fields that tell gateways like this one that it is no client's: it is not copied.
    pub fn marks() -> Vec<(&'static str, String)> {
        let proof = Proof::of_process().ok().map(|proof| (PROOF, proof.text()));
        [("X-Umbra-Mirror", "again".to_owned())].into_iter().chain(proof).collect()
    }

    pub(super) fn bytes(&self) -> usize {
        let ask = |of: &Ask| of.upstream.len() + of.authority.len() + of.target.len();
        let fields = self.fields.iter().map(|(name, value)| name.len() + value.len());
        let left_out = self.left_out.iter().map(|text| text.len() + size_of::<String>());
        let text = self.method.len() + self.content.as_ref().map_or(0, String::len);
        let own = size_of_val(self.fields.as_slice()) + fields.sum::<usize>() + left_out.sum::<usize>();
        own + text + ask(&self.primary) + ask(&self.mirror)
    }
}

/// Whether no character acts on a terminal: a client could otherwise end a bracketed paste, and type in the operator's shell.
fn is_plain(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
}

/// A target without the parameters whose values are redacted, and their names.
fn without_redacted(target: &str) -> (String, Vec<String>) {
    let Some((path, query)) = target.split_once('?') else { return (target.to_owned(), Vec::new()) };
    let is_redacted = |part: &&str| part.contains(REDACTED) || part.contains(REDACTED_IN_URI);
    let (out, kept): (Vec<&str>, Vec<&str>) = query.split('&').partition(is_redacted);
    let names = out.iter().map(|part| part.split('=').next().unwrap_or_default().to_owned()).collect();
    let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    (format!("{path}{query}"), names)
}

/// Where two answers to one request differ, by the rules of that mirror on that route; `None` where it compares none.
pub fn compared(
    config: &Config,
    (route, mirror): (&str, &str),
    primary: &Answer,
    answer: &Answer,
) -> Option<Vec<Difference>> {
    let route = config.routes.iter().find(|of| of.name == route)?;
    let mirror = route.mirrors.iter().find(|of| of.name == mirror)?;
    let secrets = disclosure::secrets(config, [route]).map(std::sync::Arc::new);
    let rules = Rules::new(mirror.compare.as_ref()?, secrets.as_ref(), None);
    Some(differ::compare(&rules, &Context::default(), primary, answer).differences)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::{answer, config, record};
    use super::*;

    /// Of a request with this head and content, on a route with those keys.
    fn again(keys: &str, target: &str, head: &str, content: &str) -> Again {
        let config = config(&["a"], &format!("compare = {{}}, {keys}"));
        let mut record = record(&config, 0, "1", answer("1"), answer("2"));
        record.said =
            disclosure::Saying { authority: "shop:80", target, ..disclosure::Saying::default() }.into();
        let head = format!("{head}\r\n");
        let content = content.as_bytes().into();
        record.copies[0].request = Some(Request { head: head.as_bytes().into(), content, is_cut: false });
        let route = &config.routes[0];
        let secrets = disclosure::secrets(&config, [route]).map(Arc::new);
        let rules = Rules::new(route.mirrors[0].compare.as_ref().unwrap(), secrets.as_ref(), None);
        let both = [&record.primary.as_ref().unwrap().answer, &record.copies[0].answer];
        let [primary, mirror] = both.map(|answer| answer.as_ref().unwrap());
        Again::of(&rules, &Pair { record: &record, copy: &record.copies[0], primary, mirror }).unwrap()
    }

    #[test]
    fn a_request_is_made_again_as_it_was_without_what_belongs_to_its_copy() {
        let head = "GET /v2/x?a=1 HTTP/1.1\r\nHost: shop-shadow\r\nAccept: */*\r\nX-Umbra-Mirror: v2\r\n\
                    Traceparent: 00-1\r\nVia: 1.1 umbra";
        let again = again("", "/x?a=1", head, "");
        let ask = |upstream: &str, authority: &str, target: &str| Ask {
            upstream: upstream.into(),
            authority: authority.into(),
            target: target.into(),
        };
        assert_eq!(again.primary, ask("v1", "shop:80", "/x?a=1"));
        assert_eq!(again.mirror, ask("v2", "shop-shadow", "/v2/x?a=1"));
        assert_eq!(again.fields, [("Accept".to_owned(), "*/*".to_owned())]);
        assert!(again.is_safe() && again.left_out.is_empty(), "{again:?}");
    }

    #[test]
    fn what_is_redacted_is_not_there_and_said() {
        let keys = "redact = { headers = [\"authorization\"], cookies = [\"sid\"], query = [\"token\"], json = [\"/card\"] }";
        let head =
            "POST /x?token=S1&a=1 HTTP/1.1\r\nHost: a\r\nAuthorization: S2\r\nCookie: sid=S3; b=1\r\nA: 1";
        let again = again(keys, "/x?token=S1&a=1", head, "{\"card\":\"S4\",\"n\":1}");
        let told = format!("{again:?}");
        assert!(!(1..=4).any(|n| told.contains(&format!("S{n}"))), "{told}");
        assert_eq!(again.left_out, ["authorization", "cookie", "parameter token", "parts of the content"]);
        assert_eq!((again.primary.target.as_str(), again.mirror.target.as_str()), ("/x?a=1", "/x?a=1"));
        assert!(!again.is_safe());
    }

    #[test]
    fn content_that_cannot_be_shown_is_left_out() {
        let chunked =
            again("", "/", "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", "1\r\na\r\n0\r\n\r\n");
        assert_eq!((chunked.content.as_deref(), chunked.is_safe()), (None, false));
        assert_eq!(chunked.left_out.len(), 1);
    }

    #[test]
    fn what_would_act_on_a_terminal_is_no_part_of_a_command() {
        // The end of a bracketed paste, in both encodings that terminals know.
        for odd in ["\u{1b}[201~\n", "\0", "\u{9b}201~"] {
            let head = "POST / HTTP/1.1\r\nHost: a\r\nX-A: b\u{9b}c\r\nAccept: */*".to_owned();
            let again = again("", "/", &head, &format!("a=1{odd}rm x\n"));
            assert_eq!(again.content, None, "{odd:?}");
            assert_eq!(again.fields, [("Accept".to_owned(), "*/*".to_owned())]);
            assert_eq!(again.left_out.len(), 2);
        }
        let again = again("", "/", "POST / HTTP/1.1\r\nHost: a", "a\tb\r\nc");
        assert_eq!(again.content.as_deref(), Some("a\tb\r\nc"));
    }

    #[test]
    fn two_fresh_answers_are_compared_by_the_mirrors_own_rules() {
        let config = config(&["a"], "compare = { ignore_json = [\"/at\"] }");
        let of = |mirror: &str, content: &str| {
            let found = compared(&config, ("a", mirror), &answer("{\"a\":1,\"at\":1}"), &answer(content))?;
            Some(found.into_iter().map(|of| of.field).collect::<Vec<_>>())
        };
        assert_eq!(of("v2", "{\"a\":2,\"at\":2}"), Some(vec!["$.a".to_owned()]));
        assert_eq!(of("v2", "{\"a\":1,\"at\":2}"), Some(Vec::new()));
        assert_eq!(of("gone", "{}"), None);
    }
}
