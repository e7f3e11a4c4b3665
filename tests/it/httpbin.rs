//! The article's own application, behind the gateway.
