// What a gateway with much to tell would answer, for what no test has the time to bring about.

const Q = (count, p50, p99) => ({
  count,
  mean_seconds: p50 * 1.2,
  p50_seconds: p50,
  p90_seconds: (p50 + p99) / 2,
  p99_seconds: p99,
  p999_seconds: p99 * 2,
  max_seconds: p99 * 3,
});

const outcome = (route, pairs, matrix, v1, v2, ledger) => ({
  route,
  mirror: "v2",
  role: "candidate",
  pairs,
  matrix,
  latency: { primary: v1, mirror: v2, slower: v2, faster: v1 },
  bytes: { primary: null, mirror: null },
  lag: Q(pairs, 0.0004, 0.002),
  ledger,
});

const cell = (primary, mirror, count) => ({ primary, mirror, count });

export const outcomes = {
  outcomes: [
    outcome(
      "users",
      48_210,
      [cell("200", "200", 46_120), cell("200", "500", 912), cell("404", "404", 1_020), cell("200", "timeout", 158)],
      Q(48_210, 0.0031, 0.0122),
      Q(48_210, 0.0046, 0.0418),
      {
        eligible: 98_402,
        sampled_out: 49_100,
        skipped: { loop: 0, aborted: 120, primary_unavailable: 0, answer: 0 },
        dropped: { body_too_large: 40, ring_entries: 610, ring_bytes: 0, oldest: 0, unreachable: 312, worker_busy: 0, rate: 0, stale: 0, redaction: 0, drain: 0 },
        sent: 48_214,
        completed: { "1xx": 0, "2xx": 46_120, "3xx": 0, "4xx": 1_020, "5xx": 912 },
        failed: { timeout: 158, reset: 0, closed: 0, protocol: 0, drain: 0 },
        pending: 2,
        waiting: 4,
        in_flight: 4,
      },
    ),
    outcome("orders, all methods", 9_300, [cell("200", "200", 9_300)], Q(9_300, 0.0102, 0.0302), Q(9_300, 0.0087, 0.0231), {
      eligible: 9_300,
      sampled_out: 0,
      skipped: {},
      dropped: {},
      sent: 9_300,
      completed: { "2xx": 9_300 },
      failed: {},
      pending: 0,
      waiting: 0,
      in_flight: 0,
    }),
  ],
};

export const verdict = {
  verdict: "reject",
  mirrors: [
    {
      mirror: "v2",
      verdict: "reject",
      since: "2026-11-23T14:00:00Z",
      seconds: 1_000,
      pairs: 57_510,
      said: ["differs in $.user.plan on users: 4.2 % of 48210 pairs", "it waits for 2188 more samples"],
      rest: [],
      rules: [
        { rule: "mismatch_above_noise", route: "users", unit: "share", figure: 0.0612, threshold: 0.001, interval: [0.058, 0.064], samples: 48_210, needed: 3_000, enough: true, result: "fail", evidence: ["$.user.plan on users"] },
        { rule: "error_rate_difference", route: "users", unit: "share", figure: 0.0189, threshold: 0.001, interval: [0.0177, 0.0202], samples: 48_210, needed: 3_000, enough: true, result: "fail", evidence: [] },
        { rule: "p99_ratio", route: "orders, all methods", unit: "ratio", figure: 0.765, threshold: 1.2, interval: [0.71, 0.82], samples: 9_300, needed: 3_000, enough: true, result: "pass", evidence: [] },
        { rule: "copies_lost", route: "", figure: 0.0098, threshold: 0.01, interval: null, samples: 812, needed: 3_000, enough: false, result: "hold", why: "812 samples of the 3000 that it takes", evidence: [] },
      ],
    },
    {
      mirror: "v3",
      verdict: "hold",
      since: "2026-11-23T14:00:00Z",
      seconds: 1_000,
      pairs: 812,
      said: ["it waits for 2188 more samples"],
      rest: ["rare"],
      rules: [
        { rule: "copies_lost", route: "users", unit: "share", figure: 0, threshold: 0.01, interval: null, samples: 812, needed: 3_000, enough: false, result: "hold", evidence: [] },
        { rule: "copies_lost", route: "rare", unit: "share", figure: 0, threshold: 0.01, interval: null, samples: 1, needed: 3_000, enough: false, result: "hold", evidence: [] },
      ],
    },
  ],
};

