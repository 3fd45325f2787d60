// The page's script: takes a photo, sends it to the program on this device, and shows the piece of HTML that it answers
// with. Texts come from there, escaped; what the browser knows alone (a file's name) is set as text, never as HTML.
"use strict";

const $ = (selector) => document.querySelector(selector);
const mostBytes = Number($("#main").dataset.mostBytes);
const tellEveryMs = 3000;
const slowMs = 10000;
const recallEveryMs = 500;
const saveMs = 60000; // in which the browser has written a file
const historyIdleMs = 1000 * Number($("#main").dataset.historyIdleS);
const askedKey = "securesplit-asked";
const token = sessionStorage.getItem("securesplit-token") ?? "";

let texts = $("#texts").dataset;
let photo = null; // the one that is shown or asked about, read into memory
let isAnyway = false; // whether it is asked about although it was refused
let asking = null; // ends the request that is under way
let idling = null; // ends when this tab has asked for nothing for long

// ---- the program on this device

async function call(path, options = {}) {
  clearTimeout(idling);
  idling = setTimeout(leave, historyIdleMs);
  const headers = { "X-Securesplit-Token": token, "Accept-Language": document.documentElement.lang };
  if (options.body) headers["Content-Type"] = "application/octet-stream";
  return fetch(path, { ...options, headers });
}

/** The piece of HTML that a request is answered with, or a problem with the same form. */
async function piece(path, options) {
  let response;
  let text;
  try {
    response = await call(path, options);
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return { ok: false, content: problem(texts.gone) };
  }
  if (!response.headers.get("Content-Type")?.startsWith("text/html")) {
    if (response.status === 403) close();
    return { ok: false, content: problem(texts.failed) };
  }
  const page = new DOMParser().parseFromString(text, "text/html");
  const content = document.createDocumentFragment();
  content.append(...page.body.childNodes);
  return { ok: response.ok, status: response.status, content };
}

/** This tab has no session, or its session has ended. */
function close() {
  $("main").replaceChildren($("#closed").content.cloneNode(true));
  $("main h1").focus();
}

function problem(text, { mayRetry = true } = {}) {
  const content = $("#problem").content.cloneNode(true);
  content.querySelector("[data-text]").textContent = text;
  if (!mayRetry) content.querySelector("[data-action=retry]").remove();
  return content;
}

/** What a problem says, as one text. */
function words(content) {
  const lines = [...content.querySelectorAll("[data-text], [data-hint]")].map((line) => line.textContent.trim());
  return lines.map((line) => (/[.?!]$/.test(line) ? line : `${line}.`)).join(" ");
}

function show(place, content) {
  place.replaceChildren(content);
  place.querySelectorAll("canvas[data-rgb]").forEach(paint);
  place.querySelectorAll("time").forEach(localise);
  place.querySelectorAll("[data-name]").forEach((name) => (name.textContent = photo?.name ?? ""));
  place.querySelectorAll("[data-crop]").forEach(frame);
}

function localise(time) {
  const form = new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeStyle: "short" });
  time.textContent = form.format(new Date(time.dateTime));
}

/** The page's language, with the region where the browser has one for it: English dates have several forms. */
function locale() {
  const { lang } = document.documentElement;
  return navigator.languages.find((each) => /^[a-z]+-[A-Z]{2}$/.test(each) && each.startsWith(`${lang}-`)) ?? lang;
}

// ---- pictures

