//! Whether a reference into another namespace is permitted by that namespace's ReferenceGrants. Pure.

use super::kinds::Kind;
use super::objects::{list, text};
use super::store::Store;

/// Whether objects of a kind and namespace may refer to an object of Kubernetes' own of this kind, namespace and name.
pub(super) fn granted(
    store: &Store,
    (from, from_namespace): (Kind, &str),
    (to, to_namespace, name): (Kind, &str, &str),
) -> bool {
    let mut all = store.all(Kind::ReferenceGrant).filter(|((namespace, _), _)| namespace == to_namespace);
    all.any(|(_, grant)| {
        let froms = list(&grant["spec"], "from").iter().any(|one| {
            text(one, "group") == "gateway.networking.k8s.io"
                && text(one, "kind") == from.facts().name
                && text(one, "namespace") == from_namespace
        });
        let tos = list(&grant["spec"], "to").iter().any(|one| {
            matches!(text(one, "group"), "" | "core")
                && text(one, "kind") == to.facts().name
                && (text(one, "name").is_empty() || text(one, "name") == name)
        });
        froms && tos
    })
}
