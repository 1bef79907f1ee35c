"use strict";

// Filters of the first page: all that has a cell's data is shown or hidden by what the form says.
const form = document.getElementById("filters");

function atLeast(driver, floor) {
  const [have, need] = [driver, floor].map((text) => text.split(".").map(Number));
  for (let place = 0; place < Math.max(have.length, need.length); place += 1) {
    const difference = (have[place] || 0) - (need[place] || 0);
    if (difference) return difference > 0;
  }
  return true;
}

function fits(data, asked) {
  if (["engine", "cuda", "gpu", "state"].some((name) => asked[name] && asked[name] !== data[name])) return false;
  return !/^\d+(\.\d+)*$/.test(asked.driver) || !data.driver || atLeast(asked.driver, data.driver);
}

function filter() {
  const asked = Object.fromEntries(new FormData(form));
  asked.driver = asked.driver.trim();
  const rows = [...document.querySelectorAll("tr[data-engine]")];
  for (const each of [...rows, ...document.querySelectorAll("a[data-engine]")]) each.hidden = !fits(each.dataset, asked);
  document.getElementById("count").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} cells`;
}

if (form) {
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
}

// A button beside each command that copies it, and says that it did.
async function copy(text, code) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    getSelection().selectAllChildren(code); // where pages may not write to the clipboard by themselves
    if (!document.execCommand("copy")) return "Select it and copy";
  }
  return "Copied";
}

for (const command of document.querySelectorAll("[data-copy]")) {
  const code = command.querySelector("code");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-live", "polite");
  button.addEventListener("click", async () => {
    button.textContent = await copy(code.textContent, code);
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  command.append(button);
}
