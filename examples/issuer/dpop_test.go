package issuer

import (
	"crypto/sha256"
	"encoding/base64"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// TestProve: a proof verifies with its own jwk and says what it is for.
func TestProve(t *testing.T) {
	key, err := NewKey("")
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.Prove(Proof{Method: "GET", URL: "https://api.example/x?a=b#c", Token: "a.token", Nonce: "n-1"})
	if err != nil {
		t.Fatal(err)
	}
	proof, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return key.private.Public(), nil }, jwt.WithValidMethods([]string{"ES256"}))
	if err != nil {
		t.Fatal(err)
	}
	claims := proof.Claims.(jwt.MapClaims)
	sum := sha256.Sum256([]byte("a.token"))
	for name, want := range map[string]any{"htm": "GET", "htu": "https://api.example/x", "ath": base64.RawURLEncoding.EncodeToString(sum[:]), "nonce": "n-1"} {
		if claims[name] != want {
			t.Errorf("%s is %v, want %v", name, claims[name], want)
		}
	}
	if proof.Header["typ"] != "dpop+jwt" || claims["jti"] == "" || len(key.ID) != 43 {
		t.Errorf("header %v, jti %v, jkt %q", proof.Header, claims["jti"], key.ID)
	}
}
