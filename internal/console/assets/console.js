// The console works without this module. It shows times in the viewer's zone, copies
// text, and adds the keys: / to search, the arrows to go through a list.

const zone = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
});

for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  if (!Number.isNaN(at.getTime())) {
    time.title = `${time.dateTime} (UTC)`;
    time.textContent = zone.format(at);
  }
}

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
  if (event.key === "/") {
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
