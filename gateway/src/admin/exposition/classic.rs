//! OpenMetrics text as Prometheus' older text format, for readers that know nothing else (`promtool check metrics`). Pure.

use std::collections::HashSet;

/// Media type of the format.
pub(in crate::admin) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether `accept` asks for this format and not for OpenMetrics.
pub(in crate::admin) fn is_wanted(accept: &str) -> bool {
    accept.contains("text/plain") && !accept.contains("openmetrics")
}

/// There a counter is named as its sample is, and neither units nor an end are told.
pub(in crate::admin) fn of(openmetrics: &str) -> String {
    let typed = |kind: &str| {
        let named = openmetrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(kind));
        named.collect::<HashSet<&str>>()
    };
    let (counters, infos) = (typed(" counter"), typed(" info"));
    let mut out = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "EOF"] | ["#", "UNIT", ..] => continue,
            ["#", what, name, rest] if counters.contains(name) => {
                out.push_str(&format!("# {what} {name}_total {rest}\n"));
            }
            ["#", "TYPE", name, _] if infos.contains(name) => {
                out.push_str(&format!("# TYPE {name}_info gauge\n"))
            }
            ["#", what, name, rest] if infos.contains(name) => {
                out.push_str(&format!("# {what} {name}_info {rest}\n"));
            }
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_infos_are_named_as_their_samples_and_the_rest_is_as_it_was() {
        let given = "# HELP a b c.\n# TYPE a counter\n# UNIT a seconds\na_total{x=\"y z\"} 1\n# HELP i d.\n# TYPE i info\n\
                     i_info{v=\"1\"} 1\n# HELP g e.\n# TYPE g gauge\ng 2\n# EOF\n";
        let expect = "# HELP a_total b c.\n# TYPE a_total counter\na_total{x=\"y z\"} 1\n# HELP i_info d.\n\
                      # TYPE i_info gauge\ni_info{v=\"1\"} 1\n# HELP g e.\n# TYPE g gauge\ng 2\n";
        assert_eq!(of(given), expect);
        assert!(is_wanted("text/plain") && !is_wanted("*/*"));
        assert!(!is_wanted("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"));
    }
}
