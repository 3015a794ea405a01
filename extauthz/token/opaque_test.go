package token

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/cache/memo"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

const (
	opaqueName  = "https://opaque.example"
	opaqueToken = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU" // RFC 9449, 7.1
)

// registry is an issuer of opaque tokens, asked in memory.
type registry struct {
	*Verifier
	t      *testing.T
	config Config
	answer claims // nil: not active
	down   bool
	asked  int
}

func newRegistry(t *testing.T) *registry {
	r := &registry{t: t, answer: claims{
		"active": true, "iss": opaqueName, "sub": "alice", "aud": "https://first.example", "client_id": "web",
		"iat": now.Unix() - 60, "exp": now.Unix() + 600, "scope": "read write", "token_type": "Bearer",
	}}
	r.config = Config{
		Issuers: []Issuer{{Name: opaqueName, Audiences: []string{"https://first.example"}, Skew: skew, Opaque: true}},
		Keys:    &keys{},
		Opaque:  Opaque{Issuer: opaqueName, Introspect: r.introspect, MaxAge: 10 * time.Second},
	}
	for _, m := range []*Memo{&r.config.Good, &r.config.Bad} {
		one, err := memo.New(memo.Config{TTL: time.Hour, MaxMB: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(one.Close)
		*m = one
	}
	r.rebuild()
	return r
}

func (r *registry) rebuild() {
	r.t.Helper()
	var err error
	if r.Verifier, err = New(r.config); err != nil {
		r.t.Fatal(err)
	}
}

func (r *registry) introspect(string) (*jose.Object, reason.Reason) {
	r.asked++
	switch {
	case r.down:
		return nil, reason.KeysUnavailable
	case r.answer == nil:
		return nil, reason.TokenRevoked
	}
	doc, err := json.Marshal(r.answer)
	if err != nil {
		r.t.Fatal(err)
	}
	claims, err := jose.ParseObject(doc)
	if err != nil {
		r.t.Fatal(err)
	}
	return claims, reason.OK
}

// with changes what the issuer says; absent leaves a member out.
func (r *registry) with(change claims) {
	for name, v := range change {
		if r.answer[name] = v; v == absent {
			delete(r.answer, name)
		}
	}
}

// expect wants a reason, and a number of questions.
func (r *registry) expect(raw string, at time.Time, want reason.Reason, asked int) *Session {
	r.t.Helper()
	r.asked = 0
	s := &Session{Sub: "left over"}
	if got := r.Verify(raw, at, s); got != want || r.asked != asked {
		r.t.Errorf("%v after %d questions, want %v after %d", got, r.asked, want, asked)
	}
	return s
}

// TestOpaqueClaims: the issuer has checked its token, and may still speak of
// another one, another resource or another kind (RFC 7662, 2.2; 9449, 6.2).
func TestOpaqueClaims(t *testing.T) {
	jkt := strings.Repeat("A", 43)
	for name, tc := range map[string]struct {
		change claims
		want   reason.Reason
	}{
		"good":                                 {nil, reason.OK},
		"iss left out":                         {claims{"iss": absent}, reason.OK},
		"another iss":                          {claims{"iss": "https://idp.example"}, reason.IssuerUnknown},
		"iss no text":                          {claims{"iss": 1}, reason.ClaimsInvalid},
		"aud a list":                           {claims{"aud": []string{"x", "https://first.example"}}, reason.OK},
		"aud another":                          {claims{"aud": "https://second.example"}, reason.AudienceMismatch},
		"no aud":                               {claims{"aud": absent}, reason.ClaimsInvalid},
		"no exp":                               {claims{"exp": absent}, reason.ClaimsInvalid},
		"exp as text":                          {claims{"exp": "1"}, reason.ClaimsInvalid},
		"no iat":                               {claims{"iat": absent}, reason.ClaimsInvalid},
		"Hydra's refresh token":                {claims{"token_use": "refresh_token"}, reason.TypeRefused},
		"Hydra's access token":                 {claims{"token_use": "access_token"}, reason.OK},
		"token_use no text":                    {claims{"token_use": 1}, reason.TypeRefused},
		"no token_type":                        {claims{"token_type": absent}, reason.OK},
		"token_type without case":              {claims{"token_type": "bearer"}, reason.OK},
		"a refresh token":                      {claims{"token_type": "refresh_token"}, reason.TypeRefused},
		"token_type no text":                   {claims{"token_type": 7}, reason.ClaimsInvalid},
		"Keycloak's refresh token":             {claims{"typ": "Refresh"}, reason.TypeRefused},
		"Keycloak's access token":              {claims{"typ": "Bearer"}, reason.OK},
		"an ID token":                          {claims{"nonce": "n"}, reason.TypeRefused},
		"a logout token":                       {claims{"events": map[string]any{}}, reason.TypeRefused},
		"client_credentials without sub":       {claims{"sub": absent}, reason.OK},
		"nobody":                               {claims{"sub": absent, "client_id": absent}, reason.ClaimsInvalid},
		"sub empty":                            {claims{"sub": ""}, reason.ClaimsInvalid},
		"expired":                              {claims{"exp": now.Unix() - 31}, reason.TokenExpired},
		"expired within the skew":              {claims{"exp": now.Unix() - 29}, reason.OK},
		"not yet valid":                        {claims{"nbf": now.Unix() + 31}, reason.TokenNotYetValid},
		"issued ahead":                         {claims{"iat": now.Unix() + 31}, reason.ClaimsInvalid},
		"auth_time after iat (Keycloak)":       {claims{"auth_time": now.Unix() - 5}, reason.OK},
		"bound to a DPoP key":                  {claims{"token_type": "DPoP", "cnf": map[string]any{"jkt": jkt}}, reason.OK},
		"bound to a DPoP key, type left out":   {claims{"token_type": absent, "cnf": map[string]any{"jkt": jkt}}, reason.OK},
		"bound to a DPoP key and Bearer":       {claims{"cnf": map[string]any{"jkt": jkt}}, reason.ClaimsInvalid},
		"bound to a certificate (RFC 8705)":    {claims{"cnf": map[string]any{"x5t#S256": jkt}}, reason.OK},
		"bound to a thumbprint of other bytes": {claims{"cnf": map[string]any{"jkt": "short"}}, reason.ClaimsInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t)
			r.with(tc.change)
			s := r.expect(opaqueToken, now, tc.want, 1)
			if tc.want == reason.OK && s.Issuer != opaqueName {
				t.Errorf("issuer %q", s.Issuer)
			}
			// The second time it is the same, asked or not.
			if got := r.Verify(opaqueToken, now, s); got != tc.want {
				t.Errorf("the second time: %v", got)
			}
		})
	}
}

