import type { OpenedPolicyUrl } from "../config/policy-url-source.ts";
import type { SidecarConfig } from "../config/sidecar-config.ts";

export interface ConfigReloadParts {
  /** Throws CountersignErrors for a text that cannot be taken. */
  readonly read: (text: string) => SidecarConfig;
  /** Opens the sources of policies that only this configuration names. Rejects with CountersignErrors. */
  readonly open: (next: SidecarConfig, signal: AbortSignal) => Promise<readonly OpenedPolicyUrl[]>;
  /** Runs after what came before, and before what comes after. */
  readonly takeTurn: (reload: () => Promise<void>) => Promise<void>;
  /** Resolves with what brings it into force, or with undefined when a source was not opened that it needs by now. Rejects with
   *  CountersignErrors while nothing has changed yet. */
  readonly prepare: (
    next: SidecarConfig,
    opened: readonly OpenedPolicyUrl[],
  ) => Promise<(() => Promise<void> | void) | undefined>;
  readonly failed: (error: unknown) => void;
  /** The sidecar stops: what fails then failed for that. */
  readonly signal: AbortSignal;
}

/** Texts of the configuration, of which the newest counts. */
export interface ConfigReloads {
  /** Takes the place of a text that still waits for a server. */
  apply(text: string): void;
  /** Policies have changed: a configuration that failed for policies alone may do now. */
  tryAgain(): void;
  /** The newest text is in force, or was refused. */
  readonly settled: Promise<void>;
}

/** Opens what a configuration names before its turn comes: a server that is slow to answer holds back nothing else. */
export function createConfigReloads(parts: ConfigReloadParts): ConfigReloads {
  /** Of the newest text. */
  let newest = new AbortController();
  let settled: Promise<void> = Promise.resolve();
  let heldText: string | undefined;
  /** Calls off what waits for a server; nothing, once its turn has come: what was opened is in use then. */
  let callOff = (): void => undefined;

  async function bringIn(text: string, mine: AbortController): Promise<void> {
    let isOfPolicies = false;
    const failed = (error: unknown): void => {
      if (mine.signal.aborted || parts.signal.aborted) return;
      mine.abort();
      if (isOfPolicies && newest === mine) heldText = text;
      parts.failed(error);
    };
    try {
      const next = parts.read(text);
      isOfPolicies = true;
      const opened = await parts.open(next, AbortSignal.any([mine.signal, parts.signal]));
      await parts.takeTurn(async () => {
        if (mine.signal.aborted) return;
        callOff = () => undefined;
        try {
          const adopt = await parts.prepare(next, opened);
          isOfPolicies = false;
          if (adopt !== undefined) await adopt();
          // not waited for: it takes a turn of its own
          else if (newest === mine) apply(text);
        } catch (error) {
          failed(error);
        }
      });
    } catch (error) {
      failed(error);
    }
  }
  function apply(text: string): void {
    callOff();
    const mine = new AbortController();
    newest = mine;
    callOff = () => mine.abort();
    heldText = undefined;
    settled = bringIn(text, mine);
  }
  return {
    apply,
    tryAgain() {
      if (heldText !== undefined) apply(heldText);
    },
    get settled() {
      return settled;
    },
  };
}
