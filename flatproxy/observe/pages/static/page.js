"use strict";
// Brings the page up to date every ten seconds; without it the page is as it was when it was asked for.
const EVERY_MS = 10000;

async function renew() {
  const main = document.querySelector("main");
  const busy = document.activeElement && document.activeElement.matches("input");
  if (document.hidden || busy || String(getSelection())) {
    return;
  }
  try {
    const reply = await fetch(location.href, { cache: "no-store" });
    if (!reply.ok) {
      throw new Error(reply.statusText);
    }
    const made = new DOMParser().parseFromString(await reply.text(), "text/html");
    main.replaceWith(document.adoptNode(made.querySelector("main")));
    document.body.classList.remove("old");
  } catch {
    document.body.classList.add("old");
  }
}

setInterval(renew, EVERY_MS);
