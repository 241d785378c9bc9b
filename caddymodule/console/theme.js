// Runs before the first paint, so that a chosen theme does not flash. The toggle itself is in console.js.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem('wtn-theme'); } catch { /* storage is off: follow the system */ }
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
})();
