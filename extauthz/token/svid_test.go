package token

import (
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

const batch = "spiffe://prod.example/ns/jobs/sa/batch"

// newDomain is a world with the trust domains prod.example and stage.example,
// the first of which has the keys of w.other.
func newDomain(t *testing.T, algs ...string) (w *world, spire *extauthztest.Issuer) {
	w = newWorld(t)
	spire = extauthztest.NewIssuer(t, "prod.example", algs...)
	stage := extauthztest.NewIssuer(t, "stage.example")
	w.keys.load(t, spire, stage)
	for _, name := range []string{"prod.example", "stage.example"} {
		w.config.Issuers = append(w.config.Issuers, Issuer{Name: name, Audiences: []string{extauthztest.Audience}, Skew: skew, TrustDomain: true})
	}
	w.rebuild(t)
	return w, spire
}

// svid is a token as a SPIRE agent gives it out: no iss, no jti, aud a list.
func svid(spire *extauthztest.Issuer, parts ...extauthztest.Part) string {
	base := []extauthztest.Part{header{"typ": "JWT"}, claims{
		"iss": absent, "jti": absent, "sid": absent, "client_id": absent, "scope": absent, "acr": absent, "auth_time": absent,
		"sub": batch, "aud": []string{extauthztest.Audience},
	}}
	return spire.Token(now, append(base, parts...)...)
}

// TestJWTSVID: SPIFFE JWT-SVID 2 to 4, and providers 32 and 33.
func TestJWTSVID(t *testing.T) {
	for name, tc := range map[string]struct {
		part extauthztest.Part
		want reason.Reason
	}{
		"as SPIRE sends it":                  {claims{}, reason.OK},
		"typ JOSE":                           {header{"typ": "JOSE"}, reason.OK},
		"no typ":                             {header{"typ": absent}, reason.OK},
		"typ at+jwt":                         {header{"typ": "at+jwt"}, reason.TypeRefused},
		"an iss of the server's own":         {claims{"iss": "https://spire.example"}, reason.OK},
		"the iss of a configured issuer":     {claims{"iss": idpName}, reason.SignatureInvalid},
		"the trust domain for iss":           {claims{"iss": "prod.example"}, reason.OK},
		"iss no text":                        {claims{"iss": 7}, reason.ClaimsInvalid},
		"of a domain that is not configured": {claims{"sub": "spiffe://dev.example/a"}, reason.IssuerUnknown},
		"of another configured domain":       {claims{"sub": "spiffe://stage.example/a"}, reason.SignatureInvalid},
		"of a domain that begins the same":   {claims{"sub": "spiffe://prod.example.evil/a"}, reason.IssuerUnknown},
		"the domain itself":                  {claims{"sub": "spiffe://prod.example"}, reason.ClaimsInvalid},
		"MT08 upper-case domain":             {claims{"sub": "spiffe://Prod.example/a"}, reason.ClaimsInvalid},
		"MT08 dot segments":                  {claims{"sub": "spiffe://prod.example/a/../b"}, reason.ClaimsInvalid},
		"MT08 port":                          {claims{"sub": "spiffe://prod.example:1/a"}, reason.ClaimsInvalid},
		"MT08 query":                         {claims{"sub": "spiffe://prod.example/a?b"}, reason.ClaimsInvalid},
		"another scheme, no iss":             {claims{"sub": "https://prod.example/a"}, reason.ClaimsInvalid},
		"sub a user":                         {claims{"sub": "alice"}, reason.ClaimsInvalid},
		"no sub":                             {claims{"sub": absent}, reason.ClaimsInvalid},
		"no aud":                             {claims{"aud": absent}, reason.ClaimsInvalid},
		"aud another":                        {claims{"aud": []string{"x"}}, reason.AudienceMismatch},
		"no exp":                             {claims{"exp": absent}, reason.ClaimsInvalid},
		"expired":                            {claims{"exp": now.Unix() - 60}, reason.TokenExpired},
		"an ID token all the same":           {claims{"nonce": "n"}, reason.TypeRefused},
	} {
		t.Run(name, func(t *testing.T) {
			w, spire := newDomain(t)
			s := w.expect(t, svid(spire, tc.part), tc.want)
			if tc.want != reason.OK {
				return
			}
			if s.Issuer != "prod.example" || s.Sub != batch {
				t.Errorf("session %+v", s)
			}
			if key, _ := s.Subject.Key(cache.User); key != cache.KeyOf(cache.User, "prod.example", batch) {
				t.Error("it can not be revoked as a subject of its trust domain")
			}
		})
	}
}

// TestJWTSVIDAlgorithms: all of RS, ES and PS, and no EdDSA.
func TestJWTSVIDAlgorithms(t *testing.T) {
	for alg, want := range map[string]reason.Reason{
		"ES256": reason.OK, "ES384": reason.OK, "RS256": reason.OK, "PS256": reason.OK, "EdDSA": reason.AlgorithmRefused,
	} {
		w, spire := newDomain(t, alg)
		w.expect(t, svid(spire), want)
	}
}

// TestNotASVID: a token of an ordinary issuer is none of a trust domain's,
// whatever its sub, and a trust domain's name as iss makes no issuer.
func TestNotASVID(t *testing.T) {
	w, spire := newDomain(t)
	s := w.expect(t, w.idp.Token(now, claims{"sub": batch}), reason.OK)
	if s.Issuer != idpName {
		t.Errorf("issuer %q", s.Issuer)
	}
	w.expect(t, spire.Token(now), reason.IssuerUnknown)                                       // iss prod.example, sub a user
	w.expect(t, spire.Token(now, claims{"iss": "https://other.trust"}), reason.IssuerUnknown) // no SPIFFE ID
	plain := newWorld(t)
	plain.expect(t, svid(spire), reason.ClaimsInvalid) // no trust domains
}

// TestPlainIssuerIsNoDomain: an ordinary issuer that is called like a trust
// domain speaks for none of its workloads.
func TestPlainIssuerIsNoDomain(t *testing.T) {
	w, spire := newDomain(t)
	w.config.Issuers = w.config.Issuers[:len(w.config.Issuers)-2] // both domains
	w.config.Issuers = append(w.config.Issuers,
		Issuer{Name: "prod.example", Audiences: []string{extauthztest.Audience}, Types: []string{"JWT"}},
		Issuer{Name: "stage.example", Audiences: []string{extauthztest.Audience}, TrustDomain: true})
	w.rebuild(t)
	w.expect(t, svid(spire), reason.IssuerUnknown)
	id, _ := ParseSPIFFEID(batch)
	c := SVID{ID: id, NotBefore: now, NotAfter: now.Add(time.Hour)}
	if got := w.Workload(&c, now, &Session{}); got != reason.IssuerUnknown {
		t.Errorf("a certificate: %v", got)
	}
}

func TestWorkload(t *testing.T) {
	w, _ := newDomain(t)
	id, _ := ParseSPIFFEID(batch)
	good := SVID{ID: id, X5T: "k", Serial: "1f", NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour)}
	check := func(change func(*SVID), want reason.Reason) *Session {
		t.Helper()
		c := good
		if change != nil {
			change(&c)
		}
		s := &Session{Sub: "left over"}
		if got := w.Workload(&c, now, s); got != want {
			t.Errorf("%v, want %v", got, want)
		}
		return s
	}
	s := check(nil, reason.OK)
	if s.Issuer != "prod.example" || s.Sub != batch || s.SID != batch || s.JTI != "1f" || s.Confirm != (Confirmation{Present: true, X5T: "k"}) ||
		!s.Issued.Equal(good.NotBefore) || !s.Until.Equal(good.NotAfter) || s.Lasting {
		t.Errorf("session %+v", s)
	}
	for kind, value := range map[cache.Kinds]string{
		cache.Token: "1f", cache.Session: batch, cache.User: batch, cache.Issuer: "prod.example", cache.BindingKey: "k", cache.TokenHash: "k",
	} {
		if key, _ := s.Subject.Key(kind); key != cache.KeyOf(kind, "prod.example", value) {
			t.Errorf("%v is not that of %s", kind, value)
		}
	}
	named := func(text string) func(*SVID) {
		return func(c *SVID) { c.ID, _ = ParseSPIFFEID(text) }
	}
	check(named("spiffe://dev.example/a"), reason.IssuerUnknown)
	check(named("spiffe://idp.example/a"), reason.IssuerUnknown)
	check(named(""), reason.IssuerUnknown)
	check(func(c *SVID) { c.NotAfter = now.Add(-skew) }, reason.TokenExpired)
	check(func(c *SVID) { c.NotAfter = now.Add(time.Second - skew) }, reason.OK)
	check(func(c *SVID) { c.NotBefore = now.Add(skew + time.Second) }, reason.ClaimsInvalid)

	for _, name := range []string{"", "Prod.example", "prod.example/a", "spiffe://prod.example", "prod example"} {
		w.config.Issuers = []Issuer{{Name: name, Audiences: []string{"a"}, TrustDomain: true}}
		if _, err := New(w.config); err == nil {
			t.Errorf("%q is a trust domain", name)
		}
	}
}
