//! Compares two answers to one request (`differ`): read through their content coding (`coding`), as JSON (`json`) or as calls'
//! messages (`messages`, `protobuf`) with field names from descriptors (`descriptors`), and by rules (`rules`). Differences are
//! told from those that the primary has with itself, and kept in groups with a few samples (`findings`).
//!
//! The room runs on the observer's thread. It knows no socket, no worker and no clock but the one it budgets its own time by.

mod rules;
mod coding;
mod json;
mod messages;
mod wire;
mod descriptors;
mod protobuf;
mod added;
mod folds;
mod grammar;
mod shape;
mod said;
mod differ;
mod group;
mod pair;
mod sample;
pub mod again;
mod versions;
mod schema;
mod noise;
mod findings;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use config::{Config, Role};

pub use descriptors::{Schema, Schemas};
pub use differ::{Difference, Kind};
pub(crate) use findings::ALL_SAMPLES_BYTES_MAX;
pub use findings::Findings;
pub(crate) use findings::GROUPS_OF_ONE_MAX;
pub(crate) use group::SAMPLES_MAX;
pub use group::{Beside, Group, Judged, Tally, Unasked};
pub use sample::{Sample, Shown};
pub(crate) use schema::FIELDS_MAX as SCHEMA_FIELDS_MAX;
pub use schema::{CountedSchema, Inferred};
pub use versions::Both;

use crate::observe::disclosure;
use crate::observe::record::{Answer, CopyEnd, CopyLeg, Record};
use added::Added;
use differ::{Compared, Context};
use findings::Place;
use folds::Folds;
use noise::{Again, Noise};
use pair::Pair;
use rules::Rules;

/// Why a pair was not compared: one of the two answers, or both, found no room.
pub const NO_ROOM: &str = "no_room";

/// Why contents were not compared: no rule asked for their type.
pub const CONTENT_TYPE: &str = "content_type";

/// Why a pair was not compared: no time was left.
pub const BUSY: &str = "busy";

/// Why contents were compared in part: they differ in more places than are told of one pair.
pub const TOO_MANY: &str = "too_many_differences";

/// Time that comparing may take, of one core.
#[derive(Debug, Clone, Copy)]
pub struct Budgets {
    /// Shares, of comparing and of looking at which fields there are.
    share: f64,
    schema_share: f64,
    /// Microseconds of either that may be saved up.
    saved_us_max: f64,
}

/// Half a core together.
impl Default for Budgets {
    fn default() -> Self {
        Self { share: 0.45, schema_share: 0.05, saved_us_max: 1e6 }
    }
}

impl Budgets {
    /// Tests compare the same on a machine of any speed.
    #[cfg(test)]
    pub(crate) const UNLIMITED: Self = Self { share: 1.0, schema_share: 1.0, saved_us_max: f64::INFINITY };
}

/// Compares the answers in the records of one configuration.
#[derive(Debug)]
pub struct Comparator {
    /// By the names of route and mirror, where one compares: records come from several configurations.
    rules: HashMap<String, HashMap<String, Rules>>,
    findings: Arc<Findings>,
    /// By the name of the route.
    learnt: HashMap<String, Learnt>,
    budget: Budget,
    schema_budget: Budget,
}

/// Facts learnt from the answers on a route: the same for all its mirrors, so that one place has one name.
#[derive(Debug, Default)]
struct Learnt {
    folds: RefCell<Folds>,
    /// Where baselines differ.
    noise: HashSet<(String, Kind)>,
}

/// Places of noise remembered of one route.
const NOISE_MAX: usize = 1024;

/// Time that may be spent on comparing.
#[derive(Debug)]
struct Budget {
    share: f64,
    saved_us_max: f64,
    left_us: f64,
    at: Instant,
}

impl Budget {
    fn of(share: f64, saved_us_max: f64) -> Self {
        Self { share, saved_us_max, left_us: saved_us_max, at: Instant::now() }
    }

    fn is_spent(&mut self, now: Instant) -> bool {
        let earned = now.duration_since(self.at).as_secs_f64() * 1e6 * self.share;
        self.left_us = (self.left_us + earned).min(self.saved_us_max);
        self.at = now;
        self.left_us <= 0.0
    }
}

