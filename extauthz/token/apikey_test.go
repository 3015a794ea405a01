package token

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

func TestAPIKey(t *testing.T) {
	w := newWorld(t)
	entry := APIKey{ID: "reports-2026", Client: "reports", Scope: "a b", Tenant: "acme", Created: now.Add(-time.Hour), Expires: now.Add(time.Hour)}
	sum := sha256.Sum256([]byte("secret"))
	verify := func(raw string, at time.Time, want reason.Reason) *Session {
		t.Helper()
		w.config.APIKeys = func(of [32]byte) (APIKey, bool) { return entry, of == sum }
		w.config.Classify = func(typ string, s *Session, claims *jose.Object) uint64 {
			if typ != "" || claims != nil {
				t.Errorf("classified by typ %q and claims %v", typ, claims)
			}
			return 9
		}
		w.rebuild(t)
		s := &Session{Sub: "left over"}
		if got := w.APIKey(raw, at, s); got != want {
			t.Errorf("%q: %v, want %v", raw, got, want)
		}
		return s
	}
	s := verify("secret", now, reason.OK)
	if s.Issuer != APIKeys || s.Sub != "reports" || s.SID != "reports-2026" || s.JTI != "reports-2026" || s.Client != "reports" ||
		s.Tenant != "acme" || s.Scope != "a b" || !s.Issued.Equal(entry.Created) || !s.Until.Equal(entry.Expires) ||
		!s.Lasting || s.Classes != 9 || s.Confirm.Present {
		t.Errorf("session %+v", s)
	}
	for kind, value := range map[cache.Kinds]string{
		cache.Token: "reports-2026", cache.Session: "reports-2026", cache.User: "reports", cache.Client: "reports",
		cache.Tenant: "acme", cache.Issuer: APIKeys, cache.TokenHash: base64.RawURLEncoding.EncodeToString(sum[:]),
	} {
		if key, _ := s.Subject.Key(kind); key != cache.KeyOf(kind, APIKeys, value) {
			t.Errorf("%v is not that of %s", kind, value)
		}
	}
	for _, other := range []string{"Secret", "secret ", "secre", ""} {
		if s := verify(other, now, reason.KeyUnknown); s.Sub != "" {
			t.Errorf("%q: session %+v", other, s)
		}
	}
	verify(strings.Repeat("k", 8193), now, reason.TokenTooLarge)
	verify("secret", entry.Expires.Add(-time.Nanosecond), reason.OK)
	verify("secret", entry.Expires, reason.TokenExpired) // no skew: nobody else's clock is in it
	entry.Expires = time.Time{}
	verify("secret", now.Add(100*365*24*time.Hour), reason.OK)
	entry.Created = time.Time{}
	verify("secret", now, reason.OK)
	entry.Created = now.Add(time.Nanosecond) // it would begin after a revocation of now
	verify("secret", now, reason.ClaimsInvalid)
	verify("secret", entry.Created, reason.OK)
	entry = APIKey{ID: "x"}
	if s := verify("secret", now, reason.OK); s.SID != "x" {
		t.Errorf("a key without a client: %+v", s)
	}
	w.config.APIKeys = nil
	w.rebuild(t)
	if got := w.APIKey("secret", now, &Session{}); got != reason.KeyUnknown {
		t.Errorf("without a file: %v", got)
	}
}
