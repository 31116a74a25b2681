// One image's card: its picture, and what the model says of it.

import { element, percent } from "./model.js";

const MOST_CLASSES = 5;

export function makeCard(file) {
  const heading = element("h3", { text: file.name || "Pasted image" });
  const thumbnail = element("div", { className: "thumbnail" });
  const picture = element("div", { className: "picture" }, [thumbnail]);
  const answer = element("div", { className: "answer" });
  const body = element("div", { className: "body" }, [heading, answer]);
  const item = element("li", { tabIndex: -1 }, [picture, body]);
  const card = { file, item, name: heading.textContent, picture, thumbnail, answer, url: "" };
  showThumbnail(card);
  showWaiting(card, "Waiting");
  return card;
}

function showThumbnail(card) {
  card.url = URL.createObjectURL(card.file);
  const image = element("img", { alt: card.name, decoding: "async", src: card.url });
  // TIFF and HEIC, for example, the server reads and many browsers do not.
  image.addEventListener("error", () => card.thumbnail.replaceChildren(tile(card.name)));
  card.thumbnail.replaceChildren(image);
}

function tile(name) {
  const kind = name.includes(".") ? name.split(".").pop().toUpperCase().slice(0, 5) : "?";
  const parts = [
    element("span", { text: kind, className: "kind", ariaHidden: "true" }),
    element("span", { text: name, className: "soft" }),
    element("span", { text: "No preview in this browser", className: "soft" }),
  ];
  return element("div", { className: "tile" }, parts);
}

export function showWaiting(card, text) {
  card.item.dataset.state = "waiting";
  card.answer.replaceChildren(element("p", { text: `${text} …`, className: "waiting soft" }));
}

export function showProblem(card, error, tryAgain) {
  card.item.dataset.state = "failed";
  const parts = [element("p", { text: error.message, className: "problem" })];
  if (error.again) parts.push(button("Try again", card, tryAgain));
  card.answer.replaceChildren(...parts);
  return `${card.name}: ${error.message}`;
}

function button(text, card, onClick) {
  const made = element("button", { text, type: "button", ariaLabel: `${text} ${card.name}` });
  made.addEventListener("click", onClick);
  return made;
}

// Ranks a row of the API's answer: the most probable first.
export function rank(row) {
  const values = row.calibrated_probabilities ?? row.probabilities;
  const classes = row.class_names.map((name, id) => ({ name, id, share: values[id] }));
  return classes.sort((one, other) => other.share - one.share);
}

// Shows an answer, and returns it as a sentence. `onExplain(card, class)` shows a heat map.
export function showAnswer(card, row, model, onExplain) {
  const ranked = rank(row);
  const isKnown = row.is_known ?? true;
  card.item.dataset.state = isKnown ? "known" : "unknown";
  const [first] = ranked;
  const parts = isKnown
    ? [element("p", { className: "choice" }, [first.name, " ", share(first.share)])]
    : [
        element("p", { text: "Not one of the known classes", className: "choice" }),
        element("p", {
          text: "The image is unlike those that the model was trained on. If it had to choose:",
          className: "soft",
        }),
      ];
  parts.push(bars(ranked), caption(model));
  if (model.classifier.explains) parts.push(explainButton(card, first, onExplain));
  card.answer.replaceChildren(...parts);
  const choice = isKnown ? `${first.name}, ${percent(first.share)}` : parts[0].textContent;
  return `${card.name}: ${choice}`;
}

const share = (value) => element("span", { text: percent(value), className: "share" });

function bars(ranked) {
  const shown = ranked.slice(0, MOST_CLASSES);
  const rows = shown.map(({ name, share: value }) => barRow(name, value));
  const others = ranked.slice(MOST_CLASSES);
  if (others.length) {
    const total = others.reduce((sum, one) => sum + one.share, 0);
    const name = others.length === 1 ? others[0].name : `${others.length} other classes`;
    rows.push(barRow(name, total, others.length > 1 ? "others" : ""));
  }
  return element("ol", { className: "bars" }, rows);
}

function barRow(name, value, className = "") {
  const fill = element("span", { className: "fill" });
  fill.style.width = `${100 * value}%`;
  return element("li", { className }, [
    element("span", { text: name, className: "class" }),
    element("span", { className: "track", ariaHidden: "true" }, [fill]),
    share(value),
  ]);
}

function caption(model) {
  const text = model.classifier.calibrated
    ? "Calibrated probabilities"
    : "Probabilities as the model gives them, not calibrated";
  return element("p", { text, className: "soft small" });
}

function explainButton(card, choice, onExplain) {
  const made = button("Where does the model look?", card, () => onExplain(card, choice, made));
  made.setAttribute("aria-pressed", "false");
  return made;
}

// Lays a heat map over the thumbnail; `fits`: whether it covers the picture as it is shown.
export function showHeatMap(card, url, choice, fits) {
  const alt = `${card.name}, coloured where the model sees ${choice.name}`;
  const note = element("p", {
    text: `Coloured where it speaks for “${choice.name}”`,
    className: "soft small",
  });
  const canCover = fits && Boolean(card.thumbnail.querySelector("img"));
  card.heat = element("img", { alt, src: url, className: canCover ? "over" : "alone" });
  card.note = note;
  if (canCover) card.thumbnail.append(card.heat);
  card.picture.append(...(canCover ? [note] : [card.heat, note]));
}

export function hideHeatMap(card, isHidden = true) {
  card.heat.hidden = card.note.hidden = isHidden;
  card.thumbnail.hidden = !isHidden && card.heat.className === "alone";
}

export function release(card) {
  for (const url of [card.url, card.heat?.src]) {
    if (url) URL.revokeObjectURL(url);
  }
}