impl Comparator {
    pub fn new(config: &Config, schemas: &Schemas, findings: &Arc<Findings>, budgets: Budgets) -> Self {
        let Budgets { share, schema_share, saved_us_max } = budgets;
        let (budget, schema_budget) =
            (Budget::of(share, saved_us_max), Budget::of(schema_share, saved_us_max));
        let (rules, learnt) = (HashMap::new(), HashMap::new());
        let findings = Arc::clone(findings);
        let mut comparator = Self { rules, findings, learnt, budget, schema_budget };
        comparator.turn(config, schemas);
        comparator
    }

    /// Takes over another configuration, with the descriptor files that it names. Findings stay under their names, as long as
    /// these are there.
    pub fn turn(&mut self, config: &Config, schemas: &Schemas) {
        self.rules.clear();
        for route in &config.routes {
            // The primary's answer is shown beside each mirror's: a secret of any mirror is a secret of all.
            let secrets = disclosure::secrets(config, [route]).map(Arc::new);
            let of = |mirror: &config::Mirror| {
                let compare = mirror.compare.as_ref()?;
                let schema = compare.descriptors.as_ref().and_then(|file| schemas.get(file));
                Some((mirror.name.clone(), Rules::new(compare, secrets.as_ref(), schema)))
            };
            let rules: HashMap<String, Rules> = route.mirrors.iter().filter_map(of).collect();
            if !rules.is_empty() {
                self.rules.insert(route.name.clone(), rules);
            }
        }
        self.findings.know(strangers(config));
        let rules = &self.rules;
        self.learnt.retain(|route, _| rules.contains_key(route));
        self.findings
            .keep_only(|route, mirror| rules.get(route).is_some_and(|mirrors| mirrors.contains_key(mirror)));
    }

    /// Compares each copy's answer in `record` with the primary's, where both are there.
    pub fn take(&mut self, record: &Record) {
        let Some(route) = record.route() else { return };
        let Some(rules) = self.rules.get(&route.name) else { return };
        let primary = record.primary.as_ref().and_then(|leg| leg.answer.as_ref());
        if record.primary.as_ref().is_some_and(|leg| leg.is_retried) {
            return;
        }
        let is_whole = record.primary.as_ref().is_some_and(|leg| leg.is_whole);
        let learnt = match self.learnt.get_mut(&route.name) {
            Some(learnt) => learnt,
            None => self.learnt.entry(route.name.clone()).or_default(),
        };
        // Baselines first: their differences are known when the others are compared.
        let roles = [Role::Baseline, Role::Candidate];
        let mut again: Vec<(usize, Again)> = Vec::new();
        let copies = roles.iter().flat_map(|role| {
            let of_role = move |copy: &&CopyLeg| record.mirror(copy).is_some_and(|of| of.role == *role);
            record.copies.iter().filter(|copy| copy.compares).filter(of_role)
        });
        for copy in copies {
            let Some(mirror) = record.mirror(copy) else { continue };
            let Some(rules) = rules.get(&mirror.name) else { continue };
            let place = Place { route: &route.name, mirror: &mirror.name, role: mirror.role };
            match (primary, &copy.answer, copy.end) {
                (Some(primary), Some(answer), CopyEnd::Completed(_)) => {
                    let began = Instant::now();
                    if self.budget.is_spent(began) {
                        self.findings.skip(place, BUSY);
                        continue;
                    }
                    let context = Context {
                        known: Some(&learnt.noise),
                        folds: Some(&learnt.folds),
                        added: Added::new(copy.span, record.trace.primary_span),
                        path: match [primary, answer].iter().any(|of| may_be_call(of)) {
                            true => disclosure::disclosed(record, rules.secrets.as_deref()).target,
                            false => Cow::default(),
                        },
                    };
                    let compared = differ::compare(rules, &context, primary, answer);
                    if mirror.role == Role::Baseline {
                        learnt.add(&compared);
                        again.push((copy.mirror, Again::of(&compared)));
                    }
                    let pair = Pair { record, copy, primary, mirror: answer };
                    let noise = Noise::beside(mirror, route, record, &again);
                    self.findings.hear(place, rules, &pair);
                    self.findings.add(place, rules, &pair, compared, &noise);
                    let compared = Instant::now();
                    self.budget.left_us -= compared.duration_since(began).as_secs_f64() * 1e6;
                    if mirror.role == Role::Candidate
                        && !self.schema_budget.is_spent(compared)
                        && self.findings.wants_schema(place)
                    {
                        let folds = learnt.folds.get_mut();
                        if let Some(shapes) = schema::shapes(rules, folds, [primary, answer]) {
                            self.findings.add_schema(place, shapes);
                        }
                        self.schema_budget.left_us -= compared.elapsed().as_secs_f64() * 1e6;
                    }
                }
                // The answer found no room.
                (Some(_), None, CopyEnd::Completed(_)) => self.findings.skip(place, NO_ROOM),
                (None, Some(_) | None, CopyEnd::Completed(_)) if is_whole => {
                    self.findings.skip(place, NO_ROOM);
                }
                (None, Some(_) | None, _) | (Some(_), Some(_) | None, _) => {}
            }
        }
    }
}

