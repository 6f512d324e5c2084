/** What the API server refuses with, and what it means that it gave no answer. */
import * as z from 'zod';

/** https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/ */
const statusSchema = z.looseObject({
  kind: z.literal('Status'),
  message: z.string().optional(),
  reason: z.string().optional(),
  code: z.number().optional(),
  details: z.looseObject({ retryAfterSeconds: z.number().optional() }).nullish(),
});

/** Of the server's words; it repeats whole objects in some. */
const MESSAGE_LENGTH_MAX = 2000;

/** The API server answered, and refused. */
export class ApiError extends Error {
  override name = 'ApiError';
  readonly code = 'KUBE_REFUSED';
  /** HTTP status: 404, 409, 422. */
  readonly status: number;
  /** Kubernetes' word for it, such as `NotFound`, `Conflict`, `Invalid`, `Forbidden`, `Expired`; '' when it gave none. */
  readonly reason: string;
  /** The server's own sentence. */
  readonly serverMessage: string;
  /** Asked to wait so long; null: not asked. */
  readonly retryAfterMs: number | null;

  /** @param action such as `get Pod "leo-1-0"`. @param body parsed JSON, or whatever came. */
  constructor(action: string, status: number, body: unknown, retryAfterMs: number | null = null) {
    const parsed = statusSchema.safeParse(body).data;
    const words = (parsed?.message ?? (typeof body === 'string' ? body : '')).trim().slice(0, MESSAGE_LENGTH_MAX);
    super(`Cannot ${action}: the API server answered ${status}${words === '' ? '' : ` (${words})`}`);
    this.status = status;
    this.reason = parsed?.reason ?? '';
    this.serverMessage = words;
    const seconds = parsed?.details?.retryAfterSeconds;
    this.retryAfterMs = seconds === undefined ? retryAfterMs : seconds * 1000;
  }
}

/** No answer, a broken one, or one that is too long. Whether the request was carried out is not known. */
export class ApiUnreachableError extends Error {
  override name = 'ApiUnreachableError';
  readonly code = 'KUBE_UNREACHABLE';
}

export function isNotFound(error: unknown): boolean {
  return error instanceof ApiError && error.status === 404;
}

export function isConflict(error: unknown): boolean {
  return error instanceof ApiError && error.status === 409;
}

/** 410: the resourceVersion is too old; begin again with a list. */
export function isExpired(error: unknown): boolean {
  return error instanceof ApiError && (error.status === 410 || error.reason === 'Expired');
}
