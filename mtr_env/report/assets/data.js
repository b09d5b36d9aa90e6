// What the file holds: the list of episodes in columns, and the traces in chunks that are opened when looked at.

const DATA = JSON.parse(byId("index").textContent);
const RUNS = DATA.runs;
const COLUMNS = DATA.columns;
const ROWS = COLUMNS.run.length;
const OFFSET = RUNS.map((run, i) => COLUMNS.run.indexOf(i)); // the row of each run's first episode

// right, wrong, silent (no answer) or unscored
const OUTCOME = COLUMNS.run.map((run, row) => {
  if (COLUMNS.reward[row] === null) return "unscored";
  if (COLUMNS.em[row] === 1) return "right";
  return COLUMNS.answer[row] === null ? "silent" : "wrong";
});
const OUTCOMES = {
  right: { name: "right", sign: "✓" },
  wrong: { name: "wrong", sign: "✗" },
  silent: { name: "no answer", sign: "∅" },
  unscored: { name: "unscored", sign: "?" },
};

// The rows about the same question, of whatever run, by a question's id and text.
const SAME_QUESTION = new Map();
for (let row = 0; row < ROWS; row++) {
  const key = questionKey(row);
  if (!SAME_QUESTION.has(key)) SAME_QUESTION.set(key, []);
  SAME_QUESTION.get(key).push(row);
}

function questionKey(row) {
  return `${COLUMNS.id[row]}\n${COLUMNS.question[row]}`;
}

const sameQuestion = (row) => SAME_QUESTION.get(questionKey(row));

// An episode's name in addresses: run and number within it, counted from 1.
const place = (row) => `${COLUMNS.run[row] + 1}.${row - OFFSET[COLUMNS.run[row]] + 1}`;

function rowAt(text) {
  const [run, number] = String(text).split(".").map(Number);
  const row = OFFSET[run - 1] + number - 1;
  return COLUMNS.run[row] === run - 1 ? row : null;
}

// A number that JavaScript would round: it is shown as it was written.
class BigNumber {
  constructor(text) {
    this.text = text;
  }
}

function revive(key, value, context) {
  if (typeof value !== "number" || Number.isSafeInteger(value) || !context?.source) return value;
  return Number.isInteger(value) || !Number.isFinite(value) ? new BigNumber(context.source) : value;
}

const CHUNKS = new Map(); // the last few that were opened
const KEPT_CHUNKS = 6;

function openChunk(number) {
  const opened = CHUNKS.get(number) ?? unpack(byId(`chunk${number}`));
  CHUNKS.delete(number);
  CHUNKS.set(number, opened);
  if (CHUNKS.size > KEPT_CHUNKS) CHUNKS.delete(CHUNKS.keys().next().value);
  return opened;
}

async function unpack(element) {
  const bytes = bytesOf(element.textContent, Number(element.dataset.size));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text(), revive);
}

// The inverse of mtr_env.report.chunks.pack: two letters of 91 are a number of 13 bits.
function bytesOf(text, size) {
  const values = new Uint8Array(128);
  let next = 0;
  for (let code = 33; code < 127; code++) if (!"<>&".includes(String.fromCharCode(code))) values[code] = next++;
  const bytes = new Uint8Array(size);
  let at = 0;
  let bits = 0;
  let held = 0; // how many of the low bits are not written yet
  for (let i = 0; i < text.length; i += 2) {
    bits = ((bits << 13) | (values[text.charCodeAt(i)] * next + values[text.charCodeAt(i + 1)])) & 0x1fffff;
    for (held += 13; held >= 8 && at < size; held -= 8) bytes[at++] = bits >> (held - 8);
  }
  return bytes;
}

// The entry of a row, and the tools of its chunk.
async function entryAt(row) {
  const number = DATA.chunks.findLastIndex((start) => start <= row);
  const { tools, entries } = await openChunk(number);
  return { tools, entry: entries[row - DATA.chunks[number]] };
}

// The episode of a row: {trace, why, tokens, row}.
async function episode(row) {
  if (document.readyState === "loading") await new Promise((done) => addEventListener("DOMContentLoaded", done));
  const { entry } = await entryAt(row);
  const first = typeof entry.stage === "number" ? entry.stage : row; // the row that holds question and tools
  const {
    tools,
    entry: { stage },
  } = await entryAt(first);
  const toolset = { tools: stage.tools.map((at) => tools[at]), maker: stage.maker, notes: stage.notes };
  const { setup, seed, steps } = entry;
  return {
    trace: { question: stage.question, toolset, setup, seed, steps },
    why: entry.why,
    tokens: entry.tokens,
    row,
  };
}
