//! CORS of a request (Fetch standard, "CORS protocol"): a preflight that is answered here, or fields for the answer. Pure.

use config::{HeaderEdits, OriginMatch, Unmatched};
use regex::bytes::Regex;

use super::Answer;
use crate::asked::RequestView;

/// The rules of one route, ready for its requests.
#[derive(Debug)]
pub(super) struct Cors {
    origins: Vec<OriginTest>,
    methods: Listed,
    headers: Listed,
    expose: Listed,
    /// Seconds.
    max_age: Option<String>,
    credentials: bool,
    unmatched: Unmatched,
    /// Every allowed origin is told the same.
    is_for_all: bool,
}

#[derive(Debug)]
enum OriginTest {
    Any,
    Exact(String),
    Prefix(String),
    Regex(Regex),
}

/// Names that a browser is told.
#[derive(Debug)]
enum Listed {
    Nothing,
    /// Every name. With credentials browsers take `*` for a name, so that the answer lists the names that were asked for.
    All,
    Names(String),
}

/// The treatment of a request.
#[derive(Debug)]
pub(super) enum Met {
    Preflight(Box<Answer>),
    /// The request is forwarded, and its response gets these fields.
    Fields(Option<Box<HeaderEdits>>),
}

impl Cors {
    pub(super) fn new(given: &config::Cors) -> Self {
        let origins: Vec<OriginTest> = given.origins.iter().map(OriginTest::new).collect();
        let is_for_all = !given.credentials && origins.iter().any(|origin| matches!(origin, OriginTest::Any));
        Self {
            origins,
            methods: Listed::new(&given.methods),
            headers: Listed::new(&given.headers),
            expose: Listed::new(&given.expose),
            max_age: given.max_age.map(|age| age.as_secs().to_string()),
            credentials: given.credentials,
            unmatched: given.unmatched,
            is_for_all,
        }
    }

    pub(super) fn meet(&self, asked: &RequestView<'_>) -> Met {
        let wants = asked.header("access-control-request-method");
        let origin = asked.header("origin");
        let is_preflight = asked.method == b"OPTIONS" && wants.is_some();
        let allowed = origin.filter(|origin| self.origins.iter().any(|test| test.holds(origin)));
        let Some(origin) = allowed else {
            let refuses = is_preflight && self.unmatched == Unmatched::Answer;
            return if refuses { preflight(self.vary()) } else { Met::Fields(self.vary().map(Box::new)) };
        };
        let mut fields = self.vary().unwrap_or_default();
        let mut set = |name: &str, value: String| fields.set.push((name.to_owned(), value));
        let told = if self.is_for_all { "*".to_owned() } else { text(&origin) };
        set("access-control-allow-origin", told);
        if self.credentials {
            set("access-control-allow-credentials", "true".to_owned());
        }
        // A browser needs it of the response alone; the Gateway API wants it of both.
        if let Some(names) = self.expose.told(self.credentials, None) {
            set("access-control-expose-headers", names);
        }
        if !is_preflight {
            return Met::Fields(Some(Box::new(fields)));
        }
        let fields_wanted = asked.header("access-control-request-headers");
        let answers = [
            ("access-control-allow-methods", self.methods.told(self.credentials, wants.as_deref())),
            ("access-control-allow-headers", self.headers.told(self.credentials, fields_wanted.as_deref())),
            ("access-control-max-age", self.max_age.clone()),
        ];
        for (name, value) in answers {
            if let Some(value) = value {
                set(name, value);
            }
        }
        preflight(Some(fields))
    }

    /// Vary, so that a cache does not give one origin the answer for another.
    fn vary(&self) -> Option<HeaderEdits> {
        let vary = || vec![("vary".to_owned(), "Origin".to_owned())];
        (!self.is_for_all).then(|| HeaderEdits { add: vary(), ..HeaderEdits::default() })
    }
}

fn preflight(fields: Option<HeaderEdits>) -> Met {
    let content_type = "text/plain; charset=utf-8".to_owned();
    let answer =
        Answer { status: 200, location: None, content_type, body: Vec::new(), edits: [None, fields] };
    Met::Preflight(Box::new(answer))
}

/// A field's value as an edit has it: invalid UTF-8 could be no name and no origin either.
fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

impl OriginTest {
    fn new(given: &OriginMatch) -> Self {
        match given {
            OriginMatch::Any => Self::Any,
            OriginMatch::Exact(text) => Self::Exact(text.clone()),
            OriginMatch::Prefix(text) => Self::Prefix(text.clone()),
            OriginMatch::Regex(pattern) => Self::Regex(pattern.regex()),
        }
    }

    fn holds(&self, origin: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => origin == text.as_bytes(),
            Self::Prefix(text) => origin.starts_with(text.as_bytes()),
            Self::Regex(regex) => regex.is_match(origin),
        }
    }
}

impl Listed {
    fn new(given: &[String]) -> Self {
        match given {
            [] => Self::Nothing,
            names if names.iter().any(|name| name == "*") => Self::All,
            names => Self::Names(names.join(", ")),
        }
    }

