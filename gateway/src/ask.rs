//! Requests to a running gateway's admin listener, for the commands that show its state.

use std::path::PathBuf;
use std::time::Duration;

use config::Pem;
use rustls::ClientConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::tls::pem::{self, Wrong};
use crate::tls::{load, pinned};

/// From connect to the last byte: the answers are made from memory.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Longer answers than this are not believed.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Where to ask, and what proves that one may.
#[derive(Debug, Clone, clap::Args)]
pub struct Admin {
    /// Admin listener of the running gateway
    #[arg(long = "admin", value_name = "URL", env = "UMBRA_ADMIN", default_value = "http://127.0.0.1:9901")]
    pub url: String,

    /// Its token, where it has one
    #[arg(long, value_name = "TOKEN", env = "UMBRA_ADMIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    /// CA of its certificate, PEM, where the URL is https; default: those of the system
    #[arg(long = "admin-ca", value_name = "FILE", env = "UMBRA_ADMIN_CA")]
    pub ca: Option<PathBuf>,

    /// Certificate to show it, PEM, where it asks for one
    #[arg(long = "admin-cert", value_name = "FILE", env = "UMBRA_ADMIN_CERT", requires = "key")]
    pub cert: Option<PathBuf>,

    /// Key of that certificate, PEM
    #[arg(long = "admin-key", value_name = "FILE", env = "UMBRA_ADMIN_KEY", requires = "cert")]
    pub key: Option<PathBuf>,
}

impl Admin {
    /// The content at `path` (with its query). The error is one sentence that names the URL.
    pub fn get(&self, path: &str) -> Result<String, String> {
        self.ask(path, None, ANSWER_MAX, ANSWER_BYTES_MAX)
    }

    /// The same, within so long and so many bytes.
    pub fn get_within(&self, path: &str, time: Duration, bytes_max: usize) -> Result<String, String> {
        self.ask(path, None, time, bytes_max as u64)
    }

    /// The answer to `content` posted to `path`, within `time`. The error is as that of [`Self::get`].
    pub fn post_within(&self, path: &str, content: &str, time: Duration) -> Result<String, String> {
        self.ask(path, Some(("POST", content)), time, ANSWER_BYTES_MAX)
    }

    /// The answer to `content` posted to `path`. The error is as that of [`Self::get`].
    pub fn post(&self, path: &str, content: &str) -> Result<String, String> {
        self.post_within(path, content, ANSWER_MAX)
    }

    /// The answer to `content`, which is JSON, posted to `path`, within `time`. The error is as that of [`Self::get`].
    pub fn post_json(&self, path: &str, content: &str, time: Duration) -> Result<String, String> {
        self.ask(path, Some(("POST JSON", content)), time, ANSWER_BYTES_MAX)
    }

    /// The answer to a PATCH of `path` by `content`, which is JSON. The error is as that of [`Self::get`].
    pub fn patch(&self, path: &str, content: &str) -> Result<String, String> {
        self.ask(path, Some(("PATCH", content)), ANSWER_MAX, ANSWER_BYTES_MAX)
    }

    fn ask(
        &self,
        path: &str,
        given: Option<(&'static str, &str)>,
        time: Duration,
        bytes_max: u64,
    ) -> Result<String, String> {
        let base = self.base();
        let url = format!("{base}{path}");
        let settings = ureq::Agent::config_builder()
            .timeout_global(Some(time))
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0);
        let agent = match url.starts_with("https://") {
            true => pinned::agent(settings.build(), self.tls()?),
            false => ureq::Agent::new_with_config(settings.build()),
        };
        let token = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let answer = match given {
            None => {
                token.iter().fold(agent.get(&url), |request, t| request.header("authorization", t)).call()
            }
            Some((method, content)) => {
                let request = match method {
                    "PATCH" => agent.patch(&url).header("content-type", "application/json"),
                    "POST JSON" => agent.post(&url).header("content-type", "application/json"),
                    _ => agent.post(&url),
                };
                token.iter().fold(request, |request, t| request.header("authorization", t)).send(content)
            }
        };
        let mut answer = answer.map_err(|error| format!("{url}: {error}{}", next_step(&error)))?;
        let status = answer.status();
        let content = answer.body_mut().with_config().limit(bytes_max).read_to_string();
        let content = content.map_err(|error| format!("{url}: {error}"))?;
        match status.as_u16() {
            200..=299 => Ok(content),
            401 => Err(format!("{url}: {status}: give its token: --token or UMBRA_ADMIN_TOKEN")),
            _ => Err(format!("{url}: {status}: {}", reason(&content))),
        }
    }