function paint(canvas) {
  const rgb = Uint8Array.from(atob(canvas.dataset.rgb), (letter) => letter.charCodeAt(0));
  const image = new ImageData(canvas.width, canvas.height);
  for (let at = 0; at < canvas.width * canvas.height; at += 1) {
    image.data.set(rgb.subarray(3 * at, 3 * at + 3), 4 * at);
    image.data[4 * at + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** The middle of the photo as the browser reads it, if it can, until the program has its own view. */
async function preview(file) {
  const canvas = $("#preview");
  const image = await createImageBitmap(file).catch(() => null);
  if (!image || photo !== file) return;
  const side = Math.min(image.width, image.height);
  canvas.width = canvas.height = 300;
  canvas
    .getContext("2d")
    .drawImage(image, (image.width - side) / 2, (image.height - side) / 2, side, side, 0, 0, 300, 300);
  image.close();
  canvas.hidden = false;
}

/** The square that the network saw, in the whole photo. */
function frame(figure) {
  const canvas = figure.querySelector("canvas");
  const { width, height } = canvas;
  const [left, top, right, bottom] = figure.dataset.crop.split(" ").map(Number);
  const square = [left * width, top * height, (right - left) * width, (bottom - top) * height];
  const context = canvas.getContext("2d");
  context.fillStyle = "rgb(0 0 0 / 50%)";
  context.beginPath();
  context.rect(0, 0, width, height);
  context.rect(...square);
  context.fill("evenodd");
  context.strokeStyle = "white";
  context.lineWidth = 3;
  context.strokeRect(...square);
}

// ---- a photo's way

/** Waits for what `get` gives, a piece of HTML or nothing, and shows it; of several the last one counts. */
async function wait(get) {
  asking?.abort();
  const mine = new AbortController();
  const began = performance.now();
  const telling = setInterval(() => tell(mine, performance.now() - began), tellEveryMs);
  asking = mine;
  begin();
  try {
    const content = await get(mine.signal);
    if (asking !== mine) return;
    if (content) finish(content);
    else reset();
  } catch {
    // cancelled: another photo was taken, or none
  } finally {
    clearInterval(telling);
  }
}

async function ask(file, { anyway = false } = {}) {
  const id = crypto.randomUUID();
  sessionStorage.setItem(askedKey, id);
  [photo, isAnyway] = [file, anyway];
  await wait(async (signal) => {
    const isSmall = file.size <= mostBytes;
    const content = isSmall ? await file.arrayBuffer().catch(() => null) : null;
    if (signal.aborted) return null;
    if (content === null) return problem(isSmall ? texts.unreadable : texts.tooLarge, { mayRetry: false });
    photo = new File([content], file.name, { type: file.type }); // the file may change or go
    preview(photo);
    const wishes = new URLSearchParams({ id, ...(anyway && { anyway: "1" }) });
    return (await piece(`/api/photos?${wishes}`, { method: "POST", body: photo, signal })).content;
  });
}

/** What came of the photo that this tab asked about last: after the page was loaded again, or in another language. */
async function recall() {
  const id = sessionStorage.getItem(askedKey);
  await wait(async (signal) => {
    for (;;) {
      const { status, content } = await piece(`/api/answer?id=${id}`, { signal });
      if (status === 204 && photo) ask(photo, { anyway: isAnyway }); // which gives nothing more away
      if (status === 204) return null;
      if (status !== 202) return photo ? content : withoutPhoto(content);
      await new Promise((done) => setTimeout(done, recallEveryMs));
    }
  });
  if (!photo && $("#result h1")) note(texts.recalled);
}

function withoutPhoto(content) {
  content.querySelectorAll("[data-wants-photo]").forEach((element) => element.remove());
  return content;
}

/** The program need not remember what came of the last photo. */
function forget() {
  const id = sessionStorage.getItem(askedKey);
  sessionStorage.removeItem(askedKey);
  if (id) call(`/api/answer?id=${id}`, { method: "DELETE" }).catch(() => null);
}

/** How far the device's keys are on their way, which takes minutes on a slow line; else that it is still at work. */
async function tell(mine, tookMs) {
  const response = await call("/api/upload", { signal: mine.signal }).catch(() => null);
  const upload = response?.ok ? await response.text().catch(() => "") : "";
  const text = upload || (tookMs < slowMs ? texts.busy : texts.slow);
  if (asking !== mine || !$("#work")) return;
  if (text !== texts.busy && $("#live").textContent === texts.busy) say(text); // once: who listens need not hear every step
  $("#progress-text").textContent = text;
}

function begin() {
  if (!window.history.state) window.history.pushState({ isAsked: true }, ""); // so that Back comes to the beginning
  note("");
  $(".ask").hidden = true;
  $("#result").replaceChildren();
  $("#name").textContent = photo?.name ?? "";
  $("#preview").hidden = true;
  $("#work").hidden = false;
  window.scrollTo(0, 0); // a photo is pasted or dropped from anywhere
  $("#progress-text").textContent = texts.busy;
  say(texts.busy);
}

function finish(content) {
  asking = null;
  if (!$("#work")) return; // closed meanwhile
  $("#work").hidden = true;
  $(".ask").hidden = true;
  show($("#result"), content);
  $("#result h1")?.focus();
  say("");
  refresh("ledger");
  if ($("#history ul, #history [data-history=close]")) refresh("history");
}

function restart() {
  reset();
  $("#file").focus();
}

function reset() {
  asking?.abort();
  forget();
  [photo, asking] = [null, null];
  note("");
  $("#result").replaceChildren();
  $("#work").hidden = true;
  $(".ask").hidden = false;
}

function take(files) {
  if (!$("#result")) return; // closed
  const given = [...(files ?? [])];
  const first = given.find(isPhoto) ?? given[0];
  if (first) ask(first);
  note(first ? (given.length > 1 ? texts.one : "") : texts.notAPhoto);
}

/** Whether the file chooser would offer it; what it really is shows when it is read. */
function isPhoto({ name, type }) {
  const kinds = $("#file").accept.split(",");
  return kinds.some((kind) => (kind === "image/*" ? type.startsWith("image/") : name.toLowerCase().endsWith(kind)));
}

/** For screen readers; others see the same in the page. */
function say(text) {
  $("#live").textContent = text;
}

/** For everybody. */
function note(text) {
  $("#note").textContent = text;
}

// ---- ledger and history

async function refresh(name) {
  const { ok, content } = await piece(`/api/${name}`);
  const place = $(`#${name}`);
  if (!place) return; // closed meanwhile
  if (ok) show(place, content);
  else place.textContent = words(content);
}

/** One change at a time: making the key of a passphrase takes a while, which is said. */
async function changeHistory(path, options, doing = "") {
  const place = $("#history");
  if (isHeld(place)) return;
  hold(place, true);
  complain("");
  $("#history-doing").textContent = doing;
  const answer = await piece(path, options);
  if (!$("#history")) return; // closed meanwhile
  if (!place.isConnected) {
    refresh("history"); // in another language
    return;
  }
  const isInUse = place.contains(document.activeElement) || document.activeElement === document.body;
  $("#history-doing").textContent = "";
  hold(place, false);
  if (!answer.ok && $("#again")) await refresh("history"); // another tab may have begun it meanwhile
  if (answer.ok && options?.method === "DELETE") unkeep(path);
  if (answer.ok) show(place, answer.content);
  else complain(words(answer.content));
  if (isInUse) answer.ok ? $("#history-title").focus() : $("#passphrase")?.select();
}

/** An answer says that it is kept until its entry, or all of them, are removed. */
function unkeep(path) {
  const kept = $("#result .kept");
  if (path === "/api/history" || path.startsWith(`/api/history/${kept?.dataset.entry}?`)) kept?.remove();
}

/** All of it as a file, which only the browser writes. */
async function exportHistory() {
  const response = await call("/api/history/export").catch(() => null);
  const content = response?.ok ? await response.blob().catch(() => null) : null;
  if (response?.status === 403) close();
  else if (response?.status === 409) refresh("history"); // it was closed or erased elsewhere
  else if (content) save(content, "securesplit-history.json");
  else complain(response ? texts.failed : texts.gone);
}

function save(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), saveMs);
}

/** Buttons that do nothing for now; they keep the focus, which disabled ones lose. */
function hold(place, held) {
  place.querySelectorAll("button").forEach((button) => button.setAttribute("aria-disabled", held));
}

function isHeld(place) {
  return place.querySelector("[aria-disabled=true]") !== null;
}

/** Whoever opened the history may be gone: nobody else shall read it, and the program closes it, too. */
async function leave() {
  if (!$("#history [data-history=close]")) return;
  await call("/api/history/close", { method: "POST" }).catch(() => null);
  refresh("history");
}

/** In the history's card, which stays as it is. */
function complain(text) {
  const place = $("#history-problem");
  if (place) place.textContent = text;
  else if (text) $("#history").textContent = text;
}

// ---- what people do

document.addEventListener("change", ({ target }) => {
  if (target.type !== "file") return;
  if (target.files.length) take(target.files);
  target.value = "";
});

document.addEventListener("paste", (event) => {
  if (event.target.closest?.("input:not(.file)")) return; // a passphrase is pasted, not a photo
  const files = [...event.clipboardData.items].filter((item) => item.kind === "file").map((item) => item.getAsFile());
  take(files.map((file) => new File([file], file.name || texts.pasted, { type: file.type })));
});

for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  take(event.dataTransfer.files);
});

