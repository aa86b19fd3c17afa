// Light or dark, before anything is painted: what was chosen here last, else what the system prefers.
// Runs in the head, on its own; the button is wired in page.js.

const theme = {
  key: "claude-wrapper.theme",
  system: matchMedia("(prefers-color-scheme: dark)"),

  get chosen() {
    try {
      return localStorage.getItem(theme.key);
    } catch {
      return null; // storage is forbidden here
    }
  },

  get shown() {
    return theme.chosen ?? (theme.system.matches ? "dark" : "light");
  },

  apply() {
    document.documentElement.dataset.theme = theme.shown;
  },

  toggle() {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem(theme.key, next);
    } catch {
      // it holds until the page is left
    }
    document.documentElement.dataset.theme = next;
  },
};

theme.apply();
theme.system.addEventListener("change", theme.apply);
