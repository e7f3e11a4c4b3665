// The dashboard in a browser, before a running gateway. `tests/it/dashboard.rs` starts the gateway and its traffic and
// says in the environment where they are. With SHOTS=FOLDER it also leaves pictures of the page there, for people.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, before, test as run } from "node:test";
import { MARKUP, told } from "./fixtures.js";

const { ADMIN, GUARDED, BASELINE, TOKEN, CHROMIUM, MODULES, SHOTS } = process.env;
const installed = createRequire(`${MODULES}/`);
const { chromium } = installed("playwright-core");
const axe = installed.resolve("axe-core/axe.min.js");

/** How long anything that must happen may take on a busy machine. */
const PATIENCE = 20_000;

/** One promise; what hangs fails. */
const test = (promise, body) => run(promise, { timeout: 6 * PATIENCE }, body);

let browser;
before(async () => {
  // Nothing but this gateway's own page is ever opened, so the sandbox, which needs rights that a container lacks, is off.
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
});
after(() => browser?.close());

/** Runs `body` with an open page; whatever the page complains of in its console fails the test. */
async function onPage({ at = ADMIN, fixtures = false, expected = [], ...options }, body) {
  const context = await browser.newContext({ viewport: { width: 1600, height: 1000 }, ...options });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.stack));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("request", (request) => {
    if (new URL(request.url()).host !== at) complaints.push(`asked ${request.url()}`);
  });
  if (fixtures) await told(page);
  await page.goto(`http://${at}/`);
  await page.locator("#state", { hasText: "live" }).waitFor();
  await body(page, context);
  const unexpected = complaints.filter((text) => !expected.some((pattern) => pattern.test(text)));
  assert.deepEqual(unexpected, []);
  await context.close();
}

/** What the gateway says of its mirror. */
const percent = async (at = ADMIN) => (await (await fetch(`http://${at}/mirrors`)).json()).mirrors[0].percent;

/** Waits until `read` gives `wanted`. */
async function becomes(wanted, read) {
  const deadline = Date.now() + PATIENCE;
  for (let found; ; await new Promise((resolve) => setTimeout(resolve, 50))) {
    found = await read();
    if (found === wanted) return;
    assert.ok(Date.now() < deadline, `${found} never became ${wanted}`);
  }
}

/** Pages that a gateway does not have are not the dashboard's fault. */
const MISSING = /status of 404/;

test("what the gateway does is on the page", async () => {
  await onPage({ expected: [MISSING] }, async (page) => {
    const tile = (name) => page.locator(".tile", { has: page.getByText(name, { exact: true }) }).locator("strong");
    await becomes(true, async () => Number.parseFloat(await tile("Requests").innerText()) > 0);
    await becomes(true, async () => Number.parseFloat(await tile("v1, p99").innerText()) > 0);
    await becomes(true, async () => Number.parseFloat(await tile("v2, p99").innerText()) > 0);
    await becomes(true, async () => Number.parseFloat(await tile("Copies").innerText()) > 0);
    await page.locator("#distribution-note", { hasText: "answers of v1" }).waitFor();
    const numbers = page.locator("#latency-chart details");
    await numbers.locator("summary").click();
    await numbers.locator("tbody tr").first().waitFor();
    assert.match(await numbers.locator("tbody tr").first().innerText(), /\d\s(ms|µs|s)/);
    await page.locator("#workers tbody tr").first().waitFor();
    await page.locator("#mirrors li").first().waitFor();
    assert.equal(await page.locator("#mirrors li").count(), 1);
    await page.locator("#written summary").click();
    await page.locator("#written-text", { hasText: "[[route]]" }).waitFor();
  });
});

