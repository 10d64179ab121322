// Shows a log of any size: a window of its bytes, read by ranges, followed by server-sent events.
// Text of a log is hostile: it enters the document as text nodes only, and colours as classes or through the CSSOM.
"use strict";
(() => {
  const box = document.getElementById("log");
  if (!box) return;
  const part = (role) => box.querySelector(`[data-role=${role}]`);
  const lines = part("lines");
  const WINDOW = 128 * 1024; // bytes of one range
  const MOST_ROWS = 6000;
  const LONGEST_LINE = 16 * 1024; // bytes; longer ones are cut into several rows
  const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;
  const COLOURS = ["#57606a", "#cf222e", "#1a7f37", "#9a6700", "#0969da", "#8250df", "#1b7c83", "#8c959f"];

  let size = Number(box.dataset.size); // bytes known to be stored
  let first = 0; // offset of the first byte that is shown
  let last = 0; // offset after the last byte that is shown
  let closed = box.dataset.closed === "yes";
  let tail = null; // the row of the last line, while its newline is missing: {row, bytes, at}
  let loading = null;
  let source = null;
  let generation = 0;
  let follow = false;

  // --- colours -------------------------------------------------------------------------------------------------
  function palette(number) {
    if (number < 16) return COLOURS[number % 8];
    if (number >= 232) return `rgb(${Array(3).fill(8 + (number - 232) * 10).join(",")})`;
    const steps = [0, 95, 135, 175, 215, 255];
    const cube = number - 16;
    return `rgb(${steps[Math.floor(cube / 36)]},${steps[Math.floor(cube / 6) % 6]},${steps[cube % 6]})`;
  }

  function apply(style, codes) {
    for (let at = 0; at < codes.length; at += 1) {
      const code = codes[at];
      const deep = (code === 38 || code === 48) && (codes[at + 1] === 5 || codes[at + 1] === 2);
      if (deep) {
        const field = code === 38 ? "colour" : "ground";
        const count = codes[at + 1] === 5 ? 1 : 3;
        const values = codes.slice(at + 2, at + 2 + count).map((value) => Math.min(255, value));
        if (values.length === count) style[field] = count === 1 ? palette(values[0]) : `rgb(${values.join(",")})`;
        at += 1 + count;
      } else if (code === 0) Object.keys(style).forEach((name) => delete style[name]);
      else if (code === 22) { delete style.b; delete style.f; }
      else if ([1, 2, 3, 4, 9].includes(code)) style[{ 1: "b", 2: "f", 3: "i", 4: "u", 9: "s" }[code]] = true;
      else if ([23, 24, 29].includes(code)) delete style[{ 23: "i", 24: "u", 29: "s" }[code]];
      else if (code >= 30 && code <= 37) style.colour = `c${code - 30}`;
      else if (code >= 90 && code <= 97) style.colour = `c${code - 90}`;
      else if (code >= 40 && code <= 47) style.ground = `g${code - 40}`;
      else if (code >= 100 && code <= 107) style.ground = `g${code - 100}`;
      else if (code === 39) delete style.colour;
      else if (code === 49) delete style.ground;
    }
  }

  function span(text, style) {
    const shown = text.replace(UNSEEN, (char) => `<U+${char.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}>`);
    if (!Object.keys(style).length) return document.createTextNode(shown);
    const made = document.createElement("span");
    for (const name of ["b", "f", "i", "u", "s"]) if (style[name]) made.classList.add(name);
    for (const [name, field] of [["colour", "color"], ["ground", "backgroundColor"]]) {
      const value = style[name];
      if (value && value.startsWith("rgb")) made.style[field] = value;
      else if (value && value.startsWith("#")) made.style[field] = value;
      else if (value) made.classList.add(value);
    }
    made.textContent = shown;
    return made;
  }

  const ESCAPE = /\u001b(?:\[([0-9;:?]*)[ -/]*([@-~])|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[PX^_][^\u001b]*(?:\u001b\\)?|[@-Z\\-_=>()][0-9A-Za-z]?)/g;

  function fill(target, text) {
    const whole = text.replace(/\r+$/, "");
    const cut = whole.lastIndexOf("\r"); // a progress bar: what stood last on the line
    const line = cut < 0 ? whole : whole.slice(cut + 1);
    const style = {};
    let at = 0;
    target.replaceChildren();
    for (const found of line.matchAll(ESCAPE)) {
      if (found.index > at) target.append(span(line.slice(at, found.index), style));
      if (found[2] === "m") apply(style, (found[1] || "0").split(/[;:]/).map(Number));
      at = found.index + found[0].length;
    }
    if (at < line.length) target.append(span(line.slice(at), style));
  }

  // --- rows ----------------------------------------------------------------------------------------------------
  const decoder = new TextDecoder("utf-8");

  function makeRow(bytes, at) {
    const row = document.createElement("div");
    row.className = "row";
    row.dataset.at = at;
    const link = document.createElement("a");
    link.className = "no";
    link.href = `#b${at}`;
    link.tabIndex = -1;
    link.setAttribute("aria-label", `byte ${at}`);
    const text = document.createElement("span");
    text.className = "t";
    fill(text, decoder.decode(bytes));
    row.append(link, text);
    if (location.hash === `#b${at}`) row.classList.add("hit");
    return row;
  }

  function split(bytes, at) {
    // Returns [{bytes, at, whole}]: one for each line, without its newline.
    const found = [];
    let from = 0;
    while (from < bytes.length) {
      const newline = bytes.indexOf(10, from);
      let end = newline < 0 ? bytes.length : newline;
      const long = end - from > LONGEST_LINE;
      if (long) {
        end = from + LONGEST_LINE;
        while (end > from + 1 && (bytes[end] & 0xc0) === 0x80) end -= 1; // not within a character
      }
      found.push({ bytes: bytes.subarray(from, end), at: at + from, whole: long || newline >= 0 });
      from = long || newline < 0 ? end : end + 1;
    }
    return found;
  }

  function join(a, b) {
    const both = new Uint8Array(a.length + b.length);
    both.set(a);
    both.set(b, a.length);
    return both;
  }

  function number() {
    if (first !== 0) {
      lines.querySelectorAll(".no[data-no]").forEach((link) => { link.dataset.no = "·"; });
      for (const row of lines.children) row.firstChild.dataset.no = "·";
      return;
    }
    let count = lines.firstChild ? 1 : 0;
    for (const row of lines.children) row.firstChild.dataset.no = count++;
  }

  function append(bytes, at) {
    // Shows bytes that follow those that are shown; bytes that are shown already are skipped.
    if (at + bytes.length <= last) return;
    if (at < last) { bytes = bytes.subarray(last - at); at = last; }
    const counted = first === 0;
    let next = counted && lines.lastChild ? Number(lines.lastChild.firstChild.dataset.no) + 1 : 1;
    if (tail) {
      bytes = join(tail.bytes, bytes);
      at = tail.at;
      tail.row.remove();
      next = Math.max(1, next - 1);
      tail = null;
    }
    const made = document.createDocumentFragment();
    for (const line of split(bytes, at)) {
      const row = makeRow(line.bytes, line.at);
      row.firstChild.dataset.no = counted ? next++ : "·";
      made.append(row);
      if (!line.whole) tail = { row, bytes: line.bytes.slice(), at: line.at };
    }
    lines.append(made);
    last = at + bytes.length;
    size = Math.max(size, last);
    if (lines.children.length > MOST_ROWS) dropFirst(lines.children.length - MOST_ROWS);
  }

  function dropFirst(count) {
    const height = lines.scrollHeight;
    for (let done = 0; done < count; done += 1) lines.firstChild.remove();
    first = Number(lines.firstChild.dataset.at);
    lines.scrollTop -= height - lines.scrollHeight;
  }

  function prepend(bytes, at) {
    const height = lines.scrollHeight;
    const made = document.createDocumentFragment();
    for (const line of split(bytes, at)) made.append(makeRow(line.bytes, line.at));
    lines.prepend(made);
    first = at;
    number();
    lines.scrollTop += lines.scrollHeight - height;
    while (lines.children.length > MOST_ROWS) {
      last = Number(lines.lastChild.dataset.at);
      lines.lastChild.remove();
      tail = null;
    }
    if (last < size) stopStream();
  }

  // --- reading -------------------------------------------------------------------------------------------------
  const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

  async function range(from, to) {
    for (let pause = 250; ; pause = Math.min(4000, pause * 2)) {
      try {
        const answer = await fetch(box.dataset.raw, { headers: { Range: `bytes=${from}-${to - 1}` }, cache: "no-store" });
        if (answer.status === 206) return new Uint8Array(await answer.arrayBuffer());
        if (answer.status === 416) return new Uint8Array(0);
        if (answer.status < 500) { say(`cannot be read (${answer.status})`); throw new Error("refused"); }
      } catch (error) {
        if (error.message === "refused") throw error;
      }
      say("reconnecting …");
      await wait(pause);
    }
  }

  function say(text) { part("state").textContent = text; }

  function human(count) {
    if (count < 1024) return `${count} B`;
    return count < 1 << 20 ? `${(count / 1024).toFixed(1)} KiB` : `${(count / (1 << 20)).toFixed(1)} MiB`;
  }

  function report() {
    const shown = first === 0 && last >= size ? "" : `${human(first)} – ${human(last)} of `;
    say(`${shown}${human(size)}${closed ? "" : " · running"}`);
  }

  async function open(from, to, place) {
    // Shows the window [from, to) anew; `place` is "end" or an offset to scroll to.
    const mine = ++generation;
    stopStream();
    let start = Math.max(0, from);
    let bytes = to > start ? await range(start, to) : new Uint8Array(0);
    if (mine !== generation) return;
    if (start > 0 && place !== start) { // begin with a whole line
      const newline = bytes.subarray(0, LONGEST_LINE).indexOf(10);
      if (newline >= 0) { bytes = bytes.subarray(newline + 1); start += newline + 1; }
    }
    lines.replaceChildren();
    tail = null;
    first = last = start;
    append(bytes, start);
    number();
    if (place === "end") lines.scrollTop = lines.scrollHeight;
    else show(place);
    report();
    if (last >= size) startStream();
  }

  function show(at) {
    let hit = null;
    for (const row of lines.children) {
      row.classList.remove("hit");
      if (Number(row.dataset.at) <= at) hit = row;
    }
    if (!hit) return;
    if (location.hash) hit.classList.add("hit");
    lines.scrollTop = hit.offsetTop - lines.offsetTop - lines.clientHeight / 3;
  }

  async function once(work) {
    if (loading) return;
    loading = work();
    try { await loading; } catch (error) { console.error(error); } finally { loading = null; }
    report();
  }

  async function earlier() {
    if (first === 0) return;
    const mine = generation;
    let from = Math.max(0, first - WINDOW);
    let bytes = await range(from, first);
    if (mine !== generation) return;
    if (from > 0) {
      const newline = bytes.subarray(0, LONGEST_LINE).indexOf(10);
      if (newline >= 0 && newline + 1 < bytes.length) { bytes = bytes.subarray(newline + 1); from += newline + 1; }
    }
    prepend(bytes, from);
  }

  async function later() {
    if (last >= size) { startStream(); return; }
    const mine = generation;
    const bytes = await range(last, Math.min(size, last + WINDOW));
    if (mine !== generation) return;
    append(bytes, last);
    if (last >= size) startStream();
  }

  // --- following -----------------------------------------------------------------------------------------------
  function startStream() {
    if (source || closed) return;
    const url = new URL(box.dataset.stream, location.href);
    url.searchParams.set("offset", last);
    source = new EventSource(url);
    source.onmessage = (event) => {
      const data = JSON.parse(event.data);
      const bytes = Uint8Array.from(atob(data.b64), (char) => char.charCodeAt(0));
      append(bytes, data.offset);
      if (follow) lines.scrollTop = lines.scrollHeight;
      report();
    };
    source.addEventListener("end", () => {
      closed = true;
      stopStream();
      report();
    });
    source.onopen = report;
    source.onerror = () => { // a browser gives up after an answer that is no stream, as of a proxy while the API starts
      say("reconnecting …");
      if (source && source.readyState === EventSource.CLOSED) {
        stopStream();
        setTimeout(() => { if (last >= size) startStream(); }, 1000);
      }
    };
  }

  function stopStream() {
    if (source) source.close();
    source = null;
  }

  function setFollow(on) {
    follow = on;
    part("follow").checked = on;
    if (on && last < size) open(size - WINDOW, size, "end");
    else if (on) lines.scrollTop = lines.scrollHeight;
  }

  // --- controls ------------------------------------------------------------------------------------------------
  lines.addEventListener("scroll", () => {
    const below = lines.scrollHeight - lines.scrollTop - lines.clientHeight;
    if (follow && below > 40) setFollow(false);
    else if (!follow && !closed && below < 4 && last >= size) setFollow(true);
    if (lines.scrollTop < 400 && first > 0) once(earlier);
    if (below < 400 && last < size) once(later);
  });
  part("follow").addEventListener("change", (event) => setFollow(event.target.checked));
  part("wrap").addEventListener("change", (event) => lines.classList.toggle("nowrap", !event.target.checked));
  part("top").addEventListener("click", () => { setFollow(false); open(0, Math.min(size, WINDOW), 0); });
  part("end").addEventListener("click", () => open(size - WINDOW, size, "end"));
  lines.addEventListener("keydown", (event) => {
    if (event.key === "Home") part("top").click();
    else if (event.key === "End") part("end").click();
    else return;
    event.preventDefault();
  });

  function wanted() {
    const found = /^#b(\d{1,15})$/.exec(location.hash);
    return found ? Number(found[1]) : null;
  }

  function begin() {
    const at = wanted();
    if (at === null || at >= size) {
      follow = !closed;
      part("follow").checked = follow;
      return open(size - WINDOW, size, "end");
    }
    if (lines.firstChild && at >= first && at < last) return show(at);
    setFollow(false);
    const from = at <= WINDOW / 2 ? 0 : at - WINDOW / 2;
    return open(from, Math.min(size, from + WINDOW), at);
  }
  window.addEventListener("hashchange", begin);
  begin();
})();
