package proof

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/pem"
	"net/url"
)

// matchCertificate compares the peer's certificate with x5t#S256: base64url
// without padding of the SHA-256 of its DER form (RFC 8705, 3.1). The chain is
// the proxy's business; the binding needs none (RFC 8705, 6.2).
func (p *Presented) matchCertificate(x5t string) bool {
	got, ok := p.Known.Thumbprint(p.Certificate)
	return ok && subtle.ConstantTimeCompare([]byte(got), []byte(x5t)) == 1
}

// Thumbprint is the x5t#S256 of a certificate as Envoy sends it: URL-encoded
// PEM. ok is false for anything but exactly one CERTIFICATE block.
func Thumbprint(certificate string) (x5t string, ok bool) {
	text, err := url.PathUnescape(certificate)
	if err != nil {
		return "", false
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 || len(rest) > 0 {
		return "", false
	}
	sum := sha256.Sum256(block.Bytes)
	return base64.RawURLEncoding.EncodeToString(sum[:]), true
}
