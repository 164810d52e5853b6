// Requests to this server: JSON, forms, and streams of events.

let key = sessionStorage.getItem("liquid-key") ?? "";

export class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? `The server answered ${status}.`);
    this.status = status;
  }
}

export function setKey(value) {
  key = value;
  sessionStorage.setItem("liquid-key", value);
}

export async function request(path, body, signal) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const options = { headers, signal };
  if (body !== undefined) {
    options.method = "POST";
    options.body = body instanceof FormData ? body : JSON.stringify(body);
    if (!(body instanceof FormData)) headers["Content-Type"] = "application/json";
  }
  const answer = await fetch(path, options);
  if (!answer.ok) {
    const error = await answer.json().catch(() => ({}));
    throw new Refused(answer.status, error.error);
  }
  return answer;
}

export async function json(path, body, signal) {
  return (await request(path, body, signal)).json();
}

// Calls take(data) for every event of a stream.
export async function stream(path, body, take, signal) {
  const answer = await request(path, body, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const line = event.split("\n").find((one) => one.startsWith("data: "));
      if (!line || line === "data: [DONE]") continue;
      const data = JSON.parse(line.slice(6));
      if (data.error) throw new Refused(0, data.error);
      take(data);
    }
  }
}

export function isStopped(error) {
  return error.name === "AbortError";
}
