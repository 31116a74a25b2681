// Asks the server, and makes one sentence of whatever goes wrong.

const TOKEN_KEY = "thaw-token";
const MOST_TRIES = 5;
const MILLISECONDS = 1000;

export class Refused extends Error {
  // What the server, or this page, says no with; `again`: whether the same may succeed later.
  constructor(message, status = 0, again = false) {
    super(message);
    this.status = status;
    this.again = again;
  }
}

export function keepToken(token) {
  sessionStorage.setItem(TOKEN_KEY, token);
}

export function hasToken() {
  return Boolean(sessionStorage.getItem(TOKEN_KEY));
}

// The server's answer to a request, as a Response that is fine; waits while the server is busy.
export async function ask(path, { body = null, signal = null } = {}) {
  for (let tries = 1; ; tries++) {
    const response = await send(path, body, signal);
    if (response.ok) return response;
    const wait = Number(response.headers.get("retry-after"));
    if (response.status !== 503 || !wait || tries === MOST_TRIES) throw await refusal(response);
    await pause(wait * MILLISECONDS, signal);
  }
}

async function send(path, body, signal) {
  const token = sessionStorage.getItem(TOKEN_KEY);
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  try {
    return await fetch(path, { method: body ? "POST" : "GET", body, headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server does not answer. It may have been stopped.", 0, true);
  }
}

async function refusal(response) {
  const again = [401, 503, 504].includes(response.status);
  let sentence = `The server answered with status ${response.status}.`;
  try {
    sentence = (await response.json()).error || sentence;
  } catch {
    // Not the server's own words: a proxy's, for example.
  }
  return new Refused(sentence, response.status, again);
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
