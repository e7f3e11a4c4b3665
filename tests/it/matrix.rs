//! The whole HTTP/1.1 matrix, with the proof of each of its rows. A row whose proof is gone fails here.

use std::fs;
use std::path::Path;

use tests::{answer_rows, request_rows};

/// The proof of a row.
enum By {
    /// Cases of this name in the tables of bytes, which run on both drivers, whole, cut and pipelined.
    Rows,
    /// A test, by its file and name.
    Test(&'static str),
    /// None here: a run by hand, and the words that say so.
    Run(&'static str),
    /// None: a decision, and the words that give its reason.
    Not(&'static str),
}

use By::{Not, Rows, Run, Test};

const MATRIX: &[(&str, &[By])] = &[
    ("R1", &[Rows]),
    ("R2", &[Rows]),
    ("R3", &[Rows]),
    ("R4", &[Rows]),
    ("R5", &[Rows]),
    ("R6", &[Rows]),
    ("R7", &[Rows]),
    ("R8", &[Rows]),
    ("R9", &[Rows, Test("limits::heads_up_to_their_limits_are_served_and_beyond_are_answered_414_and_431")]),
    ("R10", &[Rows]),
    ("R11", &[Rows]),
    ("R12", &[Rows]),
    ("R13", &[Rows]),
    ("R14", &[Rows]),
    ("H1", &[Rows]),
    ("H2", &[Rows]),
    ("H3", &[Rows]),
    ("H4", &[Rows]),
    ("H5", &[Rows]),
    ("H6", &[Rows]),
    ("H7", &[Rows]),
    ("H8", &[Rows, Test("limits::a_head_that_never_ends_is_answered_431_before_it_is_all_sent")]),
    ("H9", &[Rows]),
    ("H10", &[Rows]),
    ("F1", &[Rows]),
    ("F2", &[Rows]),
    ("F3", &[Rows]),
    ("F4", &[Rows]),
    ("F5", &[Rows]),
    ("F6", &[Rows]),
    ("F7", &[Rows]),
    ("F8", &[Rows]),
    ("F9", &[Rows]),
    ("F10", &[Rows]),
    ("F11", &[Rows]),
    ("F12", &[Test("http1_courses::an_upload_that_ends_early_is_complete_nowhere")]),
    ("F13", &[Rows, Test("http1_courses::pipelined_requests_are_answered_in_order")]),
    ("F14", &[Rows]),
    ("C1", &[Rows]),
    ("C2", &[Rows]),
    ("C3", &[Rows]),
    ("C4", &[Rows]),
    ("C5", &[Rows]),
    ("C6", &[Rows]),
    ("C7", &[Rows]),
    (
        "C8",
        &[
            Test("http1_courses::an_upload_that_ends_early_is_complete_nowhere"),
            Test("limits::content_that_stops_coming_is_answered_408_and_not_copied"),
        ],
    ),
    ("C9", &[Test("mirror::a_copy_has_the_method_target_fields_content_and_trailers_that_the_primary_got")]),
    ("P1", &[Rows]),
    ("P2", &[Rows]),
    ("P3", &[Rows]),
    ("P4", &[Rows, Test("http1_courses::a_clients_claims_are_replaced_where_strangers_reach_us")]),
    ("P5", &[Rows, Test("http1_courses::max_forwards_is_obeyed_for_options")]),
    ("U1", &[Rows]),
    ("U2", &[Rows]),
    ("U3", &[Rows]),
    ("U4", &[Test("tunnels::what_passes_in_a_tunnel_is_never_copied_and_the_ledger_says_why")]),
    ("U5", &[Test("http1_courses::a_client_that_expects_100_is_told_to_continue")]),
    ("U6", &[Test("http1_courses::a_final_answer_instead_of_100_is_relayed_and_ends_the_connection")]),
    ("U7", &[Rows, Test("http1_courses::an_http_10_client_gets_no_interim_answer")]),
    ("U8", &[Rows]),
    ("S1", &[Rows]),
    ("S2", &[Rows]),
    ("S3", &[Rows]),
    (
        "S4",
        &[
            Rows,
            Test("http1_responses::an_answer_that_ends_with_its_connection_is_complete_for_every_client"),
        ],
    ),
    ("S5", &[Rows, Test("http1_responses::a_cut_answer_is_a_reset_for_a_client_that_waits_for_the_close")]),
    ("S6", &[Rows]),
    ("S7", &[Test("http1_responses::bytes_behind_an_answer_reach_no_client")]),
    (
        "S8",
        &[
            Test("http1_responses::an_early_answer_is_relayed_at_once"),
            Test("http1_responses::a_primary_that_answers_early_and_reads_no_further_holds_nobody"),
        ],
    ),
    ("S9", &[Test("limits::a_primary_that_takes_no_content_gets_no_more_of_it_and_the_client_an_answer")]),
    (
        "S10",
        &[Test("http1_responses::a_primary_that_does_not_answer_is_504_and_one_that_is_away_503_at_once")],
    ),
    ("S11", &[Rows]),
    ("K1", &[Test("pool::content_of_a_locally_answered_request_never_becomes_a_request")]),
    (
        "K2",
        &[
            Test("pool::a_connection_closed_while_idle_is_not_used_again"),
            Test("pool::a_kept_connection_that_dies_is_retried_only_where_nothing_can_happen_twice"),
        ],
    ),
    ("K3", &[Test("pool::a_race_between_close_and_request_costs_no_get_and_doubles_no_post")]),
    ("K4", &[Test("pool::a_connection_that_spoke_while_idle_is_not_used_again")]),
    (
        "K5",
        &[
            Test("mirror::a_request_that_was_tried_twice_on_the_primary_is_copied_once"),
            Test("pool::a_new_connection_that_dies_is_not_retried"),
        ],
    ),
    (
        "K6",
        &[
            Test("pool::answers_never_reach_another_client"),
            Test("pool::an_answer_whose_client_left_is_thrown_away"),
            Run("bench/README.md: `… -- soak"),
        ],
    ),
    (
        "K7",
        &[
            Test("pool::kept_connections_end_at_their_bounds"),
            Test("limits::a_connection_ends_with_the_last_request_it_may_carry"),
        ],
    ),
    (
        "L1",
        &[
            Test("limits::a_head_that_drips_in_is_answered_408_at_its_deadline"),
            Run("bench/README.md: `… -- slow"),
        ],
    ),
    (
        "L2",
        &[
            Test("limits::content_that_drips_for_ever_is_answered_408_although_each_piece_is_in_time"),
            Test("limits::a_client_that_takes_its_answer_in_drips_is_given_up"),
        ],
    ),
    (
        "L3",
        &[
            Test("limits::declared_content_over_its_limit_is_answered_413_before_the_primary_hears_of_it"),
            Test("limits::chunked_content_that_crosses_its_limit_is_cut_off_and_completes_nowhere"),
        ],
    ),
    (
        "L4",
        &[
            Test("limits::connections_beyond_their_limit_are_closed_and_counted_and_places_come_back"),
            Test("limits::running_out_of_descriptors_neither_spins_nor_lasts"),
        ],
    ),
    ("L5", &[Test("limits::idle_connections_cost_little")]),
    ("L6", &[Run("bench/README.md: `… -- soak")]),
    ("L7", &[Test("limits::a_hundred_megabytes_stream_up_and_down_exactly_and_in_little_memory")]),
    ("L8", &[Not("docs/src/limits.md: Memory that the system refuses")]),
    ("M1", &[Test("isolation::a_mirror_that_refuses_is_not_felt")]),
    (
        "M2",
        &[
            Test("isolation::a_mirror_behind_a_full_backlog_is_not_felt"),
            Test("isolation::a_mirror_that_never_reads_is_not_felt"),
            Test("isolation::a_mirror_that_reads_and_never_answers_is_not_felt"),
        ],
    ),
    (
        "M3",
        &[
            Test("isolation::the_next_request_of_a_connection_does_not_wait_for_the_mirror"),
            Test("isolation::a_mirror_that_answers_after_seconds_is_not_felt"),
        ],
    ),
    (
        "M4",
        &[
            Test("isolation::whatever_a_mirror_answers_is_counted_and_read_only_so_far"),
            Test("isolation::a_mirror_that_answers_hugely_is_not_felt"),
        ],
    ),
    (
        "M5",
        &[Test("isolation::an_endpoint_that_refuses_is_tried_seldom_and_gets_copies_again_once_it_is_back")],
    ),
    ("M6", &[Test("mirror::a_dead_mirror_takes_nothing_from_its_neighbours")]),
    (
        "M7",
        &[
            Test("mirror::a_rejected_request_is_never_copied"),
            Test("mirror::a_request_that_its_client_gives_up_or_spoils_halfway_is_never_copied"),
            Test("mirror::a_request_that_was_tried_twice_on_the_primary_is_copied_once"),
        ],
    ),
    ("M8", &[Test("mirror::content_over_the_mirrors_limit_is_not_copied_and_the_primary_gets_all_of_it")]),
    ("M9", &[Test("mirror::one_draw_per_request_serves_all_mirrors_and_keeps_their_shares")]),
    (
        "M10",
        &[
            Test("mirror::of_thousands_of_pipelined_requests_on_two_workers_each_is_copied_exactly_once"),
            Test("http1_courses::content_arrives_whole_on_both_wires"),
        ],
    ),
    ("M11", &[Test("mirror::a_request_that_no_primary_can_take_is_not_copied")]),
    ("M12", &[Run("bench/README.md: `… -- isolation`")]),
    (
        "X1",
        &[
            Test("lifecycle::a_drain_under_load_finishes_every_exchange_and_turns_nobody_away"),
            Test("handover::new_processes_take_over_under_load_and_no_client_notices"),
        ],
    ),
    (
        "X2",
        &[
            Test("lifecycle::a_second_signal_ends_at_once_with_1"),
            Test("lifecycle::exchanges_that_do_not_end_are_given_up_at_the_deadline"),
        ],
    ),
    (
        "X3",
        &[
            Test("reload::a_bad_file_leaves_the_old_one_serving_and_says_why"),
            Test("config_errors::each_fault_is_named_with_its_line_and_key"),
            Test("lifecycle::a_port_that_is_taken_is_an_error_that_names_address_and_key"),
        ],
    ),
    ("X4", &[Test("reload::a_hundred_reloads_under_load_hurt_nobody_and_leave_nothing_behind")]),
    ("X5", &[Test("lifecycle::a_panic_ends_its_connection_and_nothing_else")]),
    ("X6", &[Test("supervisor::a_watchdog_hears_while_the_workers_turn_and_not_when_one_is_stuck")]),
    (
        "X7",
        &[
            Test("driver::where_io_uring_is_forbidden_auto_serves_on_epoll_and_says_why"),
            Test("driver::where_io_uring_is_forbidden_uring_refuses_to_start"),
        ],
    ),
    (
        "X8",
        &[
            Test("lifecycle::other_signals_do_not_end_it"),
            Test("lifecycle::nobody_listening_to_its_output_does_not_end_it"),
            Test("logs::a_log_that_nobody_reads_costs_no_client_anything_and_is_counted"),
        ],
    ),
    (
        "X9",
        &[
            Test("upstreams::traffic_follows_a_name_and_stays_where_it_is_when_the_name_fails"),
            Test("upstreams::a_name_that_moves_all_the_time_keeps_nobody_ejected_for_longer"),
            Not("gateway/ARCHITECTURE.md: microseconds of one clock"),
        ],
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

#[test]
fn every_row_of_the_matrix_is_shown_by_something() {
    let cases = request_rows::all().into_iter().map(|case| case.parts().0.name);
    let cases: Vec<String> =
        cases.chain(answer_rows::all().into_iter().map(|row| row.name.to_owned())).collect();
    let mut missing = Vec::new();
    for (row, all) in MATRIX {
        for by in *all {
            let is_there = match by {
                Rows => cases.iter().any(|name| name.split(' ').any(|word| word == *row)),
                Test(name) => {
                    let (file, name) = name.split_once("::").expect("file::name");
                    let text = fs::read_to_string(root().join("tests/it").join(format!("{file}.rs")));
                    text.is_ok_and(|text| text.contains(&format!("fn {name}()")))
                }
                Run(place) | Not(place) => {
                    let (file, words) = place.split_once(": ").expect("file: words");
                    fs::read_to_string(root().join(file)).is_ok_and(|text| text.contains(words))
                }
            };
            if !is_there {
                missing.push(match by {
                    Rows => format!("{row}: no case begins with it"),
                    Test(what) | Run(what) | Not(what) => format!("{row}: {what}"),
                });
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert_eq!(MATRIX.len(), 107);
}

/// And the other way round: a case whose name begins like a row is of a row that there is.
#[test]
fn every_case_is_of_a_row_that_there_is() {
    let is_row = |word: &str| {
        word.len() <= 3
            && word.starts_with(|c: char| c.is_ascii_uppercase())
            && word[1..].parse::<u8>().is_ok()
    };
    let names = request_rows::all().into_iter().map(|case| case.parts().0.name);
    for name in names.chain(answer_rows::all().into_iter().map(|row| row.name.to_owned())) {
        for word in name.split(' ').take_while(|word| is_row(word)) {
            assert!(MATRIX.iter().any(|(row, _)| *row == word), "{name}");
        }
    }
}
