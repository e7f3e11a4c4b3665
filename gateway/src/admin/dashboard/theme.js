// Light or dark, as chosen before. It runs before the page is painted, so that it never flashes in the other one.
"use strict";
try {
  const theme = localStorage.getItem("umbra-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // A browser that keeps nothing shows the system's theme.
}
