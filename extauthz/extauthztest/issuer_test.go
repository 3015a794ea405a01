package extauthztest_test

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

// TestIssuerSigns has another implementation verify what the issuer mints.
func TestIssuerSigns(t *testing.T) {
	iss := extauthztest.NewIssuer(t, "https://idp.example", "ES256", "ES384", "EdDSA", "PS256", "RS256")
	for _, kid := range []string{"es256-1", "es384-1", "eddsa-1", "ps256-1", "rs256-1"} {
		t.Run(kid, func(t *testing.T) {
			claims := jwt.MapClaims{}
			_, err := jwt.ParseWithClaims(iss.Token(time.Now(), extauthztest.Key(kid)), claims, func(token *jwt.Token) (any, error) {
				return iss.Signer(token.Header["kid"].(string)).Public(), nil
			})
			if err != nil || claims["iss"] != iss.Name {
				t.Errorf("claims %v, error %v", claims, err)
			}
		})
	}
}

func TestTokenParts(t *testing.T) {
	iss := extauthztest.NewIssuer(t, "https://idp.example")
	public := func(*jwt.Token) (any, error) { return iss.Signer("es256-1").Public(), nil }
	claims := jwt.MapClaims{}
	raw := iss.Token(time.Now(), extauthztest.Claims{"sub": extauthztest.Absent, "sid": "other", "acr": nil}, extauthztest.Header{"typ": "JWT"})
	token, err := jwt.ParseWithClaims(raw, claims, public)
	if err != nil {
		t.Fatal(err)
	}
	_, sub := claims["sub"]
	acr, has := claims["acr"]
	if sub || claims["sid"] != "other" || !has || acr != nil || token.Header["typ"] != "JWT" {
		t.Errorf("parts were not applied: header %v, claims %v", token.Header, claims)
	}
	if _, err := jwt.Parse(extauthztest.Forge(raw), public); err == nil {
		t.Error("a forged signature verifies")
	}
	if twin := extauthztest.Twin(raw); twin == raw {
		t.Error("the twin is the same text")
	} else if _, err := jwt.Parse(twin, public); err != nil {
		t.Errorf("the twin does not verify: %v", err)
	}
}