    fn told(&self, credentials: bool, wanted: Option<&[u8]>) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::All if credentials => wanted.map(text),
            Self::All => Some("*".to_owned()),
            Self::Names(names) => Some(names.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asked::tests::with_asked;

    fn cors(keys: &str) -> Cors {
        let text = format!("[[route]]\nreply = {{ status = 200 }}\ncors = {{ {keys} }}");
        let config = config::parse("test", &text).expect("the test's own text is sound").config;
        Cors::new(config.routes[0].cors.as_ref().unwrap())
    }

    /// Fields, in the order in which they are written; a preflight's behind its status.
    fn met(cors: &Cors, method: &str, fields: &[(&str, &str)]) -> String {
        let shown = |edits: &HeaderEdits| {
            let all = edits
                .set
                .iter()
                .chain(&edits.add)
                .map(|(name, value)| format!("{}: {value}", name.trim_start_matches("access-control-")));
            all.collect::<Vec<_>>().join("; ")
        };
        with_asked(method, "/", fields, |asked| match cors.meet(asked) {
            Met::Preflight(answer) => {
                format!("{} {}", answer.status, answer.edits[1].as_ref().map(shown).unwrap_or_default())
            }
            Met::Fields(fields) => fields.as_deref().map(shown).unwrap_or_default(),
        })
    }

    #[test]
    fn a_browser_is_told_what_the_rules_allow_and_nothing_else() {
        let one = r#"origins = ["https://a.example"], methods = ["GET", "PUT"], headers = ["x-a"], expose = ["x-id", "x-b"], max_age = "1h""#;
        let ask = |origin: &'static str| [("origin", origin), ("access-control-request-method", "PUT")];
        let a = "https://a.example";
        let rows = [
            (
                one,
                "GET",
                vec![("origin", a)],
                "allow-origin: https://a.example; expose-headers: x-id, x-b; vary: Origin",
            ),
            (one, "GET", vec![("origin", "https://b.example")], "vary: Origin"),
            (one, "GET", vec![], "vary: Origin"),
            (
                one,
                "OPTIONS",
                vec![("origin", a)],
                "allow-origin: https://a.example; expose-headers: x-id, x-b; vary: Origin",
            ),
            (
                one,
                "OPTIONS",
                ask(a).to_vec(),
                "200 allow-origin: https://a.example; expose-headers: x-id, x-b; allow-methods: GET, PUT; allow-headers: x-a; max-age: 3600; vary: Origin",
            ),
            // Other origins are left to the primary.
            (one, "OPTIONS", ask("https://b.example").to_vec(), "vary: Origin"),
            (
                r#"origins = ["https://a.example"], unmatched = "answer""#,
                "OPTIONS",
                ask("https://b.example").to_vec(),
                "200 vary: Origin",
            ),
            // For all, and with credentials for each by its name.
            (r#"origins = ["*"]"#, "GET", vec![("origin", a)], "allow-origin: *"),
            (
                r#"origins = ["*"], methods = ["*"], headers = ["*"]"#,
                "OPTIONS",
                ask(a).to_vec(),
                "200 allow-origin: *; allow-methods: *; allow-headers: *",
            ),
            (
                r#"origins = ["*"], methods = ["*"], headers = ["*"], expose = ["*"], credentials = true"#,
                "OPTIONS",
                [ask(a).as_slice(), &[("access-control-request-headers", "x-q,x-r")]].concat(),
                "200 allow-origin: https://a.example; allow-credentials: true; allow-methods: PUT; allow-headers: x-q,x-r; vary: Origin",
            ),
            (
                r#"origins = ["*"], expose = ["*"], credentials = true"#,
                "GET",
                vec![("origin", "null")],
                "allow-origin: null; allow-credentials: true; vary: Origin",
            ),
        ];
        for (keys, method, fields, expect) in rows {
            assert_eq!(met(&cors(keys), method, &fields), expect, "{keys} {method} {fields:?}");
        }
    }

    #[test]
    fn an_origin_is_met_by_its_name_its_beginning_its_end_or_a_pattern() {
        let rows = [
            (r#"origins = ["https://*.a.example"]"#, "https://x.y.a.example", true),
            (r#"origins = ["https://*.a.example"]"#, "https://a.example", false),
            (r#"origins = ["https://*.a.example"]"#, "https://x.a.example:8443", false),
            (r#"origins = ["https://*.a.example"]"#, "https://xa.example", false),
            (r#"origins = ["https://*.a.example"]"#, "https://b.example/.a.example", false),
            (r#"origins = ["http://*:8080"]"#, "http://a.example:8080", true),
            (r#"origins = ["https://A.example:443"]"#, "https://a.example", true),
            (r#"origins = ["http://a.example:443"]"#, "http://a.example:443", true),
            (r#"origin_prefixes = ["https://a."]"#, "https://a.other", true),
            (r#"origin_regexes = ["https://[ab]\\.example"]"#, "https://b.example", true),
            (r#"origin_regexes = ["https://[ab]\\.example"]"#, "https://b.example.evil", false),
            (r#"origins = ["null"]"#, "null", true),
        ];
        for (keys, origin, allowed) in rows {
            let told = met(&cors(keys), "GET", &[("origin", origin)]);
            assert_eq!(told.contains("allow-origin"), allowed, "{keys} {origin}: {told}");
        }
    }
}
