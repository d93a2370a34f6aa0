// Moving through the inbox with the keyboard. Opening is always a deliberate act, for it is logged.
import { busy } from "./page.js";

const rows = [...document.querySelectorAll("[data-alert], [data-row]")];
let at = -1;

const link = (row) => row.querySelector("a.go, h3 a");

const move = (to) => {
  if (!rows.length) return;
  rows[at]?.classList.remove("is-at");
  at = Math.max(0, Math.min(rows.length - 1, to));
  rows[at].classList.add("is-at");
  link(rows[at]).focus({ preventScroll: true });
  rows[at].scrollIntoView({ block: "nearest" });
};

for (const row of rows) {
  row.addEventListener("focusin", () => {
    rows[at]?.classList.remove("is-at");
    at = rows.indexOf(row);
    row.classList.add("is-at");
  });
}

const take = (row) => {
  const form = row.querySelector("form[action$='/take']");
  if (form) return form.requestSubmit();
  if (row.dataset.state !== "new") return;
  // A row is one link; its form is made when it is wanted.
  const key = document.querySelector("input[name=csrfmiddlewaretoken]");
  const made = document.createElement("form");
  made.method = "post";
  made.action = `/m/${row.dataset.id}/take`;
  made.append(key.cloneNode());
  document.body.append(made);
  made.submit();
};

const does = {
  j: () => move(at + 1),
  ArrowDown: () => move(at + 1),
  k: () => move(at - 1),
  ArrowUp: () => move(at - 1),
  t: () => at >= 0 && document.querySelector(".nb-take, form[action$='/take']") && take(rows[at]),
};

document.addEventListener("keydown", (event) => {
  if (busy(event)) return;
  const act = does[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
