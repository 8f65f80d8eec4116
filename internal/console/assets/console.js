// The console works without this module. It shows times in the viewer's zone, copies
// text, and adds the keys: / to search, the arrows to go through a list. The page Live
// grows as records come.

const zone = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
});

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

// localise shows the times in a part of the page in the viewer's zone.
function localise(part) {
  for (const time of part.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.getTime())) {
      const today = at.toDateString() === new Date().toDateString();
      time.title = `${time.dateTime} (UTC)`;
      time.textContent = (today && time.classList.contains("short") ? clock : zone).format(at);
    }
  }
}

localise(document);

const announce = document.getElementById("announce");

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy || document.getElementById(button.dataset.copyFrom).textContent);
    button.classList.add("done");
    announce.textContent = "Copied";
    setTimeout(() => { button.classList.remove("done"); announce.textContent = ""; }, 1500);
  });
}

const search = document.querySelector("input[type=search]");

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select") !== null;
  if (event.key === "Escape" && typing) {
    event.target.blur();
  }
  if (typing || event.altKey || event.ctrlKey || event.metaKey) {
    return;
  }
  if (event.key === "/" && search) {
    event.preventDefault();
    search.focus();
    search.select();
    return;
  }
  const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
  const rows = [...document.querySelectorAll("[data-row]")];
  if (!step || rows.length === 0) {
    return;
  }
  const at = rows.indexOf(document.activeElement.closest("[data-row]"));
  if (at < 0 && event.key.startsWith("Arrow")) {
    return; // the arrows scroll until a row is chosen with j, k or Tab
  }
  event.preventDefault();
  rows[Math.min(rows.length - 1, Math.max(0, at + step))].focus();
});

// earlier returns, for each partition, the smaller offset of two positions, which the
// stream sends as the ids of its records.
function earlier(a, b) {
  const parse = (text) => new Map(text.split(",").map((topic) => topic.split(":")).map(([name, ...offsets]) => [name, offsets]));
  const smaller = (x, y = "") => (x.length < y.length || x.length === y.length && x < y ? x : y); // to base 36
  const other = parse(b);
  return [...parse(a)].filter(([name]) => other.has(name))
    .map(([name, offsets]) => [name, ...offsets.map((x, n) => smaller(x, other.get(name)[n]))].join(":")).join(",") || "0";
}

// live adds the records of the stream to the table. The id of the last one is kept for
// this tab, so that a reload continues there. A reload takes a moment, in which the page
// before it can get records that the server had not read for the new one: so the stream
// continues where neither is ahead. A hidden page reads nothing.
function live(table) {
  const most = 500, body = table.tBodies[0], state = document.getElementById("state"), notice = document.getElementById("notice");
  const kept = `live ${table.dataset.stream}`;
  const ended = "The view ended. Reload the page; you may have to log in again.";
  let source = null, paused = false, came = 0;
  const seen = [sessionStorage.getItem(kept), table.dataset.after].filter(Boolean);
  let after = seen.length === 2 ? earlier(...seen) : seen[0];

  function show(text, tone) {
    if (state.textContent !== text) {
      state.textContent = text;
    }
    state.className = `tag ${tone}`;
  }

  function keep(event) {
    if (event.lastEventId) {
      after = event.lastEventId;
      sessionStorage.setItem(kept, after);
    }
  }

  function add(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    const row = template.content.firstElementChild;
    if (body.querySelector(`[data-receipt="${CSS.escape(row.dataset.receipt)}"]`)) {
      return;
    }
    localise(row);
    row.classList.add("new");
    let next = body.firstElementChild;
    while (next && next.dataset.written > row.dataset.written) {
      next = next.nextElementSibling;
    }
    body.insertBefore(row, next);
    if (body.rows.length > most) {
      body.lastElementChild.remove();
    }
    table.parentElement.hidden = false;
    document.getElementById("none").hidden = true;
    came++;
  }

  function tell(text) {
    notice.textContent = text;
    notice.hidden = text === "";
  }

  function stop() {
    source?.close();
    source = null;
  }

  function start() {
    if (source || paused || document.hidden) {
      return;
    }
    show("connecting", "");
    const address = new URL(table.dataset.stream, location);
    if (after) {
      address.searchParams.set("after", after);
    }
    source = new EventSource(address);
    source.addEventListener("open", () => {
      show("live", "good");
      if (notice.textContent === ended) {
        tell("");
      }
    });
    source.addEventListener("record", (event) => { add(event.data); keep(event); });
    source.addEventListener("position", keep);
    source.addEventListener("notice", (event) => { tell(event.data); keep(event); });
    source.addEventListener("problem", (event) => tell(event.data));
    source.addEventListener("error", () => {
      show("interrupted", "warn");
      if (source.readyState === EventSource.CLOSED) { // refused; the browser does not try again
        tell(ended);
        stop();
        setTimeout(start, 5000);
      }
    });
  }

  const pause = document.getElementById("pause");
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Continue" : "Pause";
    if (paused) {
      stop();
      show("paused", "");
    } else {
      start();
    }
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      stop();
    } else {
      start();
    }
  });
  addEventListener("pagehide", stop);
  addEventListener("pageshow", start); // also of a page that the browser had kept
  setInterval(() => { // not each record, which would drown a screen reader
    if (came > 0) {
      announce.textContent = `${came} new`;
      came = 0;
    }
  }, 10_000);
  start();
}

const table = document.getElementById("live");
if (table) {
  live(table);
}
