//! Values that v1 itself draws anew each time: differences in their shape. Pure.

use super::super::json::Node;
use super::super::rules::Path;
use super::super::shape;
use super::{Found, Kind};

impl Found<'_> {
    /// Where v1 itself has another value each time, that it is another tells nothing, but its shape does: a token that is shorter, a
    /// time in other units. How often v1's own has another shape is counted in the same way.
    pub(super) fn of_another_shape(
        &mut self,
        path: &Path<'_>,
        (a, b): (&str, &str),
        (primary, mirror): (&Node<'_>, &Node<'_>),
    ) {
        let Some(known) = self.context.known.filter(|_| !shape::is_of_one_kind(a, b)) else { return };
        if known.contains(&(self.place(path), Kind::Changed)) {
            self.one_side(path, Kind::Type, Some(primary), Some(mirror));
        }
    }
}
