//! A finished run as a document, and its faces: text, JSON, .hgrm, interval log, CSV, HTML. Measures nothing.

pub mod assertion;
pub mod by_url;
pub mod document;
pub mod html;
pub mod interval;
pub mod percentiles;
pub mod progress;
pub mod text;
