package issuer

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TestEvents holds both tokens to what receivers look for.
func TestEvents(t *testing.T) {
	i, err := New(Config{URL: "https://idp.example", Audience: "https://api.example"})
	if err != nil {
		t.Fatal(err)
	}
	logout, err := i.LogoutToken("web", "s-1")
	if err != nil {
		t.Fatal(err)
	}
	set, err := i.SessionRevoked("https://edge.example", "alice")
	if err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]struct {
		typ, aud, event string
		exp             bool
	}{
		logout: {"logout+jwt", "web", logoutEvent, true},
		set:    {"secevent+jwt", "https://edge.example", sessionRevoked, false}, // SSF 1.0: no exp
	} {
		claims := jwt.MapClaims{}
		token, _, err := jwt.NewParser().ParseUnverified(raw, claims)
		if err != nil {
			t.Fatal(err)
		}
		_, exp := claims["exp"]
		events, _ := claims["events"].(map[string]any)
		iat, _ := claims["iat"].(float64)
		if token.Header["typ"] != want.typ || claims["aud"] != want.aud || events[want.event] == nil || exp != want.exp || claims["jti"] == nil ||
			time.Since(time.Unix(int64(iat), 0)) > time.Minute {
			t.Errorf("%v %v", token.Header, claims)
		}
	}
}
