//! The cases of `gateway/tests/fuzz` under libFuzzer, which makes texts and keeps those that reach new code.
//!
//! `tests/guided/run CASE [SECONDS]` builds and runs a case. A text that fails is left in the folder it was started in.

#![no_main]
#![allow(dead_code, unused_imports)]

use std::sync::OnceLock;

#[path = "../../../gateway/tests/fuzz/dice.rs"]
mod dice;
#[path = "../../../gateway/tests/fuzz/heads.rs"]
mod heads;
#[path = "../../../gateway/tests/fuzz/http2.rs"]
mod http2;
#[path = "../../../gateway/tests/fuzz/content.rs"]
mod content;
#[path = "../../../gateway/tests/fuzz/json.rs"]
mod json;
#[path = "../../../gateway/tests/fuzz/written.rs"]
mod written;
#[path = "../../../gateway/tests/fuzz/strict.rs"]
mod strict;

use dice::Dice;
use libfuzzer_sys::fuzz_target;

struct Case {
    name: &'static str,
    run: fn(&mut Dice),
    texts: &'static [&'static [u8]],
}

const CASES: [Case; 10] = [
    Case { name: "end_of_head", run: heads::end_of_head, texts: &heads::REQUESTS },
    Case { name: "request", run: heads::request, texts: &heads::REQUESTS },
    Case { name: "answer", run: heads::answer, texts: &heads::RESPONSES },
    Case { name: "http2_blocks", run: http2::blocks, texts: &http2::BLOCKS },
    Case { name: "http2_clients", run: http2::clients, texts: &http2::CLIENTS },
    Case { name: "http2_servers", run: http2::servers, texts: &http2::SERVERS },
    Case { name: "chunks", run: content::chunks, texts: &content::CHUNKED },
    Case { name: "secrets", run: json::secrets, texts: &json::TEXTS },
    Case { name: "toml", run: written::toml, texts: &written::TOML },
    Case { name: "yaml", run: written::yaml, texts: &written::YAML },
];

fn case() -> &'static Case {
    static CASE: OnceLock<&Case> = OnceLock::new();
    CASE.get_or_init(|| {
        let wanted = std::env::var("UMBRA_GUIDED").unwrap_or_default();
        let names = CASES.map(|case| case.name).join(", ");
        CASES
            .iter()
            .find(|case| case.name == wanted)
            .unwrap_or_else(|| panic!("UMBRA_GUIDED is one of {names}"))
    })
}

fuzz_target!(
    init: {
        // Texts to begin with, beside those that earlier runs found.
        if let Some(folder) = std::env::var_os("UMBRA_GUIDED_TEXTS") {
            for (n, text) in case().texts.iter().enumerate() {
                let path = std::path::Path::new(&folder).join(format!("text-{n}"));
                std::fs::write(path, [&[0; 8], *text].concat()).expect("a folder to begin in");
            }
        }
    },
    |data: &[u8]| {
        if let Some(mut dice) = Dice::given(data) {
            (case().run)(&mut dice);
        }
    }
);
