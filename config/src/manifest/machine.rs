//! Files and sockets of the gateway's machine, which no object of a cluster may name, as its author is not the machine's
//! operator: a file that cannot be read would stop every change of every author, and a file that can be read is not the
//! author's to use. Pure.

use crate::problem::Report;
use crate::reader::Key;

/// Says so of each of these, which are files; whether there is one.
pub(super) fn refuses_files<'k>(
    keys: impl IntoIterator<Item = &'k Key<String>>,
    report: &mut Report,
) -> bool {
    if !report.is_by_resource() {
        return false;
    }
    let named: Vec<_> =
        keys.into_iter().filter_map(Key::given).filter(|file| !file.value.is_empty()).collect();
    for file in &named {
        let message = "names a file of the gateway's own machine, which no object of a cluster may: write credentialName";
        report.error(&file.at, message);
    }
    !named.is_empty()
}
