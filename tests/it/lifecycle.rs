//! Starting, draining, ending; a panic costs one connection.
