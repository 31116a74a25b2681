// Takes images, asks the server about a few at a time, and shows the answers.

import * as cards from "./cards.js";
import { megabytes, showModel, showNotice } from "./model.js";
import { ask, keepToken, Refused } from "./server.js";

const AT_ONCE = 3;
const byId = (id) => document.getElementById(id);

let model = null;
let shown = [];
let waiting = [];
let running = 0;
let session = new AbortController();

async function loadModel() {
  try {
    model = await (await ask("page/model")).json();
  } catch (error) {
    askForToken(error);
    return;
  }
  byId("token-form").hidden = true;
  showNotice(null);
  showModel(model);
  work();
}

function askForToken(error) {
  const isAsked = error.status === 401;
  const isWrong = isAsked && byId("token").value;
  byId("token-form").hidden = !isAsked;
  showNotice(isAsked && !isWrong ? null : isWrong ? new Refused("That is not the token.") : error);
  if (isAsked) byId("token").focus();
}

function add(files) {
  if (!files.length || (model && !model.classifier)) return;
  const added = Array.from(files, cards.makeCard);
  byId("results").prepend(...added.map((card) => card.item));
  shown.push(...added);
  waiting.push(...added);
  work();
}

function work() {
  // What comes before the model is known waits for it.
  while (model && running < AT_ONCE && waiting.length) {
    running++;
    classify(waiting.shift(), session.signal).finally(() => {
      running--;
      work();
    });
  }
  showProgress();
}

async function classify(card, signal) {
  cards.showWaiting(card, "Asking the model");
  try {
    await check(card.file);
    const response = await ask("page/predict", { body: card.file, signal });
    const { version, predictions } = await response.json().catch(() => {
      // Infinity and NaN, which the API writes as such, are no JSON to a browser.
      throw new Refused("the model’s probabilities are not numbers");
    });
    card.version = version;
    if (version !== model.version) await loadModel();
    if (!signal.aborted) announce(cards.showAnswer(card, predictions[0], model, explain));
  } catch (error) {
    if (signal.aborted) return;
    if (error.status === 401) askForToken(error);
    announce(cards.showProblem(card, error, () => repeat(card)));
  }
}

async function check(file) {
  // The server would close the connection, and its sentence would be lost with it.
  if (file.size > model.max_body_bytes) throw new Refused(`larger than ${megabytes(model)}`);
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Refused("cannot be read here; a folder, or a file that has changed since");
  }
}

function repeat(card) {
  cards.showWaiting(card, "Waiting");
  waiting.push(card);
  work();
  card.item.focus(); // the button is gone
}

async function explain(card, choice, button) {
  const isPressed = button.getAttribute("aria-pressed") === "true";
  if (!card.heat && !(await drawHeatMap(card, choice, button))) return;
  cards.hideHeatMap(card, isPressed);
  button.setAttribute("aria-pressed", String(!isPressed));
}

async function drawHeatMap(card, choice, button) {
  const { signal } = session;
  button.setAttribute("aria-busy", "true");
  try {
    const path = `page/heat_map?version=${card.version}&label_id=${choice.id}`;
    const picture = await (await ask(path, { body: card.file, signal })).blob();
    const fits = model.classifier.shape === "stretch";
    cards.showHeatMap(card, URL.createObjectURL(picture), choice, fits);
    announce(`${card.name}: coloured where it speaks for ${choice.name}`);
    return true;
  } catch (error) {
    if (!signal.aborted) showNotice(error);
    return false;
  } finally {
    button.removeAttribute("aria-busy");
  }
}

function showProgress() {
  const done = shown.length - waiting.length - running;
  byId("summary").hidden = !shown.length;
  byId("progress").max = shown.length || 1;
  byId("progress").value = done;
  byId("progress").hidden = done === shown.length;
  const images = `${shown.length} image${shown.length === 1 ? "" : "s"}`;
  byId("status").textContent = done === shown.length ? images : `${done} of ${images}`;
}

function announce(sentence) {
  const line = document.createElement("p");
  line.textContent = sentence;
  byId("announcements").append(line);
}

function clear() {
  session.abort();
  session = new AbortController();
  shown.forEach(cards.release);
  shown = [];
  waiting = [];
  byId("results").replaceChildren();
  byId("announcements").replaceChildren();
  showNotice(null);
  showProgress();
  byId("choose").focus();
}

function listenForFiles() {
  for (const [buttonId, inputId] of [["choose", "files"], ["photograph", "camera"]]) {
    const input = byId(inputId);
    byId(buttonId).addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      add(input.files);
      input.value = ""; // so that the same file can be chosen twice
    });
  }
  document.addEventListener("paste", (event) => add(event.clipboardData?.files ?? []));
}

function listenForDrops() {
  const mark = (isOver) => byId("drop").classList.toggle("over", isOver);
  document.addEventListener("dragover", (event) => {
    event.preventDefault(); // or the browser would open the file in place of the page
    mark(event.dataTransfer.types.includes("Files"));
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) mark(false);
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    add(event.dataTransfer.files);
  });
}

async function copyExample() {
  await navigator.clipboard.writeText(byId("example").textContent);
  byId("copy").textContent = "Copied";
}

listenForFiles();
listenForDrops();
byId("clear").addEventListener("click", clear);
byId("copy").hidden = !navigator.clipboard; // there is none on unencrypted pages of other machines
byId("copy").addEventListener("click", () => copyExample().catch(showNotice));
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keepToken(byId("token").value);
  loadModel();
});
loadModel();
