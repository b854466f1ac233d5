for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    button.title = "sort";
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent.trim();
      const missing = (value) => value === "" || value === "–" || value === "failed";
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [one, other] = [key(a), key(b)];
        if (missing(one) || missing(other)) return missing(one) - missing(other);
        const order = one - other;
        return (up ? 1 : -1) * (Number.isNaN(order) ? one.localeCompare(other, "en") : order);
      });
      table.tBodies[0].append(...rows);
    });
  });
}
