//! The discovery pages of an API server: by these kubectl finds the path of each kind.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::apiserver::Resource;

/// The page at a path, of an API server of these resources from which these groups are absent.
pub(crate) fn page(path: &str, resources: &[Resource], absent: &BTreeSet<&str>) -> Option<Value> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let served = || resources.iter().filter(|one| !absent.contains(one.0));
    match parts.as_slice() {
        ["version"] => Some(json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0"})),
        ["api"] => Some(json!({"kind": "APIVersions", "versions": ["v1"]})),
        ["apis"] => {
            let names: BTreeSet<&str> = served().map(|one| one.0).filter(|name| !name.is_empty()).collect();
            let groups: Vec<Value> = names
                .iter()
                .map(|name| {
                    let versions: Vec<&str> =
                        served().find(|one| one.0 == *name).map(|one| one.4.to_vec()).unwrap_or_default();
                    let told = |version: &&str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
                    let all: Vec<Value> = versions.iter().map(told).collect();
                    json!({"name": name, "versions": all, "preferredVersion": all[0]})
                })
                .collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["api", version] => Some(list("", version, &served().collect::<Vec<_>>())),
        ["apis", group, version] => Some(list(group, version, &served().collect::<Vec<_>>())),
        _ => None,
    }
}

fn list(group: &str, version: &str, served: &[&Resource]) -> Value {
    let of = served.iter().filter(|one| one.0 == group && one.4.contains(&version));
    let resources: Vec<Value> = of
        .map(|(_, plural, kind, namespaced, _)| {
            let verbs = ["create", "delete", "get", "list", "patch", "update", "watch"];
            json!({"name": plural, "singularName": kind.to_lowercase(), "namespaced": namespaced, "kind": kind, "verbs": verbs})
        })
        .collect();
    let version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources})
}