// TestOpaqueNames: an opaque token can be revoked by all that is known of it,
// and by the hash of itself.
func TestOpaqueNames(t *testing.T) {
	r := newRegistry(t)
	r.with(claims{"sid": "s", "jti": "j", "tenant": "acme", "device_id": "d"})
	for range 2 { // read, and remembered
		s := r.expect(opaqueToken, now, reason.OK, 1-r.asked)
		sum := sha256.Sum256([]byte(opaqueToken))
		for kind, value := range map[cache.Kinds]string{
			cache.Token: "j", cache.Session: "s", cache.User: "alice", cache.Client: "web", cache.Tenant: "acme",
			cache.Issuer: opaqueName, cache.Device: "d", cache.TokenHash: base64.RawURLEncoding.EncodeToString(sum[:]),
		} {
			if key, ok := s.Subject.Key(kind); !ok || key != cache.KeyOf(kind, opaqueName, value) {
				t.Errorf("%v is not that of %s", kind, value)
			}
		}
		if s.Scope != "read write" || !s.Issued.Equal(time.Unix(now.Unix()-60, 0)) || s.Lasting {
			t.Errorf("session %+v", s)
		}
	}
}

// TestOpaqueRemembered: an answer serves for max_ttl from when it was asked
// for, and not for a moment longer however often it is used; exp is judged
// each time; a failure is not remembered, and nothing that was remembered
// under other settings counts.
func TestOpaqueRemembered(t *testing.T) {
	r := newRegistry(t)
	r.expect(opaqueToken, now, reason.OK, 1)
	for s := 1; s <= 10; s++ {
		r.expect(opaqueToken, now.Add(time.Duration(s)*time.Second), reason.OK, 0)
	}
	r.answer = nil // withdrawn at the issuer
	late := now.Add(10*time.Second + time.Nanosecond)
	r.expect(opaqueToken, late, reason.TokenRevoked, 1)
	r.expect(opaqueToken, late.Add(10*time.Second), reason.TokenRevoked, 0)
	r.expect(opaqueToken+"x", late, reason.TokenRevoked, 1)

	r = newRegistry(t)
	r.with(claims{"exp": now.Unix() + 2})
	r.expect(opaqueToken, now, reason.OK, 1)
	r.expect(opaqueToken, now.Add(skew), reason.OK, 1) // max_ttl is over
	if s := r.expect(opaqueToken, now.Add(skew+time.Second), reason.OK, 0); !s.Asked {
		t.Error("a remembered answer is not the issuer's own")
	}
	r.expect(opaqueToken, now.Add(skew+2*time.Second), reason.TokenExpired, 0)

	r = newRegistry(t)
	r.down = true
	r.expect(opaqueToken, now, reason.KeysUnavailable, 1)
	r.expect(opaqueToken, now, reason.KeysUnavailable, 1)
	r.down = false
	r.expect(opaqueToken, now, reason.OK, 1)
	r.expect(opaqueToken, now.Add(-time.Second), reason.OK, 1) // a clock behind the answer: asked anew
	r.config.Generation++
	r.rebuild()
	r.expect(opaqueToken, now, reason.OK, 1)
}

