/** Ways in which files come to the page: chosen, dropped (folders too), pasted. */

/** Return the files of an entry of a drop, with their paths; of a folder all that are in it. */
async function filesOf(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ file, path: entry.fullPath.replace(/^\//, "") }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    // A reader gives its entries in portions.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    found.push(...some.filter(({ name }) => !name.startsWith(".")));
  }
  found.sort((a, b) => (a.name < b.name ? -1 : 1));
  const lists = [];
  for (const one of found) lists.push(await filesOf(one));
  return lists.flat();
}

const plain = (files) => Array.from(files, (file) => ({ file, path: file.webkitRelativePath || file.name }));

/**
 * Listen for files.
 * @param {HTMLInputElement} input
 * @param {(files: {file: File, path: string}[]) => void} add Called with the files of each drop, choice or paste.
 * @param {() => void} refuseFolder Called when a folder was dropped that the browser does not let the page read.
 */
export function listenForFiles(input, add, refuseFolder) {
  const { body } = document;
  input.addEventListener("change", () => {
    add(plain(input.files));
    input.value = "";
  });
  addEventListener("dragover", (event) => {
    event.preventDefault();
    body.classList.add("dragging");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) body.classList.remove("dragging");
  });
  addEventListener("drop", async (event) => {
    event.preventDefault();
    body.classList.remove("dragging");
    const { files, items } = event.dataTransfer;
    // Entries are gone once the event has ended.
    const entries = Array.from(items, (item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.some((entry) => entry.isDirectory)) return add(plain(files));
    try {
      add((await Promise.all(entries.map(filesOf))).flat());
    } catch {
      // Chromium gives a page that was opened from the disk the name of a folder, and no access to it.
      refuseFolder();
    }
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) add(plain(event.clipboardData.files));
  });
}