/// Route, candidate and baseline, where this is none of that one's.
fn strangers(config: &Config) -> HashSet<[String; 3]> {
    let of_route = |route: &config::Route| -> Vec<[String; 3]> {
        let baselines = || route.mirrors.iter().filter(|of| of.role == Role::Baseline);
        let candidates = route.mirrors.iter().filter(|of| of.role == Role::Candidate);
        let strange = candidates
            .flat_map(|one| baselines().filter(|of| !of.is_baseline_of(one)).map(move |of| (one, of)));
        strange.map(|(one, of)| [route.name.clone(), one.name.clone(), of.name.clone()]).collect()
    };
    config.routes.iter().flat_map(of_route).collect()
}

/// Whether its media type may be gRPC's: then the request's path is needed.
fn may_be_call(answer: &Answer) -> bool {
    memchr::memmem::find(&answer.fields.to_ascii_lowercase(), b"application/grpc").is_some()
}

impl Learnt {
    fn add(&mut self, compared: &Compared) {
        for of in &compared.differences {
            if self.noise.len() < NOISE_MAX {
                self.noise.insert((of.field.clone(), of.kind));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::observe::disclosure::Saying;
    use crate::observe::record::PrimaryLeg;

    /// A route of each name, with a mirror `v2` that has these keys and a baseline `again`.
    pub(super) fn config(routes: &[&str], keys: &str) -> Arc<Config> {
        let mut text = "[upstream.v1]\nendpoints = [\"a:1\"]\n[upstream.v2]\nendpoints = [\"a:2\"]\n\
                        [upstream.again]\nendpoints = [\"a:3\"]\n"
            .to_owned();
        for name in routes {
            text.push_str(&format!(
                "[[route]]\nname = \"{name}\"\npath_prefix = \"/{name}\"\nprimary = \"v1\"\nmirrors = [\n\
                 {{ upstream = \"v2\", {keys} }},\n{{ upstream = \"again\", role = \"baseline\" }},\n]\n"
            ));
        }
        Arc::new(config::parse("test", &text).unwrap().config)
    }

    /// JSON.
    pub(super) fn answer(content: &str) -> Answer {
        let fields = b"Content-Type: application/json\r\n".as_slice();
        Answer {
            status: 200,
            fields: fields.into(),
            content: content.as_bytes().into(),
            is_cut: false,
            trailers: Box::default(),
        }
    }

    /// A request on that route, and both answers.
    pub(super) fn record(
        config: &Arc<Config>,
        route: usize,
        id: &str,
        primary: Answer,
        mirror: Answer,
    ) -> Record {
        let copy = CopyLeg {
            mirror: 0,
            number: 0,
            span: [0; 8],
            end: CopyEnd::Completed(mirror.status),
            lag_us: 0,
            latency_us: 1,
            response_bytes: 0,
            compares: true,
            answer: Some(mirror),
            request: None,
        };
        let leg = PrimaryLeg {
            primary: 0,
            endpoint: None,
            attempts: 1,
            status: Some(primary.status),
            is_whole: true,
            is_retried: false,
            latency_us: 1,
            response_bytes: 0,
            answer: Some(primary),
        };
        Record {
            config: Arc::new(Arc::clone(config)),
            route: Some(route),
            started: SystemTime::UNIX_EPOCH,
            started_us: id.bytes().fold(0, |us, byte| 31 * us + u64::from(byte)),
            forwarded_us: None,
            said: Saying { request_id: id, authority: "a", target: "/", ..Saying::default() }.into(),
            trace: Default::default(),
            is_logged: false,
            scheme: Default::default(),
            method: "GET".into(),
            version: Default::default(),
            status: Some(200),
            reject: None,
            is_aborted: false,
            request_bytes: 0,
            response_bytes: 0,
            duration_us: 1,
            primary: Some(leg),
            copies: vec![copy],
        }
    }

    #[test]
    fn a_copy_that_was_not_drawn_is_not_missed_and_an_answer_without_room_is() {
        let findings = Arc::new(Findings::default());
        let config = config(&["a"], "compare = {}");
        let mut comparator = Comparator::new(&config, &Schemas::new(), &findings, Budgets::UNLIMITED);
        let mut alone = record(&config, 0, "1", answer("1"), answer("1"));
        alone.copies[0].answer = None;
        comparator.take(&alone);
        if let Some(primary) = &mut alone.primary {
            primary.answer = None;
        }
        comparator.take(&alone);
        // The client did not wait for the answer: it was not to be kept.
        if let Some(primary) = &mut alone.primary {
            primary.is_whole = false;
        }
        comparator.take(&alone);
        alone.copies[0].answer = Some(answer("1"));
        comparator.take(&alone);
        alone.copies[0].compares = false;
        comparator.take(&alone);
        let tally = findings.tallies().remove(0);
        assert_eq!((tally.compared, tally.skipped.get("no_room")), (0, Some(&2)));
    }

    #[test]
    fn what_finds_no_time_is_counted_and_not_compared() {
        let findings = Arc::new(Findings::default());
        let config = config(&["a"], "compare = {}");
        let nothing = Budgets { share: 0.0, schema_share: 0.0, saved_us_max: 0.0 };
        let mut comparator = Comparator::new(&config, &Schemas::new(), &findings, nothing);
        let pair = |id: &str| record(&config, 0, id, answer("1"), answer("2"));
        comparator.take(&pair("1"));
        let tally = findings.tallies().remove(0);
        assert_eq!((tally.compared, tally.skipped.get(BUSY)), (0, Some(&1)));
        // The cost of one pair is known afterwards: the next waits until it is earned.
        let one = Budgets { share: 0.0, schema_share: 0.0, saved_us_max: 1e-9 };
        let mut comparator = Comparator::new(&config, &Schemas::new(), &findings, one);
        (2..5).for_each(|id| comparator.take(&pair(&id.to_string())));
        let tally = findings.tallies().remove(0);
        assert_eq!((tally.compared, tally.skipped.get(BUSY)), (1, Some(&3)));
        assert!(findings.schemas()[0].pairs <= 1);
    }

    #[test]
    fn what_one_mirror_of_a_route_calls_a_secret_is_shown_beside_none() {
        let findings = Arc::new(Findings::default());
        let keys = "redact = { json = [\"/card\"], headers = [\"x-key\"] }, compare = {} }, \
                    { upstream = \"again\", name = \"open\", redact = { cookies = [\"a\"] }, compare = {}";
        let config = config(&["a"], keys);
        let mut comparator = Comparator::new(&config, &Schemas::new(), &findings, Budgets::UNLIMITED);
        let mut record = record(&config, 0, "1", answer("{\"card\":\"S1\"}"), answer("{\"card\":\"S2\"}"));
        for mirror in 0..3 {
            record.copies[0].mirror = mirror;
            comparator.take(&record);
        }
        let told = format!("{:?}", findings.groups());
        assert_eq!(findings.tallies().len(), 3);
        assert!(told.contains("[redacted]") && !told.contains("S1") && !told.contains("S2"), "{told}");
    }
}