    /// The listener's URL, without a slash at its end.
    pub(crate) fn base(&self) -> String {
        let base = self.url.trim_end_matches('/');
        if base.contains("://") { base.to_owned() } else { format!("http://{base}") }
    }

    /// How it is asked over TLS.
    fn tls(&self) -> Result<ClientConfig, String> {
        let told = |option: &str| {
            let option = option.to_owned();
            move |wrong: Wrong| format!("{option}: {} {}", wrong.file.display(), wrong.message)
        };
        let roots = match &self.ca {
            Some(ca) => pem::certificates(&Pem::File(ca.clone()), "").map_err(told("--admin-ca"))?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        let shown = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = pem::certificates(&Pem::File(cert.clone()), "").map_err(told("--admin-cert"))?;
                let bytes = std::fs::read(key).map_err(|e| format!("--admin-key: {}: {e}", key.display()))?;
                let key = PrivateKeyDer::from_pem_slice(&bytes)
                    .map_err(|_| format!("--admin-key: {} holds no private key in PEM", key.display()))?;
                Some((chain, key))
            }
            (Some(_), None) | (None, _) => None,
        };
        let client = pinned::client(&roots, shown, load::provider());
        client.map_err(|error| format!("--admin-ca: {error}"))
    }
}

/// Why it was refused: an error or problems as JSON, or as it came.
fn reason(content: &str) -> String {
    let told: serde_json::Value = serde_json::from_str(content).unwrap_or_default();
    if let Some(error) = told["error"].as_str() {
        return error.to_owned();
    }
    let Some(problems) = told["problems"].as_array() else { return content.trim_end().to_owned() };
    let word = |of: &serde_json::Value| of.as_str().map(|of| format!("{of}: ")).unwrap_or_default();
    let one = |problem: &serde_json::Value| {
        let line = problem["line"].as_u64().map(|line| format!("line {line}: ")).unwrap_or_default();
        let message = problem["message"].as_str().unwrap_or_default();
        format!("{}{line}{}{message}", word(&problem["file"]), word(&problem["key"]))
    };
    problems.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// Advice for an error where the listener does not answer.
fn next_step(error: &ureq::Error) -> &'static str {
    match error {
        ureq::Error::Io(_)
        | ureq::Error::ConnectionFailed
        | ureq::Error::HostNotFound
        | ureq::Error::Timeout(_) => {
            "; is the gateway running? --admin or UMBRA_ADMIN says where its admin listener is"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// The result of `get` from a listener that answers `answer`, and the request that it got.
    fn ask(answer: &'static str, token: Option<&str>) -> (Result<String, String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{}/", listener.local_addr().unwrap());
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        });
        let got =
            Admin { url, token: token.map(str::to_owned), ca: None, cert: None, key: None }.get("/a?b=c");
        (got, asked.join().unwrap())
    }

    #[test]
    fn an_answer_is_its_content_and_anything_else_an_error_that_names_the_url() {
        let (got, asked) = ask("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Some("t"));
        assert_eq!(got, Ok("{}".to_owned()));
        assert!(asked.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{asked}");
        assert!(asked.to_ascii_lowercase().contains("\r\nauthorization: bearer t\r\n"), "{asked}");
        let (got, asked) = ask("HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\ntoken", None);
        let error = got.unwrap_err();
        assert!(
            error.contains("/a?b=c: 401 Unauthorized: give its token: --token or UMBRA_ADMIN_TOKEN"),
            "{error}"
        );
        assert!(!asked.to_ascii_lowercase().contains("authorization"));
        let away = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/away\r\nContent-Length: 0\r\n\r\n";
        let error = ask(away, None).0.unwrap_err();
        assert!(error.contains("/a?b=c: 302 Found"), "nobody is asked but whom one wanted to ask: {error}");
        let nobody = Admin { url: "127.0.0.1:1".into(), token: None, ca: None, cert: None, key: None };
        let error = nobody.get("/").unwrap_err();
        assert!(
            error.starts_with("http://127.0.0.1:1/: ") && error.contains("is the gateway running?"),
            "{error}"
        );
    }
}
