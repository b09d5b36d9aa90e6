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

async function openChunk(number) {
  const cached = CHUNKS.get(number);
  CHUNKS.delete(number);
  const opened = cached ?? unpack(byId(`chunk${number}`).textContent);
  CHUNKS.set(number, opened);
  if (CHUNKS.size > KEPT_CHUNKS) CHUNKS.delete(CHUNKS.keys().next().value);
  return opened;
}

async function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text(), revive);
}

// The episode of a row: {trace, why, tokens, row}.
async function episode(row) {
  if (document.readyState === "loading") await new Promise((done) => addEventListener("DOMContentLoaded", done));
  let chunk = DATA.chunks.findLastIndex((start) => start <= row);
  const entries = await openChunk(chunk);
  return { ...entries[row - DATA.chunks[chunk]], row };
}
