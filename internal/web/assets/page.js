// What makes the pages better than they are without it: copying, filtering while typing, filtering on a choice,
// and following a run.
"use strict";

const say = (text) => {
  const status = document.getElementById("status");
  status.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => (status.textContent = ""), 2500);
};

// The clipboard is there on https and localhost alone; elsewhere the id is selected for the old command.
const copy = async (button) => {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    const range = document.createRange();
    range.selectNodeContents(document.getElementById(button.dataset.source));
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    if (!document.execCommand("copy")) return say("Selected: copy it with Ctrl+C");
  }
  say("Copied " + button.dataset.said);
};

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(button));
}

// On a server that only has files, the list is filtered here.
const filterHere = (form) => {
  let amis = 0, images = 0;
  for (const card of document.querySelectorAll(".card")) {
    const wanted = (name, has) => !form.elements[name].value || form.elements[name].value === has;
    const fits = ["distro", "version", "name", "arch", "kind"].every((name) => wanted(name, card.dataset[name]));
    let shown = 0;
    for (const row of card.querySelectorAll("[data-region]")) {
      row.hidden = !wanted("region", row.dataset.region);
      shown += !row.hidden;
    }
    card.hidden = !fits || (form.elements.region.value !== "" && shown === 0);
    if (!card.hidden) amis += shown, images++;
  }
  const counted = (n, what) => n + " " + what + (n === 1 ? "" : "s");
  document.querySelector(".count").textContent = counted(amis, "AMI") + " of " + counted(images, "image");
};

const isStatic = document.documentElement.hasAttribute("data-static");
const list = document.querySelector("form.filters");
if (isStatic && list) {
  list.querySelector("button").hidden = true;
  list.addEventListener("change", () => filterHere(list));
  addEventListener("pageshow", () => filterHere(list));
}

for (const form of isStatic ? [] : document.querySelectorAll("form[data-auto]")) {
  for (const button of form.querySelectorAll("button[type=submit]")) button.hidden = true; // a choice is enough
  form.addEventListener("change", () => form.requestSubmit());
  form.addEventListener("submit", () => {
    for (const field of form.elements) if (field.name && !field.value) field.disabled = true; // short URLs
  });
  addEventListener("pageshow", () => {
    for (const field of form.elements) field.disabled = false;
  });
}

if (isStatic) document.querySelectorAll("section form button").forEach((button) => (button.hidden = true));

for (const input of document.querySelectorAll("input[data-filter]")) {
  const rows = [...document.getElementById(input.dataset.filter).rows].map((row) => [row, row.textContent.toLowerCase()]);
  input.addEventListener("input", () => {
    const needle = input.value.trim().toLowerCase();
    let shown = 0;
    for (const [row, text] of rows) {
      row.hidden = !text.includes(needle);
      shown += !row.hidden;
    }
    say(shown + " of " + rows.length + " packages");
  });
}

// What goes on is asked for again, until it is over. A part of the page that has not changed stays as it is, with the focus and the selection in it.
const renew = (part, next) => {
  if (part.innerHTML === next.innerHTML) return;
  const log = part.querySelector("pre");
  const [top, end] = log ? [log.scrollTop, log.scrollTop + log.clientHeight >= log.scrollHeight - 4] : [0, false];
  part.replaceChildren(...next.childNodes);
  const now = part.querySelector("pre");
  if (now) now.scrollTop = end ? now.scrollHeight : top;
};

const follow = async (live) => {
  if (!document.hidden) {
    try {
      const answer = await fetch(location.pathname + location.search);
      const next = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
      if (answer.ok && next) {
        [...live.querySelectorAll("[data-part]")].forEach((part, n) => renew(part, next.querySelectorAll("[data-part]")[n]));
        if (!next.dataset.every) return say("It is over");
      }
    } catch {
      // the server is away; it may come back
    }
  }
  setTimeout(() => follow(live), 1000 * live.dataset.every);
};

const live = document.getElementById("live");
if (live && live.dataset.every) setTimeout(() => follow(live), 1000 * live.dataset.every);
