/** Parts that the page carries inside: base64 of gzip. */

function decoded(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

/**
 * Unpack a part, and take its text out of the page, which frees its memory.
 * @param {string} name Name of the part.
 * @returns {Promise<ArrayBuffer>}
 */
export async function unpacked(name) {
  const element = document.getElementById(`part-${name}`);
  const packed = decoded(element.textContent.trim());
  element.remove();
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}
