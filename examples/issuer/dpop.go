package issuer

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"
)

// Proof says what a DPoP proof is for (RFC 9449, 4.2).
type Proof struct {
	Method string
	URL    string // query and fragment are left out of htu
	Token  string // the access token that goes with it; "" is none
	Nonce  string
	JTI    string    // "" is a new one
	Issued time.Time // zero is now
}

// Prove signs a DPoP proof: a token that is bound to this key is good only
// beside one.
func (k *Key) Prove(p Proof) (string, error) {
	if p.JTI == "" {
		p.JTI = rand.Text()
	}
	if p.Issued.IsZero() {
		p.Issued = time.Now()
	}
	if end := strings.IndexAny(p.URL, "?#"); end >= 0 {
		p.URL = p.URL[:end]
	}
	claims := map[string]any{"jti": p.JTI, "htm": p.Method, "htu": p.URL, "iat": p.Issued.Unix()}
	if p.Token != "" {
		sum := sha256.Sum256([]byte(p.Token))
		claims["ath"] = encode(sum[:])
	}
	if p.Nonce != "" {
		claims["nonce"] = p.Nonce
	}
	text, err := k.sign(map[string]any{"typ": "dpop+jwt", "jwk": k.jwk}, claims)
	if err != nil {
		return "", fmt.Errorf("sign a DPoP proof: %w", err)
	}
	return text, nil
}
