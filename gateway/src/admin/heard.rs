//! The last answers of the gateways beside this one, good for a moment and the same for all that wait. Asking them is the
//! caller's.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use config::Config;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::control::{Account, Book, Merged, merge};
use crate::verdict::{Aside, Fleet, Missing};

/// The others' answers are good for so long.
const KEPT: Duration = Duration::from_secs(1);

/// The others' answers.
#[derive(Debug, Default)]
pub(super) struct Answered {
    pub(super) books: Vec<(String, Book)>,
    pub(super) missing: Vec<Missing>,
}

impl Answered {
    /// The evidence of all gateways together; `own` is this one's.
    pub(super) fn merged(&self, own: &Book) -> (Vec<Account>, Fleet) {
        let others = self.books.iter().map(|(name, book)| (name.as_str(), book));
        let books: Vec<(&str, &Book)> = [("this gateway", own)].into_iter().chain(others).collect();
        let replicas = books.iter().map(|(_, book)| book.boot.as_str()).collect::<BTreeSet<_>>().len();
        let Merged { accounts, apart, in_part } = merge(books, SystemTime::now());
        let one = |replica, mirror, why: &dyn Display, route| Aside {
            replica,
            mirror,
            route,
            why: why.to_string(),
        };
        let fleet = Fleet {
            replicas,
            missing: self.missing.clone(),
            apart: apart.into_iter().map(|((name, of), (why, on))| one(name, of, &why, on)).collect(),
            in_part: in_part.into_iter().map(|((name, of), (why, on))| one(name, of, &why, on)).collect(),
        };
        (accounts, fleet)
    }
}

/// The last answers of the others. The lock is held while they are asked.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    last: Arc<Mutex<Option<Last>>>,
    /// How often it was forgotten.
    forgotten: Arc<AtomicU64>,
    kept: Duration,
}

impl Default for Heard {
    fn default() -> Self {
        Self { last: Arc::default(), forgotten: Arc::default(), kept: KEPT }
    }
}

#[derive(Debug)]
struct Last {
    at: Instant,
    /// The configuration in force when they were asked.
    config: Arc<Config>,
    forgotten: u64,
    answered: Arc<Answered>,
}

impl Heard {
    /// Forgets their last answers, and those under way.
    pub(super) fn forget(&self) {
        self.forgotten.fetch_add(1, Relaxed);
    }

    /// The answers of `ask`, or those of a moment ago. `ask` runs to its end even where its caller has gone, so that at most one
    /// runs at a time.
    pub(super) async fn or(
        &self,
        config: &Arc<Config>,
        ask: impl Future<Output = Answered> + Send + 'static,
    ) -> Arc<Answered> {
        let mut last = Arc::clone(&self.last).lock_owned().await;
        let forgotten = self.forgotten.load(Relaxed);
        if let Some(last) = &*last
            && last.at.elapsed() < self.kept
            && Arc::ptr_eq(&last.config, config)
            && last.forgotten == forgotten
        {
            return Arc::clone(&last.answered);
        }
        let (config, all, kept) = (Arc::clone(config), Arc::clone(&self.last), self.kept);
        let asking = tokio::spawn(async move {
            *last = None;
            let answered = Arc::new(ask.await);
            *last = Some(Last { at: Instant::now(), config, forgotten, answered: Arc::clone(&answered) });
            drop(last);
            tokio::spawn(async move {
                sleep(kept).await;
                // The answers may be megabytes.
                all.lock().await.take_if(|last| last.at.elapsed() >= kept);
            });
            answered
        });
        // A panic has been logged; without answers of the others no mirror is promoted.
        asking.await.unwrap_or_else(|_| {
            let why = "asking them failed: see the log".to_owned();
            let missing = vec![Missing { replica: "all others".to_owned(), why }];
            Arc::new(Answered { books: Vec::new(), missing })
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;
    use crate::control::budget::tests::config;

    #[tokio::test]
    async fn however_many_want_a_verdict_the_others_are_asked_once_at_a_time_and_again_after_a_moment() {
        let (heard, config, count) = (
            Heard { kept: Duration::from_secs(3600), ..Heard::default() },
            Arc::new(config()),
            Arc::new(AtomicU64::new(0)),
        );
        let ask = || {
            let count = Arc::clone(&count);
            async move {
                count.fetch_add(1, Relaxed);
                Answered::default()
            }
        };
        let asked = || count.load(Relaxed);
        // The first caller goes before there is an answer.
        let (go, held) = oneshot::channel::<()>();
        let slow = {
            let ask = ask();
            async move {
                let _ = held.await;
                ask.await
            }
        };
        assert!(timeout(Duration::from_millis(1), heard.or(&config, slow)).await.is_err());
        assert!(timeout(Duration::from_millis(1), heard.or(&config, ask())).await.is_err());
        assert_eq!(asked(), 0, "the second waits for the first, though nobody else does");
        go.send(()).unwrap();
        for _ in 0..3 {
            heard.or(&config, ask()).await;
        }
        assert_eq!(asked(), 1);
        heard.forget();
        heard.or(&config, ask()).await;
        assert_eq!(asked(), 2, "evidence began anew");
        heard.or(&Arc::new(Config::clone(&config)), ask()).await;
        assert_eq!(asked(), 3, "another configuration has other peers");
        let heard = Heard { kept: Duration::from_millis(1), ..heard };
        heard.forget();
        heard.or(&config, ask()).await;
        while heard.last.lock().await.is_some() {
            tokio::task::yield_now().await;
        }
        heard.or(&config, ask()).await;
        assert_eq!(asked(), 5, "nothing is kept longer");
    }
}
