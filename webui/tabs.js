// tabs.js - which tab is shown. The address decides: #look, #cut, #ask, #play, #train.
//
// The pattern is WAI-ARIA's tabs with automatic activation: one tab is in the order of the Tab key,
// arrow keys, Home and End move among them. A tab is a link, so it can be copied and opened.

const tabs = [...document.querySelectorAll('[role=tab]')];
const name = (tab) => tab.hash.slice(1);

export const shownTab = () => name(tabs.find((t) => t.ariaSelected === 'true'));

// `changed(to, from)` comes after every change and at the start, then without `from`.
export function startTabs(changed) {
  let from = null;
  const follow = () => {
    const to = tabs.find((t) => t.hash === location.hash) ?? tabs[0];
    for (const t of tabs) {
      t.ariaSelected = String(t === to);
      t.tabIndex = t === to ? 0 : -1;
      document.getElementById(t.getAttribute('aria-controls')).hidden = t !== to;
    }
    document.body.dataset.tab = name(to);
    if (to === from) return;
    const left = from;
    from = to;
    changed(name(to), left && name(left));
  };
  addEventListener('hashchange', follow);
  for (const [i, tab] of tabs.entries()) {
    tab.addEventListener('keydown', (e) => {
      const at = {ArrowLeft: i - 1, ArrowRight: i + 1, Home: 0, End: tabs.length - 1, ' ': i}[e.key];
      if (at === undefined) return;
      e.preventDefault();
      const to = tabs[(at + tabs.length) % tabs.length];
      to.focus();
      showTab(name(to));
    });
  }
  follow();
}

export function showTab(to) {
  location.hash = to;
}
