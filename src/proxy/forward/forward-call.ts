import type { CallFacts, ConnectionFacts, RequestFacts } from "../../core/call-facts.ts";
import type { EditedFields, PreparedCall } from "../http-service.ts";
import type { ScannedFields } from "../request-fields.ts";
import type { CheckedAddresses } from "../upstream/checked-lookup.ts";
import type { Destination } from "./destination.ts";
import { principalsOf } from "./destination-facts.ts";

const NOBODY: ReadonlySet<string> = new Set();

/** A request through the egress proxy, prepared: it knows where it goes. */
export class ForwardCall implements PreparedCall {
  /** Gets the destination's address once that is chosen. */
  connection: ConnectionFacts;
  readonly request: RequestFacts;
  readonly scanned: ScannedFields;
  readonly target: string;
  readonly edited: EditedFields | undefined;
  readonly responseFields: readonly string[] | undefined;
  readonly destination: Destination;
  /** The authority without its port, where the app may leave that out. */
  readonly shortAuthority: string | undefined;
  readonly destinationPrincipals?: readonly string[];
  /** As it came; undefined: this is it. */
  readonly #original: ForwardCall | undefined;
  /** The providers that have allowed it, and the version of the policy that had them asked. */
  allowed: ReadonlySet<string> = NOBODY;
  allowedBy = "";
  /** The only addresses at which it is; undefined: at any. */
  addresses: CheckedAddresses | undefined;

  constructor(
    prepared: PreparedCall,
    destination: Destination,
    shortAuthority: string | undefined,
    original?: ForwardCall,
  ) {
    this.connection = prepared.connection;
    this.request = prepared.request;
    this.scanned = prepared.scanned;
    this.target = prepared.target;
    this.edited = prepared.edited;
    this.responseFields = prepared.responseFields;
    this.destination = destination;
    this.shortAuthority = shortAuthority;
    this.#original = original;
    const principals = principalsOf(destination);
    if (principals !== undefined) this.destinationPrincipals = principals;
  }

  /** As policy would see it at an address. */
  at(address: string): CallFacts {
    const { connection, request, destinationPrincipals } = this;
    return {
      connection: { ...connection, destinationIp: address, addressPending: false },
      request,
      ...(destinationPrincipals === undefined ? {} : { destinationPrincipals }),
    };
  }

  /** The same call with something of it changed. */
  as(changed: Partial<PreparedCall>): ForwardCall {
    const { connection, request, scanned, target, edited, responseFields } = this;
    const prepared = { connection, request, scanned, target, edited, responseFields, ...changed };
    const call = new ForwardCall(prepared, this.destination, this.shortAuthority, this.#original ?? this);
    call.allowed = this.allowed;
    call.allowedBy = this.allowedBy;
    return call;
  }

  /** Where it goes is known: policy sees that from now on, of the call as it came too, by which it is decided anew. */
  goesTo(connection: ConnectionFacts): void {
    this.connection = connection;
    if (this.#original !== undefined) this.#original.connection = connection;
  }
}
