"use strict";
// Elements. Text of a model or a data set reaches the page here and nowhere else, and as text: this report uses no
// innerHTML, and its content security policy (trusted types) forbids it.

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

// h("p", {class: "note"}, "text", element, [more]): null and false among the children are left out.
function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function s(tag, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

const byId = (id) => document.getElementById(id);

// Text that somebody else wrote: kept apart from the page's own direction of writing.
const said = (text, attributes) =>
  h("span", { dir: "auto", ...attributes, class: `said ${attributes?.class ?? ""}` }, text);

const LONG = 20000; // characters shown at first of one text

function longText(text, attributes) {
  const box = h("pre", { dir: "auto", tabindex: "0", ...attributes }, text.slice(0, LONG));
  if (text.length <= LONG) return box;
  const more = h("button", { type: "button", class: "more" }, `Show all ${count(text.length)} characters`);
  more.addEventListener("click", () => {
    box.textContent = text;
    more.remove();
  });
  return h("div", null, box, more);
}

// ------------------------------------------------------------------------------------------------ numbers and words

const THOUSANDS = new Intl.NumberFormat("en-US");
const count = (number) => THOUSANDS.format(number);
const fixed = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const percent = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)}%`);
const plural = (number, word, many = `${word}s`) => `${count(number)} ${number === 1 ? word : many}`;
const range = (interval, form = fixed) => (interval ? `${form(interval[0])} to ${form(interval[1])}` : "");
const words = (name) => String(name).replaceAll("_", " ");

// ------------------------------------------------------------------------------------------------ JSON, as it is read

function pretty(value, indent = "") {
  const space = `${indent}  `;
  if (value instanceof BigNumber) return [h("span", { class: "j-number" }, value.text)];
  if (typeof value === "string") return [h("span", { class: "j-string" }, JSON.stringify(value))];
  if (value === null || typeof value !== "object") return [h("span", { class: "j-number" }, String(value))];
  const isArray = Array.isArray(value);
  const [open, close] = isArray ? "[]" : "{}";
  const entries = Object.entries(value);
  if (!entries.length) return [open + close];
  const flat = plainLength(value) < 76;
  const parts = entries.flatMap(([key, item], i) => [
    flat ? (i ? " " : "") : `\n${space}`,
    isArray ? null : h("span", { class: "j-key" }, JSON.stringify(key)),
    isArray ? null : ": ",
    ...pretty(item, space),
    i < entries.length - 1 ? "," : "",
  ]);
  return [open, ...parts, flat ? "" : `\n${indent}`, close];
}

function plainLength(value) {
  return plain(value).length;
}

function plain(value) {
  return JSON.stringify(value, (key, item) => (item instanceof BigNumber ? item.text : item));
}

function jsonBox(value, attributes) {
  const text = plain(value) ?? "";
  if (text.length > LONG) return longText(text, { class: "json", ...attributes });
  return h("pre", { class: "json", dir: "auto", tabindex: "0", ...attributes }, pretty(value));
}
