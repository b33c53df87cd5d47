/** Makes elements. Text is only ever set as text: a snapshot's names are untrusted. */

type Child = Node | string | null;
type Listener = (event: never) => void;
export type Props = Record<string, string | number | boolean | Listener | null>;

/** Return an element with attributes, `on…` listeners and children; one that is null or false is left out, but an ARIA state is written. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value as EventListener);
    else if (name.startsWith('aria-') && value !== null) element.setAttribute(name, String(value));
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Set an element's text where it differs, so that what reads the page aloud is not disturbed. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Give an element these children, and leave those that stand there already and are equal: a click that has begun on one, its focus
 * and what was typed in it stay. Focus in a replaced child goes to the element with the same `data-focus`.
 * Listeners of equal children are the first ones, so they must read what they need from the page's state.
 */
export function renew(element: Element, children: readonly Element[]): void {
  const focused = element.contains(document.activeElement) ? document.activeElement!.getAttribute('data-focus') : null;
  children.forEach((child, place) => {
    const old = element.children.item(place);
    if (!old) element.append(child);
    else if (old !== child && !old.isEqualNode(child)) old.replaceWith(child);
  });
  while (element.children.length > children.length) element.lastElementChild!.remove();
  if (focused !== null) focusOn(element, focused);
}

/** Move the focus to the element inside `element` with this `data-focus`, where there is one and it has it not yet. */
export function focusOn(element: Element, key: string): void {
  const found = element.querySelector<HTMLElement>(`[data-focus="${CSS.escape(key)}"]`);
  if (found !== document.activeElement) found?.focus();
}

/** Return a link to a page of this server, or of another by http; null for any other scheme. */
export function safeLink(address: string): string | null {
  const url = URL.canParse(address, location.href) ? new URL(address, location.href) : null;
  return url && (url.protocol === 'http:' || url.protocol === 'https:') ? url.href : null;
}

/** Return a function that runs `work` in the next frame, once however often it is called. */
export function inNextFrame(work: () => void): () => void {
  let isPlanned = false;
  return () => {
    if (isPlanned) return;
    isPlanned = true;
    requestAnimationFrame(() => {
      isPlanned = false;
      work();
    });
  };
}
