/** The question before a candidate is promoted, and what came of it. */

import { promote } from '../data/api';
import { h, setText } from './dom';

const KEY = 'tutelage-token';

/** Take the token out of the page's address, where it would be shared and kept in the history. */
export function keepToken(): void {
  const address = new URL(location.href);
  const token = address.searchParams.get('token');
  if (token === null) return;
  sessionStorage.setItem(KEY, token);
  address.searchParams.delete('token');
  history.replaceState(null, '', address);
}

/** Open a dialog that promotes a candidate of a run once it is confirmed; `done` is called when the server has done it. */
export function confirmPromotion(runId: string, sweepName: string, id: string, done: () => void): void {
  const model = h('input', { type: 'text', value: sweepName, required: true, autocomplete: 'off' });
  const token = h('input', { type: 'password', value: sessionStorage.getItem(KEY) ?? '', required: true, autocomplete: 'off' });
  const status = h('p', { role: 'status', class: 'summary' });
  const confirm = h('button', { type: 'submit', class: 'strong' }, 'Promote');
  const form = h(
    'form',
    { method: 'dialog' },
    h('h2', { id: 'promote-title' }, `Promote ${id}?`),
    h('p', {}, 'Its test split is evaluated once, and the registered model’s alias “champion” moves to it if it is better than the present champion.'),
    h('label', {}, h('span', {}, 'Registered model'), model),
    h('label', {}, h('span', {}, 'Token, from the line that the server printed'), token),
    status,
    h('div', { class: 'row' }, confirm, h('button', { type: 'button', onclick: () => { dialog.close(); } }, 'Cancel')),
  );
  const dialog = h('dialog', { 'aria-labelledby': 'promote-title', onclose: () => { dialog.remove(); } }, form);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    confirm.disabled = true;
    setText(status, 'Evaluating on the test split; this can take minutes.');
    sessionStorage.setItem(KEY, token.value);
    promote(runId, id, model.value, token.value).then(
      ({ promoted, text }) => {
        setText(status, text);
        confirm.disabled = promoted;
        done();
      },
      (error: unknown) => {
        setText(status, error instanceof Error ? error.message : String(error));
        confirm.disabled = false;
      },
    );
  });
  document.body.append(dialog);
  dialog.showModal();
}
