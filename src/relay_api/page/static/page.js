// Signs in by a code in the fragment of the address: fragments are sent to no server and stand in no log.
"use strict";
(() => {
  const form = document.getElementById("sign-in");
  const code = location.hash.slice(1);
  if (!form || !/^[A-Za-z0-9_-]{20,}$/.test(code)) return;
  history.replaceState(null, "", location.pathname + location.search);
  form.elements.secret.value = code;
  form.requestSubmit();
})();

// Keys as on code hosts: `/` goes to the search field, `g r` to the runs, `g t` to the tasks, `g f` to the fleet.
(() => {
  let before = "";
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const field = document.querySelector("input[type=search]");
    if (event.key === "/" && field) {
      event.preventDefault();
      field.focus();
    }
    if (before === "g" && event.key === "r") location.assign("/");
    if (before === "g" && event.key === "t") location.assign("/tasks");
    if (before === "g" && event.key === "f") location.assign("/fleet");
    before = event.key;
  });
})();
