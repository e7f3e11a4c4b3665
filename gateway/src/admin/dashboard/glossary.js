// The words on this page, as the book has them.

import { byId, h, show } from "./dom.js";

const WORDS = [
  ["v1, primary", "The service whose responses clients get."],
  ["v2, mirror", "A service that gets copies of requests; no client ever sees its responses. Elsewhere: shadow."],
  ["baseline", "A mirror that is v1 once more: it measures how v1 differs from itself."],
  ["noise", "A difference that v1 shows against itself about as often: times, ids, random orders."],
  ["route", "What a request is matched by, its primary and its mirrors."],
  ["share", "Percent of a route's requests that a mirror gets copies of; above 100 % some are copied twice."],
  ["pair", "v1's and a mirror's response to the same request."],
  ["ledger", "The account of all copies. It balances: every eligible copy ends in exactly one way."],
  ["eligible", "A request of a route that has the mirror and that the mirror takes."],
  ["sampled out", "Not drawn: the mirror's share is less than 100 %."],
  ["skipped", "Not copied on purpose: it was a copy itself, or the client went away."],
  ["dropped", "A copy given up before its first byte was sent, by its reason. The client notices nothing."],
  ["failed", "A copy that was sent and got no whole response."],
  ["lost", "Dropped or failed."],
  ["ring", "The bounded queue of copies, one for each worker and mirror."],
  ["worker", "One core and everything that it owns."],
  ["p50, p99", "So many percent of the responses came in this time or less."],
  ["verdict", "Promote, hold or reject: whether v2 may take v1's place, by rules that each have their evidence."],
  ["evidence since", "Responses count from then on: one version of v1 against one of v2."],
  ["5xx", "Responses with a status of 500 or more."],
  ["cut short", "The client got no whole response."],
];

/** Fills the list once, when somebody opens it. */
export function glossary() {
  const list = byId("words");
  if (!list.childElementCount) show(list, ...WORDS.map(([word, means]) => h("div", {}, h("dt", {}, word), h("dd", {}, means))));
  byId("glossary-dialog").showModal();
}
