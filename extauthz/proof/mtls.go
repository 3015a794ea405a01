package proof

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"net/url"
	"strings"
)

// Thumbprint is the x5t#S256 of a certificate as Envoy sends it, URL-encoded
// PEM: base64url without padding of the SHA-256 of its DER form (RFC 8705,
// 3.1). The chain is the proxy's business; the binding needs none (6.2). ok is false for anything but exactly one CERTIFICATE block.
func Thumbprint(certificate string) (x5t string, ok bool) {
	der, ok := derOf(certificate)
	if !ok {
		return "", false
	}
	return thumbprint(sha256.Sum256(der)), true
}

// thumbprint writes a digest as RFC 8705, 3.1 does.
func thumbprint(sum [sha256.Size]byte) string { return base64.RawURLEncoding.EncodeToString(sum[:]) }

// derOf undoes what Envoy does to a certificate. pem.Decode skips whatever
// stands before the first block that it can read, another block among it: the
// text must begin with its only one.
func derOf(certificate string) (der []byte, ok bool) {
	const begin = "-----BEGIN "
	text, err := url.PathUnescape(certificate)
	if err != nil || !strings.HasPrefix(text, begin) || strings.Count(text, begin) != 1 {
		return nil, false
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 || len(rest) > 0 {
		return nil, false
	}
	return block.Bytes, true
}