test("a mirror's share is changed after a confirmation, paused and resumed", async () => {
  await onPage({ expected: [MISSING] }, async (page) => {
    const number = page.getByRole("spinbutton", { name: "Share of mirror v2 on route all as a number, percent" });
    const set = page.locator("#mirrors").getByRole("button", { name: "Set" });
    const dialog = page.locator("#confirm-dialog");
    // The gateway knows of a change before the page does, which draws the controls anew then.
    const shows = (share) => page.locator("#mirrors .figure", { hasText: share }).waitFor();
    await number.fill("25");
    await set.click();
    await dialog.getByRole("button", { name: "Cancel" }).click();
    assert.equal(await percent(), 100, "what was not confirmed is not done");
    await set.click();
    await dialog.getByRole("button", { name: "Set" }).click();
    await becomes(25, percent);
    await shows("25");
    await page.getByRole("button", { name: "Pause" }).click();
    await dialog.getByRole("button", { name: "Pause" }).click();
    await becomes(0, percent);
    await page.getByText("paused").waitFor();
    await page.getByRole("button", { name: /Resume at 25/ }).click();
    await dialog.getByRole("button", { name: "Resume" }).click();
    await becomes(25, percent);
    await shows("25");
    await page.getByRole("slider").press("End");
    await set.click();
    await dialog.getByRole("button", { name: "Set" }).click();
    await becomes(100, percent);
  });
});

test("a candidate is what is looked at first, by its own name, and paused elsewhere it goes on as configured", async () => {
  const patch = (percent) => fetch(`http://${BASELINE}/mirrors/next`, { method: "PATCH", body: JSON.stringify({ percent }), headers: { "content-type": "application/json" } });
  const { mirrors } = await (await fetch(`http://${BASELINE}/mirrors`)).json();
  assert.deepEqual(mirrors.map((mirror) => mirror.role), ["baseline", "candidate"]);
  await patch(100);
  await onPage({ at: BASELINE }, async (page) => {
    const choice = page.locator("#mirror-choice");
    await becomes("next", () => choice.inputValue());
    assert.deepEqual(await choice.locator("option").allInnerTexts(), ["next", "again (baseline)"]);
    await page.getByRole("heading", { name: "What next says differently" }).waitFor();
    await page.getByRole("heading", { name: "Is next ready?" }).waitFor();
    await page.locator("#matrix th", { hasText: "next →" }).waitFor();
    await page.locator("#differences tbody tr").first().waitFor();
    await page.locator("#distribution-note", { hasText: "that next answered too" }).waitFor();
    await page.locator("#latency-chart .legend", { hasText: "next p99" }).waitFor();
    const { compared } = await (await fetch(`http://${BASELINE}/diffs`)).json();
    await page.locator("#differences", { hasText: "pairs compared" }).waitFor();
    const told = Number((await page.locator("#differences .note").innerText()).replace(/\D/g, ""));
    const again = compared.find((of) => of.mirror === "again").compared;
    assert.ok(told < again, `${told} pairs are not the baseline's ${again} too`);
    if (SHOTS) await shots(page, "candidate");
    await choice.selectOption("again");
    await page.getByRole("heading", { name: "What again says differently" }).waitFor();
    await page.locator("#latency-chart .legend", { hasText: "again p99" }).waitFor();
    if (SHOTS) await shots(page, "baseline");
  });
  await patch(0);
  await onPage({ at: BASELINE }, async (page) => {
    await page.getByRole("button", { name: /Resume at 5\s%/ }).waitFor();
  });
});

/** Pictures of a page as it is, in both themes. */
async function shots(page, name) {
  for (const theme of ["light", "dark"]) {
    await page.getByLabel("Theme").selectOption(theme);
    await page.screenshot({ path: `${SHOTS}/${name}-${theme}.png`, fullPage: true });
  }
}

