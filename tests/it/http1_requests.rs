//! Requests that clients may send, and the bytes on every wire then: rows R, H, F, C, P and U of the HTTP/1.1 matrix.

use tests::request_rows::{self, chunks, fields, framing, hop_by_hop, request_lines};
use tests::table::{self, Cuts};
use tests::{Origin, Stage};

#[test]
fn request_lines_are_refused_rather_than_repaired() {
    table::run(&Stage::plain(), Cuts::Some, request_lines());
}

#[test]
fn fields_are_refused_rather_than_repaired_and_kept_as_they_are() {
    table::run(&Stage::plain(), Cuts::Some, fields());
}

#[test]
fn a_request_ends_in_one_place_for_everybody() {
    table::run(&Stage::plain(), Cuts::Some, framing());
}

#[test]
fn chunks_are_taken_apart_strictly_and_made_anew() {
    table::run(&Stage::plain(), Cuts::Some, chunks());
}

#[test]
fn what_belongs_to_one_hop_stops_there() {
    table::run(&Stage::plain(), Cuts::Some, hop_by_hop());
}

#[test]
fn the_rows_hold_on_epoll_as_well() {
    let stage = Stage::of(Origin::named("v1"), Origin::named("v2"), "", |setup| setup.driver("epoll"));
    table::run(&stage, Cuts::Some, request_rows::all());
}

/// Every row, cut in two at every byte of it.
#[test]
#[ignore = "takes minutes"]
fn no_cut_of_any_row_changes_anything() {
    for driver in ["auto", "epoll"] {
        let stage = Stage::of(Origin::named("v1"), Origin::named("v2"), "", |setup| setup.driver(driver));
        table::run(&stage, Cuts::Every, request_rows::all());
    }
}
