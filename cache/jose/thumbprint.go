package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
)

// Thumbprint is the RFC 7638 thumbprint of a public key under SHA-256, in
// base64url; "" for a key of another kind. It is made from the key, not from
// the JWK's text, so that one key has one thumbprint.
func Thumbprint(public crypto.PublicKey) string {
	var doc string // required members only, in the order of their names (3.2)
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		point, err := p.Bytes()
		if err != nil {
			return ""
		}
		half := (len(point) - 1) / 2
		doc = `{"crv":"` + p.Params().Name + `","kty":"EC","x":"` + encode(point[1:1+half]) + `","y":"` + encode(point[1+half:]) + `"}`
	case ed25519.PublicKey: // RFC 8037 section 2
		doc = `{"crv":"Ed25519","kty":"OKP","x":"` + encode(p) + `"}`
	case *rsa.PublicKey:
		doc = `{"e":"` + encode(big.NewInt(int64(p.E)).Bytes()) + `","kty":"RSA","n":"` + encode(p.N.Bytes()) + `"}`
	default:
		return ""
	}
	sum := sha256.Sum256([]byte(doc))
	return encode(sum[:])
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
