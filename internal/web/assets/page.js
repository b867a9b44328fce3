// What makes the pages better than they are without it: copying, filtering while typing, filtering on a choice.
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

for (const form of document.querySelectorAll("form[data-auto]")) {
  for (const button of form.querySelectorAll("button[type=submit]")) button.hidden = true; // a choice is enough
  form.addEventListener("change", () => form.requestSubmit());
  form.addEventListener("submit", () => {
    for (const field of form.elements) if (field.name && !field.value) field.disabled = true; // short URLs
  });
  addEventListener("pageshow", () => {
    for (const field of form.elements) field.disabled = false;
  });
}

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
