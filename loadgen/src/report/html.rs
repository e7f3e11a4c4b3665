//! A run as one self-contained HTML file: no library, no network. The drawing is in `report.html`.

use super::document::Document;

const PAGE: &str = include_str!("report.html");

/// Percentile curves: pairs of 1/(1-quantile) and microseconds, per series.
fn curves(document: &Document) -> serde_json::Value {
    let mut all = serde_json::Map::new();
    for (name, key) in [
        ("response", "response_ns"),
        ("service", "service_ns"),
        ("dispatch", "dispatch_ns"),
        ("ok only", "ok_ns"),
    ] {
        let Some(times) = document.histogram(key).filter(|times| !times.is_empty()) else { continue };
        if name == "ok only" && document.requests.errors == 0 {
            continue;
        }
        let points: Vec<[f64; 2]> = times
            .iter_quantiles(8)
            .map(|step| {
                let inverse = 1.0 / (1.0 - step.quantile_iterated_to()).max(0.5 / times.len() as f64);
                [inverse, step.value_iterated_to() as f64 / 1e3]
            })
            .collect();
        all.insert(name.to_string(), points.into_iter().map(|p| p.to_vec()).collect::<Vec<_>>().into());
    }
    all.into()
}

pub fn render(title: &str, documents: &[(String, Document)]) -> String {
    let runs: Vec<_> = documents
        .iter()
        .map(|(name, document)| {
            let mut run = serde_json::to_value(document).unwrap_or_default();
            if let Some(map) = run.as_object_mut() {
                map.remove("histograms");
            }
            serde_json::json!({"name": name, "run": run, "curves": curves(document)})
        })
        .collect();
    let data = serde_json::json!({"title": title, "runs": runs}).to_string();
    // `<` never appears raw inside the script element, so nothing in the data can end it.
    PAGE.replace("/*DATA*/null", &data.replace('<', "\\u003c"))
}
