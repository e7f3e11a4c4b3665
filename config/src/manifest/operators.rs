//! Values of header fields in Istio's manifests, where `%` begins an operator (Envoy's): `%%` is a percent sign.

/// The value that a text with no operator means.
pub(super) fn literal(text: &str) -> Result<String, String> {
    let mut value = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        value.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            value.push('%');
            rest = after;
            continue;
        }
        return Err(match after.split_once('%') {
            Some((operator, _)) => {
                format!("%{operator}% is an operator that is not offered; write %% for a percent sign")
            }
            None => format!("{text:?} has an operator without its end; write %% for a percent sign"),
        });
    }
    value.push_str(rest);
    Ok(value)
}