test("a guarded gateway is asked with a token that only this tab keeps", async () => {
  await onPage({ at: GUARDED, expected: [MISSING, /status of 401/] }, async (page, context) => {
    await page.getByRole("spinbutton", { name: "Share of mirror v2 on route all as a number, percent" }).fill("10");
    await page.locator("#mirrors").getByRole("button", { name: "Set" }).click();
    await page.locator("#confirm-dialog").getByRole("button", { name: "Set" }).click();
    const dialog = page.locator("#token-dialog");
    await dialog.getByLabel("Token", { exact: true }).fill("wrong");
    await dialog.getByRole("button", { name: "Use it" }).click();
    await becomes("", () => dialog.getByLabel("Token", { exact: true }).evaluate((field) => (field.value === "wrong" ? "" : field.value)));
    assert.equal(await percent(GUARDED), 100);
    await dialog.getByLabel("Token", { exact: true }).fill(TOKEN);
    await dialog.getByRole("button", { name: "Use it" }).click();
    await becomes(10, () => percent(GUARDED));
    const kept = await page.evaluate(() => [Object.values(sessionStorage), Object.values(localStorage), document.cookie]);
    assert.deepEqual(kept, [[TOKEN], [], ""]);
    assert.deepEqual(await context.cookies(), []);
  });
});

test("a route's weights are changed together", async () => {
  const weights = async () => {
    const { routes } = await (await fetch(`http://${GUARDED}/routes`)).json();
    return routes[0].primaries.map((primary) => primary.weight).join();
  };
  await onPage({ at: GUARDED, expected: [MISSING, /status of 401/] }, async (page) => {
    await page.getByRole("button", { name: "Token" }).click();
    await page.locator("#token-dialog").getByLabel("Token", { exact: true }).fill(TOKEN);
    await page.locator("#token-dialog").getByRole("button", { name: "Use it" }).click();
    await page.getByRole("spinbutton", { name: "Weight of primary on route all" }).fill("70");
    await page.getByRole("spinbutton", { name: "Weight of v2 on route all" }).fill("30");
    await page.getByRole("button", { name: "Set weights" }).click();
    await page.locator("#confirm-dialog").getByRole("button", { name: "Set" }).click();
    await becomes("70,30", weights);
  });
});

test("what a page knows is bounded and begins anew with another gateway", async () => {
  await onPage({ expected: [MISSING] }, async (page) => {
    const told = await page.evaluate(async () => {
      const { extend } = await import("/dashboard/history.js");
      const answer = (started, seq, mirrors) => ({
        started,
        seq,
        samples_max: 3,
        at: [seq],
        mirrors: mirrors.map((name) => ({ name, ledger: { sent: [seq] } })),
      });
      let history = null;
      const told = [];
      const take = (...next) => {
        history = extend(history, answer(...next));
        told.push(`${history.at}: ${history.mirrors.map(({ name, ledger }) => `${name} ${ledger.sent.map(String)}`)}`);
      };
      take(1, 1, ["a"]);
      take(1, 2, ["b"]);
      take(1, 3, ["b"]);
      take(1, 4, ["b"]);
      take(2, 1, ["a"]);
      return told;
    });
    assert.deepEqual(told, [
      "1: a 1",
      "1,2: b null,2,a 1,null",
      "1,2,3: b null,2,3,a 1,null,null",
      "2,3,4: b 2,3,4",
      "1: a 1",
    ]);
  });
});

test("both sides, the ledger, differences and the verdict are told as the gateway tells them", async () => {
  await onPage({ fixtures: true }, async (page) => {
    await page.locator("#verdict-word", { hasText: "reject" }).waitFor();
    await page.locator("#verdict tbody tr", { hasText: "copies lost" }).filter({ hasText: "that it takes" }).waitFor();
    await page.locator("#ledger svg").waitFor();
    assert.match(await page.locator("#ledger svg").getAttribute("aria-label"), /dropped: ring entries 0\.57/);
    await page.getByText("The ledger balances").waitFor();
    await page.locator("#matrix td", { hasText: "55\u202f420" }).waitFor();
    await page.getByRole("button", { name: "users" }).click();
    await page.locator("#matrix td", { hasText: "46\u202f120" }).waitFor();
    const noise = page.locator("#differences tbody tr").last();
    assert.match(await noise.innerText(), /date.*noise/s);
    await page.getByRole("button", { name: "$.user.plan" }).click();
    const dialog = page.locator("#sample-dialog");
    assert.match(await dialog.locator(".side.v1 mark").innerText(), /"plan": "pro"/);
    assert.match(await dialog.locator(".side.v2 mark").innerText(), /"plan": "free"/);
    // The table behind the dialog is drawn anew before it is closed.
    const table = await page.locator("#differences table").elementHandle();
    await page.waitForFunction((table) => !table.isConnected, table);
    await page.keyboard.press("Escape");
    await becomes("$.user.plan", () => page.evaluate(() => document.activeElement.textContent));
  });
});

