//! The promises, each checked from outside the process. Modules in reading order.

mod article;
mod mirror;
mod mirror_policy;
mod isolation;
mod routing;
mod reload;
mod upstreams;
mod manifests;
mod http1_requests;
mod http1_courses;
mod http1_responses;
mod pool;
mod regressions;
mod limits;
mod lifecycle;
mod driver;
mod config_errors;
mod conversations;
mod httpbin;
mod rollout;
mod controllers;
mod metrics;
mod openapi;
mod logs;
mod dashboard;
mod tidy;