// TestOpaqueOlderAnswer: of two checks that shared one answer, the one which
// asked later does not make it serve longer.
func TestOpaqueOlderAnswer(t *testing.T) {
	r := newRegistry(t)
	r.expect(opaqueToken, now, reason.OK, 1)
	s := &Session{digest: sha256.Sum256([]byte(opaqueToken))}
	i := r.issuers[opaqueName]
	if _, ok := r.answered(i, now, s); !ok {
		t.Fatal("nothing is remembered")
	}
	r.Verifier.answer(i, now.Add(9*time.Second), s, reason.OK)
	r.expect(opaqueToken, now.Add(11*time.Second), reason.OK, 1)
}

// TestOpaqueForm: what could be a JWT is one; what can be no bearer token is
// not asked for; and without introspection nothing is.
func TestOpaqueForm(t *testing.T) {
	w := newWorld(t)
	for raw, want := range map[string]struct {
		r     reason.Reason
		asked int
	}{
		"abc":                       {reason.OK, 1},
		"a.b.c":                     {reason.OK, 1},
		"v4.public.x":               {reason.OK, 1},
		"eyJhbGciOiJFUzI1NiJ9":      {reason.OK, 1}, // no dots
		"ab==":                      {reason.OK, 1},
		"a+/~-._9":                  {reason.OK, 1},
		"==":                        {reason.TokenMalformed, 0},
		"a=b":                       {reason.TokenMalformed, 0},
		"a b":                       {reason.TokenMalformed, 0},
		"a\x00":                     {reason.TokenMalformed, 0},
		"a,b":                       {reason.TokenMalformed, 0},
		"":                          {reason.TokenMalformed, 0},
		"eyJhbGciOiJFUzI1NiJ9.e30.": {reason.ClaimsInvalid, 0},
		"eyJ.a.b.c":                 {reason.TokenMalformed, 0},
		w.idp.Token(now):            {reason.IssuerUnknown, 0},
		strings.Repeat("a", 8193):   {reason.TokenTooLarge, 0},
		w.idp.Token(now, claims{"iss": opaqueName}): {reason.IssuerUnknown, 0}, // it has no keys
	} {
		r := newRegistry(t)
		if want.r == reason.ClaimsInvalid { // no claims at all, or no signature: in no case a question
			if got := r.Verify(raw, now, &Session{}); got == reason.OK || r.asked != 0 {
				t.Errorf("%.30q: %v after %d questions", raw, got, r.asked)
			}
			continue
		}
		r.expect(raw, now, want.r, want.asked)
	}
	w.expect(t, opaqueToken, reason.TokenMalformed)

	if _, err := New(Config{Issuers: []Issuer{{Name: "a", Audiences: []string{"a"}}}, Keys: w.keys,
		Opaque: Opaque{Issuer: "b", Introspect: newRegistry(t).introspect}}); err == nil {
		t.Error("opaque tokens of an issuer that is not there")
	}
}

// TestOpaqueBeside: one issuer may have keys for its JWTs and be asked for all
// else.
func TestOpaqueBeside(t *testing.T) {
	r, w := newRegistry(t), newWorld(t)
	w.config.Opaque = Opaque{Issuer: idpName, MaxAge: time.Second, Introspect: r.introspect}
	w.rebuild(t)
	r.with(claims{"iss": absent})
	w.expect(t, w.idp.Token(now), reason.OK)
	if s := w.expect(t, opaqueToken, reason.OK); s.Issuer != idpName || r.asked != 1 {
		t.Errorf("issuer %q after %d questions", s.Issuer, r.asked)
	}
}
