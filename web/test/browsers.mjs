// Drives a browser over a page, and prints what a user sees as JSON. Called by `python -m benchmarks.studies
// page-browsers`, which knows the program's answers; the job is a JSON file.
import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import puppeteer from "puppeteer-core";

const job = JSON.parse(readFileSync(process.argv[2], "utf8"));
const axe = readFileSync(new URL("../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const isChrome = job.browser === "chrome";
const WAYS = { choose, drop, folder: dropFolder, paste };
const result = { requests: [], errors: [], violations: [], answers: [] };

const browser = await puppeteer.launch({
  browser: job.browser,
  executablePath: job.executable,
  headless: true,
  // Some containers forbid the sandbox to root.
  args: isChrome ? ["--no-sandbox", "--disable-dev-shm-usage"] : [],
  protocolTimeout: 600_000,
});
try {
  result.version = await browser.version();
  await visit();
} finally {
  await browser.close();
}
console.log(JSON.stringify(result));

async function visit() {
  const page = await browser.newPage();
  page.setDefaultTimeout(600_000);
  page.on("request", (request) => result.requests.push(request.url()));
  page.on("pageerror", (error) => result.errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && result.errors.push(message.text()));
  const [width, height] = job.window ?? [1280, 900];
  await page.setViewport({ width, height });
  // Firefox has no such switch in its protocol.
  await page.setOfflineMode(true).catch(() => {});
  await page.evaluateOnNewDocument(() => {
    const make = URL.createObjectURL;
    URL.createObjectURL = (blob) => {
      if (blob.type === "text/csv") globalThis.lastCsv = blob;
      return make.call(URL, blob);
    };
  });
  const before = performance.now();
  await page.goto(job.page);
  await page.waitForFunction(() => document.body.dataset.state);
  result.readyMs = performance.now() - before;
  result.state = await page.$eval("#state", (element) => element.textContent);
  if ((await page.evaluate(() => document.body.dataset.state)) !== "ready") return;
  await look(page, "empty");
  for (const [i, files] of job.batches.entries()) {
    const start = performance.now();
    await WAYS[job.ways[i]](page, files);
    await finish(page);
    // Before anything is saved: the download panel of Firefox takes the keys.
    if (job.looks && i === 0) await keyboard(page);
    result.answers.push({ ...(await seen(page)), seconds: (performance.now() - start) / 1000 });
    await look(page, job.names[i]);
    if (i + 1 < job.batches.length) await page.click("#clear");
  }
  if (job.policies) result.policies = await policies(page);
  if (job.looks) await variants(page);
  if (job.photograph) await photograph(page);
}

async function choose(page, files) {
  const input = await page.$("#files");
  await input.uploadFile(...files);
}

/** Drop files on the page: as the mouse would in Chromium, by an event in Firefox, whose protocol has no drags. */
async function drop(page, files) {
  if (isChrome) {
    const session = await page.createCDPSession();
    const data = { items: [], files, dragOperationsMask: 1 };
    for (const type of ["dragEnter", "dragOver", "drop"]) {
      await session.send("Input.dispatchDragEvent", { type, x: 500, y: 200, data });
    }
    await session.detach();
    return;
  }
  await dispatch(page, files, "drop");
}

/** Drop the folder that the files lie in, which Chromium cannot read from the disk and has to say so; then the files. */
async function dropFolder(page, files) {
  if (isChrome) {
    await drop(page, [dirname(files[0])]);
    const isRefused = () => document.querySelector("#state").textContent.includes("folder");
    await page.waitForFunction(isRefused, { timeout: 20_000 }).catch(() => result.violations.push("a dropped folder is passed over"));
  }
  await drop(page, files);
}

/** Paste files, as from a file manager; no protocol reaches the clipboard of the system. */
async function paste(page, files) {
  await dispatch(page, files, "paste");
}

async function dispatch(page, files, kind) {
  const input = await page.evaluateHandle(() => {
    const element = Object.assign(document.createElement("input"), { type: "file", multiple: true });
    document.body.append(element);
    return element;
  });
  await input.uploadFile(...files);
  const send = (element, kind) => {
    const data = new DataTransfer();
    for (const file of element.files) data.items.add(file);
    element.remove();
    const options = { bubbles: true, cancelable: true };
    const event =
      kind === "paste"
        ? // Firefox gives an event of its own constructor no files.
          Object.defineProperty(new Event("paste", options), "clipboardData", { value: data })
        : new DragEvent("drop", { dataTransfer: data, ...options });
    document.body.dispatchEvent(event);
  };
  await page.evaluate(send, input, kind);
}

/** Wait until all files have answers, and note for how long the page did not react meanwhile. */
async function finish(page) {
  await page.waitForFunction(() => document.querySelector("#rows tr"));
  for (;;) {
    const asked = performance.now();
    const isDone = await page.evaluate(() => document.querySelector("#progress").hidden);
    result.longestPauseMs = Math.max(result.longestPauseMs ?? 0, performance.now() - asked);
    if (isDone) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Return the text of the table and of the chosen answer, and the CSV. */
async function seen(page) {
  await page.click("#csv");
  return page.evaluate(async () => ({
    csv: await globalThis.lastCsv.text(),
    rows: [...document.querySelectorAll("#rows tr")].map((row) => [...row.children].map((cell) => cell.textContent)),
    about: document.querySelector("#about").textContent,
    chosen: [...document.querySelectorAll("#rows tr")].findIndex((row) => row.ariaCurrent === "true"),
    decision: document.querySelector("#decision-words").textContent,
    state: document.querySelector("#state").textContent,
    scale: document.querySelector("#scale").getAttribute("aria-label"),
  }));
}

async function policies(page) {
  const found = {};
  for (const [i, choice] of (await page.$$("#policy-choices input")).entries()) {
    await choice.click();
    found[i] = (await seen(page)).csv;
  }
  return found;
}

/** Photograph the page, and let axe-core look for barriers. */
async function look(page, name) {
  if (!job.looks) return;
  if (job.screenshots) await page.screenshot({ path: `${job.screenshots}/${job.browser}-${name}.png`, fullPage: true });
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  result.checks = (result.checks ?? 0) + found.passes.length;
  for (const { id, nodes } of found.violations) result.violations.push(`${name}: ${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(" | ")}`);
}

/** Photograph the page as far as the answer. */
async function photograph(page) {
  const bottom = await page.$eval("#answer", (element) => element.getBoundingClientRect().bottom + scrollY);
  const height = Math.ceil(bottom) + 12;
  await page.screenshot({ path: job.photograph, clip: { x: 0, y: 0, width: job.window[0], height } });
}

async function variants(page) {
  await page.$$eval("details", (all) => all.forEach((one) => (one.open = true)));
  await page.waitForFunction(() => document.querySelector("#notices").textContent.length > 1000);
  await look(page, "open");
  await page.$$eval("details", (all) => all.forEach((one) => (one.open = false)));
  await page.setViewport({ width: 360, height: 740 });
  await look(page, "narrow");
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  if (width > 360) result.violations.push(`narrow: the page is ${width} pixels wide`);
  await page.setViewport({ width: 1280, height: 900 });
  // The protocol of Firefox has no switch for this either.
  const isDark = await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }]).then(() => true, () => false);
  if (isDark) await look(page, "dark");
}

/** Reach everything by the Tab key, and choose another answer by the Enter key. */
async function keyboard(page) {
  await page.evaluate(() => document.activeElement?.blur());
  const reached = new Set();
  for (let i = 0; i < 40; i++) {
    await page.keyboard.press("Tab");
    const place = await page.evaluate(() => {
      const { activeElement: element } = document;
      return element.id || (element.closest("#rows") ? "rows" : element.closest("#policy-choices") ? "policies" : element.tagName);
    });
    reached.add(place);
    if (place === "rows" && !reached.has("chosen")) {
      reached.add("chosen");
      await page.keyboard.press("Tab");
      const focused = await page.evaluate(() => document.activeElement.closest("tr")?.rowIndex);
      await page.keyboard.press("Enter");
      const isChosen = (row) => document.querySelector('#rows [aria-current="true"]').rowIndex === row;
      // Firefox reports a key as pressed before the page has heard of it.
      await page.waitForFunction(isChosen, { timeout: 5000 }, focused).catch(() => result.violations.push(`keyboard: row ${focused} was not chosen`));
    }
  }
  result.keyboard = [...reached];
}