/** What an upstream must not be able to put into the page. */
export const MARKUP = '<img src=x onerror="document.title=1">';

const group = (id, field, kind, count, primary, mirror, noise = false) => ({
  id,
  route: "users",
  mirror: "v2",
  field,
  kind,
  count,
  compared: 48_210,
  baseline_count: noise ? 6_008 : 0,
  baseline_compared: 6_020,
  is_noise: noise,
  example: { primary, mirror },
  first_seen: "2026-11-23T14:00:00Z",
  last_seen: "2026-11-23T14:12:31Z",
  samples: ["r-1"],
});

export const diffs = {
  compared: [{ route: "users", mirror: "v2", role: "candidate", compared: 48_210, contents: 48_000, differing: 2_952, skipped: { coded: 210 } }],
  groups: [
    group("g1", "$.user.plan", "changed", 2_040, '"pro"', '"free"'),
    group("g2", "status", "status", 912, "200", "500"),
    group("g3", "$.user.<b>name</b>", "missing", 64, JSON.stringify(MARKUP), null),
    group("g4", "date", "header", 48_002, "Mon, 23 Nov 2026 14:12:31 GMT", "Mon, 23 Nov 2026 14:12:32 GMT", true),
  ],
};

const answer = (status, plan) => ({
  status,
  fields: [
    ["content-type", "application/json"],
    ["server", "gunicorn/27.0.1"],
  ],
  content: JSON.stringify({ user: { id: 7, name: MARKUP, plan, tags: ["a", "b"] }, at: 12 }),
});

/** As somebody pastes it into a shell. */
export const COMMAND = "curl -g --path-as-is -i \\\n  'http://shop/users/7' \\\n  --connect-to '::10.0.0.1:80'";

const request = (is_safe) => ({ is_safe, curl_primary: COMMAND, curl_mirror: COMMAND.replace(".1:", ".2:"), left_out: ["authorization", "parameter token"] });

export const sample = {
  ...diffs.groups[0],
  samples: [
    { request_id: "4f1c6ad0", method: "GET", target: "/users/7", at: "2026-11-23T14:12:31Z", primary: answer(200, "pro"), mirror: answer(200, "free"), request: request(true) },
    { request_id: "4f1c6ad1", method: "POST", target: "/users/9", at: "2026-11-23T14:12:30Z", primary: answer(200, "pro"), mirror: answer(200, "free"), request: request(false) },
  ],
};

const again = {
  at: "2026-11-23T14:13:00Z",
  primary: { status: 200, seconds: 0.0031 },
  mirror: { status: 200, seconds: 0.0046 },
  differences: [{ field: "$.user.plan", kind: "changed", primary: '"pro"', mirror: '"free"' }],
  left_out: ["authorization", "parameter token"],
};

const route = (name, path) => ({ name, matches: [path], primaries: [{ upstream: "v1", weight: 1 }], mirrors: ["v2"] });

const routes = { routes: [route("idle", "/idle/*"), route("orders, all methods", "/orders/*"), route("users", "/users/*")] };

const mirror = (name, percent) => ({ name: "v2", route: name, upstream: "v2", role: "candidate", percent, configured_percent: percent });

const mirrors = { mirrors: [mirror("orders, all methods", 100), mirror("users", 50)] };

const line = (base) => Array.from({ length: 60 }, (_, n) => Math.round(base * (1 + 0.3 * Math.sin(n / 6))));

const trends = {
  step_seconds: 5,
  steps_max: 60,
  seconds: Array.from({ length: 60 }, () => 5),
  routes: [
    { route: "users", requests: line(800), errors: line(800).map((_, n) => (n % 30 === 7 ? 1 : 0)) },
    { route: "orders, all methods", requests: line(150) },
  ],
};

const BY_PATH = { "/outcomes": outcomes, "/verdict": verdict, "/diffs": diffs, "/diffs/g1": sample, "/diffs/g1/again": again, "/routes": routes, "/mirrors": mirrors, "/live/routes": trends };

/** Lets the page get these answers; everything else comes from the gateway. */
export async function told(page) {
  for (const [path, body] of Object.entries(BY_PATH)) {
    await page.route((url) => url.pathname === path, (route) => route.fulfill({ json: body }));
  }
}
