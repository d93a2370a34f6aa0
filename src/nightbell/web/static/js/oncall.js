// The schedule's pages: the swap as a dialog, rows that are added and moved, a gap that fills the form.

const dialog = document.getElementById("swap");
const box = document.getElementById("swap-box");

const follow = (root) => {
  const form = root.querySelector("[data-swap]");
  form?.addEventListener("change", (event) => {
    const name = event.target.dataset.short;
    if (name) for (const el of form.querySelectorAll("[data-first]")) el.textContent = name;
  });
  const chosen = form?.querySelector("input[name=first]:checked");
  if (chosen) for (const el of form.querySelectorAll("[data-first]")) el.textContent = chosen.dataset.short;
};

// Without this the link leads to a page of its own, which can do the same.
const show = async (address) => {
  const answer = await fetch(address, { headers: { "X-Dialog": "1" }, redirect: "error" });
  if (!answer.ok) throw new Error(answer.status);
  box.innerHTML = await answer.text();
  follow(box);
  if (!dialog.open) dialog.showModal();
  box.querySelector("input:not([type=hidden])")?.focus();
};

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-dialog=swap]");
  if (link && dialog && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    show(link.href).catch(() => location.assign(link.href));
  }
  const closes = event.target.closest?.("[data-close]");
  if (closes && dialog?.open) {
    event.preventDefault();
    dialog.close();
  }
  const fill = event.target.closest?.("[data-fill]");
  if (fill) {
    event.preventDefault(); // going to the place would take the focus away again
    const names = ["from_day", "from_time", "to_day", "to_time"];
    fill.dataset.fill.split(" ").forEach((value, n) => {
      document.querySelector(`#change [name=${names[n]}]`).value = value;
    });
    document.getElementById("change").scrollIntoView({ block: "start" });
    document.getElementById("o-user").focus({ preventScroll: true });
  }
});
follow(document);

// Rows: each is added from a template and moved or taken away by its own buttons; their order is what counts.
let made = 0;
const number = (rows) => {
  [...rows.querySelectorAll("[data-row]")].forEach((row, n, all) => {
    const at = row.querySelector("[data-number]");
    if (at) at.textContent = n + 1;
    const up = row.querySelector("[data-up]");
    const down = row.querySelector("[data-down]");
    if (up) up.disabled = n === 0;
    if (down) down.disabled = n === all.length - 1;
  });
};
for (const rows of document.querySelectorAll("[data-rows]")) {
  number(rows);
  rows.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const row = button.closest("[data-row]");
    if ("add" in button.dataset) {
      const fresh = rows.querySelector("template").innerHTML.replaceAll("__key__", `n${++made}`);
      rows.querySelector("[data-list]").insertAdjacentHTML("beforeend", fresh);
      rows.querySelector("[data-list]").lastElementChild.querySelector("select, input:not([type=hidden])").focus();
    } else if ("up" in button.dataset && row.previousElementSibling) {
      row.previousElementSibling.before(row);
      button.focus();
    } else if ("down" in button.dataset && row.nextElementSibling) {
      row.nextElementSibling.after(row);
      button.focus();
    } else if ("remove" in button.dataset) {
      const near = row.nextElementSibling ?? row.previousElementSibling;
      row.remove();
      (near?.querySelector("select, input:not([type=hidden])") ?? rows.querySelector("[data-add]")).focus();
    } else return;
    number(rows);
  });
}
