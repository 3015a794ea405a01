package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// ProofKey is a client's key for DPoP (RFC 9449): a token that is bound to it
// is good only beside a proof that it signs.
type ProofKey struct {
	JKT     string // its RFC 7638 thumbprint, for cnf.jkt
	private *ecdsa.PrivateKey
	jwk     map[string]string
}

// NewProofKey makes a key.
func NewProofKey() (*ProofKey, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a DPoP key: %w", err)
	}
	point, err := private.PublicKey.Bytes() // 4, x, y
	if err != nil {
		return nil, fmt.Errorf("write a DPoP key: %w", err)
	}
	x, y := base64.RawURLEncoding.EncodeToString(point[1:33]), base64.RawURLEncoding.EncodeToString(point[33:])
	sum := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + x + `","y":"` + y + `"}`))
	return &ProofKey{
		JKT: base64.RawURLEncoding.EncodeToString(sum[:]), private: private,
		jwk: map[string]string{"kty": "EC", "crv": "P-256", "x": x, "y": y},
	}, nil
}

// Prove signs a proof for one request with a token (RFC 9449, 4.2).
func (k *ProofKey) Prove(method, url, token string) (string, error) {
	sum := sha256.Sum256([]byte(token))
	proof := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"jti": rand.Text(), "htm": method, "htu": url, "iat": time.Now().Unix(),
		"ath": base64.RawURLEncoding.EncodeToString(sum[:]),
	})
	proof.Header["typ"], proof.Header["jwk"] = "dpop+jwt", k.jwk
	text, err := proof.SignedString(k.private)
	if err != nil {
		return "", fmt.Errorf("sign a DPoP proof: %w", err)
	}
	return text, nil
}
