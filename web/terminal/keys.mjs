// The device's own key and the proofs that it signs (DPoP, RFC 9449). WebCrypto alone, so that Node and a browser run the same code.
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' };
const SIGNATURE = { name: 'ECDSA', hash: 'SHA-256' };

/** A new key in the form in which `openKey` takes it; one that can't be exported where the vault keeps key objects. */
export async function makeKey(keepsObjects) {
    const pair = await crypto.subtle.generateKey(ALGORITHM, !keepsObjects, ['sign']);
    return keepsObjects ? { privateKey: pair.privateKey, publicKey: pair.publicKey } : crypto.subtle.exportKey('jwk', pair.privateKey);
}

export async function openKey(stored) {
    const { kty, crv, x, y } = stored.publicKey ? await crypto.subtle.exportKey('jwk', stored.publicKey) : stored;
    const privateKey = stored.privateKey ?? (await crypto.subtle.importKey('jwk', stored, ALGORITHM, false, ['sign']));
    return new DeviceKey(privateKey, { kty, crv, x, y });
}

class DeviceKey {
    constructor(privateKey, jwk) {
        Object.assign(this, { privateKey, jwk });
    }

    /** A proof for one request, good once; `at` is the server's time in ms, `token` the access token that goes with it. */
    async proof({ method, url, token, at }) {
        const claims = { jti: crypto.randomUUID(), htm: method, htu: url.replace(/[?#].*$/, ''), iat: Math.floor(at / 1000) };
        if (token) claims.ath = encoded(await crypto.subtle.digest('SHA-256', bytes(token)));
        const text = `${encodedJson({ typ: 'dpop+jwt', alg: 'ES256', jwk: this.jwk })}.${encodedJson(claims)}`;
        return `${text}.${encoded(await crypto.subtle.sign(SIGNATURE, this.privateKey, bytes(text)))}`;
    }
}

function bytes(text) {
    return new TextEncoder().encode(text);
}

function encodedJson(value) {
    return encoded(bytes(JSON.stringify(value)));
}

function encoded(buffer) {
    const text = String.fromCharCode(...new Uint8Array(buffer));
    return btoa(text).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}
