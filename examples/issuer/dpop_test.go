package issuer

import (
	"crypto/sha256"
	"encoding/base64"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// TestProofKey: the proof verifies with its own jwk and says what it is for.
func TestProofKey(t *testing.T) {
	key, err := NewProofKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.Prove("GET", "https://api.example/x", "a.token")
	if err != nil {
		t.Fatal(err)
	}
	proof, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return key.private.Public(), nil }, jwt.WithValidMethods([]string{"ES256"}))
	if err != nil {
		t.Fatal(err)
	}
	claims := proof.Claims.(jwt.MapClaims)
	sum := sha256.Sum256([]byte("a.token"))
	for name, want := range map[string]any{"htm": "GET", "htu": "https://api.example/x", "ath": base64.RawURLEncoding.EncodeToString(sum[:])} {
		if claims[name] != want {
			t.Errorf("%s is %v, want %v", name, claims[name], want)
		}
	}
	if proof.Header["typ"] != "dpop+jwt" || claims["jti"] == "" || len(key.JKT) != 43 {
		t.Errorf("header %v, jti %v, jkt %q", proof.Header, claims["jti"], key.JKT)
	}
}
