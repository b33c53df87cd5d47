/** What the parts of the page share: the sweep, the view, and who is told when either changes. */

import type { Detail } from '../data/api';
import type { Sweep } from '../data/snapshot';
import { ModelMaker, type Model } from '../view/model';
import type { View } from '../view/view';

/** A part of the page; `update` draws what `model` shows, and compares with the last one to leave alone what did not change. */
export interface Part {
  element: HTMLElement;
  update(model: Model, overlay: Model | null): void;
}

export interface Actions {
  /** Change the view. */
  change(changed: Partial<View>): void;
  /** Say something to people who hear the page. */
  announce(text: string): void;
  /** Return a candidate's curves, layers and lineage. */
  detail(id: string): Promise<Detail>;
  promote(id: string): void;
}

/** The state of the page. */
export class Store {
  private maker: ModelMaker;
  private overlayMaker: ModelMaker | null = null;
  private readonly listeners: ((model: Model, overlay: Model | null) => void)[] = [];
  model: Model;
  overlay: Model | null = null;

  constructor(
    sweep: Sweep,
    private view: View,
  ) {
    this.maker = new ModelMaker(sweep);
    this.model = this.maker.make(view);
  }

  listen(listener: (model: Model, overlay: Model | null) => void): void {
    this.listeners.push(listener);
  }

  setSweep(sweep: Sweep): void {
    this.maker = new ModelMaker(sweep);
    this.publish();
  }

  setOverlay(sweep: Sweep | null): void {
    this.overlayMaker = sweep ? new ModelMaker(sweep) : null;
    this.publish();
  }

  change(changed: Partial<View>): void {
    this.view = { ...this.view, ...changed };
    this.publish();
  }

  publish(): void {
    this.model = this.maker.make(this.view);
    this.overlay = this.overlayMaker?.make(this.view) ?? null;
    for (const listener of this.listeners) listener(this.model, this.overlay);
  }
}