test("what an upstream says stays text", async () => {
  await onPage({ fixtures: true }, async (page) => {
    await page.locator("#differences", { hasText: MARKUP.slice(0, 10) }).waitFor();
    await page.getByRole("button", { name: "$.user.plan" }).click();
    await page.locator("#sample-dialog .side.v2").waitFor();
    assert.equal(await page.locator("img[src=x], #differences b").count(), 0);
    assert.equal(await page.title(), "Umbra");
  });
});

test("nobody is kept out in either theme, on a wide screen or a small one", async () => {
  for (const colorScheme of ["light", "dark"]) {
    for (const [width, height] of [[1600, 1000], [360, 740]]) {
      await onPage({ fixtures: true, colorScheme, viewport: { width, height }, bypassCSP: true }, async (page) => {
        await page.locator("#differences table").waitFor();
        await page.locator("#matrix table").waitFor();
        await page.locator("#mirrors li").first().waitFor();
        await page.locator("#distribution-note", { hasText: "answers of v1" }).waitFor();
        if (SHOTS) await page.screenshot({ path: `${SHOTS}/${colorScheme}-${width}.png`, fullPage: true });
        for (const summary of await page.locator("summary").all()) await summary.click();
        await page.addScriptTag({ path: axe });
        const check = async () => {
          const { violations } = await page.evaluate(() => globalThis.axe.run(document));
          const said = violations.map((v) => `${v.id}: ${v.nodes.map((node) => `${node.target} ${node.failureSummary}`).join("; ")}`);
          assert.deepEqual(said, [], `${colorScheme} at ${width}`);
        };
        await check();
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(overflow <= 0, `${overflow} px wider than the screen of ${width}`);
        await page.getByRole("button", { name: "$.user.plan" }).click();
        await page.locator("#sample-dialog .side.v2").waitFor();
        await check();
      });
    }
  }
});

test("the keyboard reaches everything, from a link past the head", async () => {
  await onPage({ fixtures: true }, async (page) => {
    await page.locator("#mirrors li").first().waitFor();
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "To the figures");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "main");
    const reached = new Set();
    for (let n = 0; n < 80 && !reached.has("Routes"); n += 1) {
      await page.keyboard.press("Tab");
      const name = await page.evaluate(() => {
        const { tagName, type, textContent } = document.activeElement;
        if (type === "range") return "slider";
        if (tagName === "SUMMARY") return "summary";
        if (document.activeElement.closest("footer")) return "Routes";
        return textContent;
      });
      reached.add(name);
    }
    for (const name of ["summary", "users", "$.user.plan", "slider", "Pause", "Routes"]) {
      assert.ok(reached.has(name), `${name} is not reached: ${[...reached]}`);
    }
  });
});

test("the theme that is chosen stays", async () => {
  await onPage({ expected: [MISSING], colorScheme: "light" }, async (page) => {
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await ground();
    await page.getByLabel("Theme").selectOption("dark");
    assert.notEqual(await ground(), light);
    await page.reload();
    assert.notEqual(await ground(), light);
  });
});

test("a gateway that is away is said to be, and so is its return", async () => {
  await onPage({ expected: [MISSING, /ERR_INTERNET_DISCONNECTED/] }, async (page, context) => {
    await context.setOffline(true);
    await page.locator("#unreachable").waitFor();
    await page.locator("#state", { hasText: "unreachable" }).waitFor();
    await page.locator("#announcer", { hasText: "does not answer" }).waitFor({ state: "attached" });
    await context.setOffline(false);
    await page.locator("#state", { hasText: "live" }).waitFor();
    await page.locator("#unreachable").waitFor({ state: "hidden" });
  });
});
