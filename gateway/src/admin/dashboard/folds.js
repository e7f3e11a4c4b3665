// On a phone the parts that are looked at second are their headings alone, until somebody opens one. What is wrong stands above
// them in any case.

import { h } from "./dom.js";

/** Gives each part a button; the style sheet shows it, and folds, where the screen is narrow. */
export function folds() {
  for (const part of document.querySelectorAll("[data-folds]")) {
    const heading = part.querySelector("h2");
    const name = heading.firstChild.textContent.trim();
    const button = h("button", { type: "button", class: "link unfold", "aria-expanded": "false", "aria-label": `Show ${name}` }, "Show");
    button.addEventListener("click", () => {
      const isFolded = part.classList.toggle("folded");
      button.setAttribute("aria-expanded", String(!isFolded));
      button.setAttribute("aria-label", `${isFolded ? "Show" : "Hide"} ${name}`);
      button.textContent = isFolded ? "Show" : "Hide";
    });
    part.classList.add("folded");
    heading.append(button);
  }
}