async function trySample() {
  const response = await call("/api/sample").catch(() => null);
  const drawn = response?.ok ? await response.blob().catch(() => null) : null;
  if (photo) return; // one was chosen meanwhile
  if (response?.status === 403) close();
  else if (!drawn) finish(problem(response ? texts.failed : texts.gone));
  else ask(new File([drawn], texts.sample, { type: "image/png" }));
}

/** The page in another language, with the answer that it shows or waits for. */
async function speak(address) {
  const response = await call(address).catch(() => null);
  const text = await response?.text().catch(() => null);
  if (!response?.ok || text === null) {
    if (response?.status === 403) close();
    else note(response ? texts.failed : texts.gone); // and the answer stays, as it is
    return;
  }
  const page = new DOMParser().parseFromString(text, "text/html");
  document.documentElement.lang = page.documentElement.lang;
  document.title = page.title;
  document.body.replaceChildren(...page.body.childNodes);
  texts = $("#texts").dataset;
  window.history.replaceState(window.history.state, "", address);
  refresh("ledger");
  refresh("history");
  if (isAsked()) recall();
}

function isAsked() {
  return sessionStorage.getItem(askedKey) !== null;
}

document.addEventListener("click", (event) => {
  if (event.target.matches("[aria-disabled=true]")) return;
  const { action, history, remove, skip } = event.target.dataset;
  if (event.target.id === "cancel") restart();
  if (event.target.id === "sample") trySample();
  if (event.target.hreflang && isAsked() && !(event.ctrlKey || event.metaKey || event.shiftKey)) {
    event.preventDefault();
    speak(event.target.href);
  }
  if (action === "again") restart();
  if (action === "anyway" && photo) ask(photo, { anyway: true });
  if (action === "retry") photo ? ask(photo, { anyway: isAnyway }) : restart();
  if (history === "close") changeHistory("/api/history/close", { method: "POST" });
  if (history === "export" && confirm(texts.export)) exportHistory();
  if (history === "erase" && confirm(texts.erase)) changeHistory("/api/history", { method: "DELETE" });
  if (skip && event.target.matches("button")) changeHistory(`/api/history?skip=${skip}`);
  if (remove && confirm(texts.remove)) {
    changeHistory(`/api/history/${remove}?skip=${$("#history ul").dataset.skip}`, { method: "DELETE" });
  }
});

/** Back to the beginning, from an answer or while one is waited for; the link to the content comes here, too. */
window.addEventListener("popstate", ({ state }) => {
  if (state || location.hash) return;
  window.history.replaceState(null, "", `/?lang=${document.documentElement.lang}`); // the address may be of another one
  if ($(".ask")?.hidden) restart();
});

document.addEventListener("submit", (event) => {
  event.preventDefault();
  const passphrase = $("#passphrase").value;
  if ($("#again") && $("#again").value !== passphrase) {
    complain(texts.differ);
    $("#passphrase").select();
  } else {
    changeHistory("/api/history/open", { method: "POST", body: passphrase }, texts.opening);
  }
});

if (token) {
  refresh("ledger");
  refresh("history");
  if (isAsked()) recall();
} else {
  close();
}
