//! The shop's three services: products, a search, carts. The carts of v2 differ from v1's; the search differs from itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

/// First elements of the paths.
pub(super) const ROUTES: [&str; 3] = ["products", "search", "cart"];

/// The time that a service takes for an answer.
const WORK: Duration = Duration::from_millis(3);
/// The time that v2 takes for a cart.
const WORK_OF_V2: Duration = Duration::from_millis(12);

/// Every so many carts have a discount.
const DISCOUNT_EVERY: u64 = 5;
const DISCOUNT_PERCENT: u64 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

pub(super) fn shop(version: Version) -> Router {
    Router::new()
        .route("/products/{n}", get(product))
        .route("/search/{n}", get(search))
        .route("/cart/{n}", get(cart))
        .with_state(version)
}

async fn product(Path(n): Path<u64>) -> Json<Value> {
    tokio::time::sleep(WORK).await;
    Json(json!({ "id": n, "name": format!("Lantern No. {n}"), "cents": cents(n), "stock": n % 40 }))
}

/// Says how long it took, which is never the same twice.
async fn search(Path(n): Path<u64>) -> Json<Value> {
    tokio::time::sleep(WORK).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let hits: Vec<u64> = (0..5).map(|k| (n + k * 7) % 500).collect();
    Json(json!({ "query": format!("lantern {n}"), "hits": hits, "took_us": now.subsec_micros() }))
}

async fn cart(State(version): State<Version>, Path(n): Path<u64>) -> Json<Value> {
    tokio::time::sleep(if version == Version::V2 { WORK_OF_V2 } else { WORK }).await;
    Json(cart_of(version, n))
}

fn cart_of(version: Version, n: u64) -> Value {
    let items: Vec<Value> = (1..=n % 3 + 1).map(|k| json!({ "id": n + k, "cents": cents(n + k) })).collect();
    let full: u64 = (1..=n % 3 + 1).map(|k| cents(n + k)).sum();
    let has_discount = n.is_multiple_of(DISCOUNT_EVERY) && version == Version::V1;
    let total = if has_discount { full - full * DISCOUNT_PERCENT / 100 } else { full };
    json!({ "id": n, "items": items, "total_cents": total, "currency": "EUR" })
}

/// A price, the same whenever it is asked for.
fn cents(n: u64) -> u64 {
    1_000 + n % 100 * 37
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_is_wrong_about_the_totals_of_carts_with_a_discount_and_about_nothing_else() {
        let wrong: Vec<u64> =
            (0..20).filter(|n| cart_of(Version::V1, *n) != cart_of(Version::V2, *n)).collect();
        assert_eq!(wrong, [0, 5, 10, 15]);
        let (mut v1, mut v2) = (cart_of(Version::V1, 5), cart_of(Version::V2, 5));
        assert!(v1["total_cents"].as_u64() < v2["total_cents"].as_u64());
        for of in [&mut v1, &mut v2] {
            of["total_cents"] = Value::Null;
        }
        assert_eq!(v1, v2);
    }
}
