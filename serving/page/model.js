// Shows which model is served, and how a program asks it.

import { ask, hasToken } from "./server.js";

const byId = (id) => document.getElementById(id);
const count = (number, noun, plural = `${noun}s`) =>
  `${number.toLocaleString("en")} ${number === 1 ? noun : plural}`;

export function element(tag, { text = "", className = "", ...properties } = {}, children = []) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  if (className) made.className = className;
  Object.assign(made, properties);
  made.append(...children);
  return made;
}

export const percent = (share) => {
  if (share > 0 && share < 0.0005) return "<0.1%";
  if (share < 1 && share >= 0.9995) return ">99.9%";
  return `${(100 * share).toFixed(1)}%`;
};

export function showModel(model) {
  document.title = `${model.name}: try the model`;
  byId("name").textContent = model.name;
  byId("facts").replaceChildren(...facts(model).map((text) => element("li", { text })));
  byId("verdict").textContent = model.classifier?.record?.verdict ?? "";
  byId("limits").textContent = `Files are sent as they are, up to ${megabytes(model)} each.`;
  byId("try").hidden = !model.classifier;
  byId("signatures").hidden = Boolean(model.classifier);
  if (!model.classifier) showSignatures(model.signatures);
  showLinks(model.classifier);
  showExample(model);
}

export const megabytes = (model) => `${Math.round(model.max_body_bytes / 2 ** 20)} MiB`;

function facts({ version, classifier }) {
  const shown = [`Version ${version}`];
  if (!classifier) return shown;
  const { record, classes, train_images: trained } = classifier;
  if (classes.length) shown.push(count(classes.length, "class", "classes"));
  if (trained) shown.push(`trained on ${count(trained, "image")}`);
  if (!record) return shown;
  if (record.model === "baseline") shown.push("head-only baseline");
  shown.push(`accuracy ${percent(record.accuracy)} on ${count(record.test_images, "test image")}`);
  const moment = record.rolled_back || record.pushed;
  shown.push(`${record.rolled_back ? "rolled back" : "pushed"} ${day(moment)}`);
  return shown;
}

// Of Greenwich, as in the report.
const day = (moment) =>
  new Date(moment).toLocaleDateString("en-GB", { dateStyle: "long", timeZone: "UTC" });

function showLinks(classifier) {
  const links = [];
  if (classifier?.has_report) links.push(documentLink("Report of its run", "report", "report.html"));
  if (classifier?.has_card) links.push(documentLink("Model card", "model_card", "model_card.md"));
  byId("links").replaceChildren(...links);
  byId("links").hidden = !links.length;
}

function documentLink(text, path, fileName) {
  // A link carries no token. What is fetched with one is saved: opened from this page, the report
  // would fall under this page's policy.
  if (!hasToken()) return element("a", { text, href: path, target: "_blank", rel: "noopener" });
  const button = element("button", { text: `${text} (download)`, type: "button", className: "link" });
  button.addEventListener("click", () => save(path, fileName).catch(showNotice));
  return button;
}

async function save(path, fileName) {
  const href = URL.createObjectURL(await (await ask(path)).blob());
  element("a", { href, download: fileName }).click();
  setTimeout(() => URL.revokeObjectURL(href), 0);
}

export function showNotice(error) {
  byId("notice").textContent = error ? error.message : "";
  byId("notice").hidden = !error;
}

function showSignatures(signatures) {
  const rows = signatures.flatMap(({ name, inputs, outputs }) => [
    element("dt", {}, [element("code", { text: name })]),
    element("dd", { text: `takes ${inputs.join(", ")}` }),
    element("dd", { text: `returns ${outputs.join(", ")}` }),
  ]);
  byId("signature-list").replaceChildren(...rows);
}

function showExample(model) {
  const server = location.href.replace(/[?#].*$/, "").replace(/[^/]*$/, "");
  const token = model.needs_token ? ' -H "Authorization: Bearer $THAW_TOKEN"' : "";
  const address = `${server}${model.path}`;
  byId("example").textContent = `${model.body} |\n  curl ${address}${token} -d @-`;
  byId("program").hidden = !model.body;
}
