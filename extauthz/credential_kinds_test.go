package extauthz_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/proof"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

const trustDomain = "cluster.local" // of extauthztest's certificates

// everyCarrier is a policy that takes a credential from each place.
func everyCarrier(classes ...extauthz.Class) extauthz.Config {
	return extauthz.Config{
		Classes: classes,
		Carriers: []extauthz.Carrier{
			{Kind: extauthz.CredentialHeader}, {Kind: extauthz.CredentialCookie, Name: "__Host-session"},
			{Kind: extauthz.CredentialAPIKey, Name: "x-api-key"}, {Kind: extauthz.CredentialCertificate},
		},
	}
}

// newMixedRig is a rig that knows a trust domain and the API keys of a map,
// beside the issuer.
func newMixedRig(t testing.TB, c extauthz.Config, apiKeys map[string]token.APIKey) *rig {
	t.Helper()
	r := newRig(t, c)
	set, err := jose.ParseKeySet(r.issuer.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	r.Tokens, err = token.New(token.Config{
		Issuers: []token.Issuer{
			{Name: idp, Audiences: []string{extauthztest.Audience}, Skew: 30 * time.Second},
			{Name: trustDomain, Audiences: []string{extauthztest.Audience}, Skew: 30 * time.Second, TrustDomain: true},
		},
		Keys: keys{idp: set, trustDomain: set}, Classify: r.Policy.Classify,
		APIKeys: func(sum [32]byte) (token.APIKey, bool) {
			for raw, key := range apiKeys {
				if sha256.Sum256([]byte(raw)) == sum {
					return key, true
				}
			}
			return token.APIKey{}, false
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestCredentialKinds: each credential in its place, alone and with another.
func TestCredentialKinds(t *testing.T) {
	cert := extauthztest.NewCertificate(t, "batch")
	r := newMixedRig(t, everyCarrier(
		extauthz.Class{Name: "machines", Match: extauthz.ClassMatch{Credentials: []extauthz.CredentialKind{extauthz.CredentialAPIKey}}},
		extauthz.Class{Name: "workloads", Match: extauthz.ClassMatch{Credentials: []extauthz.CredentialKind{extauthz.CredentialCertificate}}},
		extauthz.Class{Name: "browsers", Match: extauthz.ClassMatch{Credentials: []extauthz.CredentialKind{extauthz.CredentialCookie}}},
		extauthz.Class{Name: "apps"},
	), map[string]token.APIKey{"k-1": {ID: "one", Client: "reports"}})
	tok := r.issuer.Token(r.now)
	withCert := func(req *extauthz.Request) *extauthz.Request { req.Certificate = cert.PEM; return req }
	for name, tc := range map[string]struct {
		req   *extauthz.Request
		want  reason.Reason
		class string
		sub   string
	}{
		"an API key":                      {get("/", "x-api-key", "k-1"), reason.OK, "machines", "reports"},
		"its header in another case":      {get("/", "X-API-Key", "k-1"), reason.OK, "machines", "reports"},
		"an unknown API key":              {get("/", "x-api-key", "k-2"), reason.KeyUnknown, "", ""},
		"an empty API key":                {get("/", "x-api-key", ""), reason.CredentialMissing, "", ""},
		"two API keys":                    {get("/", "x-api-key", "k-1", "x-api-key", "k-1"), reason.CredentialAmbiguous, "", ""},
		"two API keys, joined":            {get("/", "x-api-key", "k-1,k-1"), reason.CredentialAmbiguous, "", ""},
		"an API key and a token":          {get("/", "x-api-key", "k-1", "authorization", "Bearer "+tok), reason.CredentialAmbiguous, "", ""},
		"an API key and a cookie":         {get("/", "x-api-key", "k-1", "cookie", "__Host-session="+tok), reason.CredentialAmbiguous, "", ""},
		"an API key and Basic":            {get("/", "x-api-key", "k-1", "authorization", "Basic YTpi"), reason.OK, "machines", "reports"},
		"an API key in Authorization":     {get("/", "authorization", "Bearer k-1"), reason.TokenMalformed, "", ""},
		"a token in the API key's header": {get("/", "x-api-key", tok), reason.KeyUnknown, "", ""},
		"a certificate":                   {withCert(get("/")), reason.OK, "workloads", "spiffe://cluster.local/ns/prod/sa/batch"},
		"a certificate beside a token":    {withCert(get("/", "authorization", "Bearer "+tok)), reason.OK, "apps", extauthztest.Subject},
		"a certificate beside an API key": {withCert(get("/", "x-api-key", "k-1")), reason.OK, "machines", "reports"},
		"a certificate beside a bad key":  {withCert(get("/", "x-api-key", "k-2")), reason.KeyUnknown, "", ""},
		"a certificate beside Basic":      {withCert(get("/", "authorization", "Basic YTpi")), reason.OK, "workloads", "spiffe://cluster.local/ns/prod/sa/batch"},
		"a cookie":                        {get("/", "cookie", "__Host-session="+tok), reason.OK, "browsers", extauthztest.Subject},
		"nothing":                         {get("/"), reason.CredentialMissing, "", ""},
		"an empty bearer and an API key":  {get("/", "authorization", "Bearer", "x-api-key", "k-1"), reason.CredentialAmbiguous, "", ""},
		"an empty bearer":                 {get("/", "authorization", "Bearer"), reason.TokenMalformed, "", ""},
		"a certificate and the query":     {withCert(get("/?access_token=x")), reason.CredentialAmbiguous, "", ""},
		"an API key and the query":        {get("/?a=1;access_token=x", "x-api-key", "k-1"), reason.CredentialAmbiguous, "", ""},
		"no certificate in the place":     {&extauthz.Request{Method: "GET", Path: "/", Host: "api.example", Certificate: "garbage"}, reason.ClaimsInvalid, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d, res := r.answer(tc.req)
			if d.Reason != tc.want || d.Class != tc.class {
				t.Fatalf("%v of class %q, want %v of %q", d.Reason, d.Class, tc.want, tc.class)
			}
			if got := (&answered{*res}).header("x-holdfast-subject"); got != tc.sub {
				t.Errorf("subject %q, want %q", got, tc.sub)
			}
			if (res.Verdict == reason.Allow) != (tc.want == reason.OK) {
				t.Errorf("verdict %v", res.Verdict)
			}
		})
	}
}

// TestCertificateSessions: a workload without a token is a session: bound,
// timed by its certificate, revoked by each of its names.
func TestCertificateSessions(t *testing.T) {
	cert, other := extauthztest.NewCertificate(t, "batch"), extauthztest.NewCertificate(t, "batch")
	sub := "spiffe://cluster.local/ns/prod/sa/batch"
	ask := func(r *rig, c *extauthztest.Certificate) reason.Reason {
		d, _ := r.answer(&extauthz.Request{Method: "GET", Path: "/", Host: "api.example", Certificate: c.PEM})
		return d.Reason
	}
	for name, tc := range map[string]struct {
		demand extauthz.Demand
		match  extauthz.ClassMatch
		want   reason.Reason
	}{
		"plain":                       {extauthz.Demand{}, extauthz.ClassMatch{}, reason.OK},
		"mtls holds":                  {extauthz.Demand{Binding: proof.MTLS}, extauthz.ClassMatch{}, reason.OK},
		"spiffe holds":                {extauthz.Demand{Binding: proof.SPIFFE}, extauthz.ClassMatch{}, reason.OK},
		"dpop does not":               {extauthz.Demand{Binding: proof.DPoP}, extauthz.ClassMatch{}, reason.BindingMissing},
		"its validity is too long":    {extauthz.Demand{MaxLifetime: time.Hour}, extauthz.ClassMatch{}, reason.LifetimeTooLong},
		"it is old":                   {extauthz.Demand{MaxAge: time.Minute}, extauthz.ClassMatch{}, reason.TokenTooOld},
		"nobody has authenticated":    {extauthz.Demand{MaxAuthAge: time.Hour}, extauthz.ClassMatch{}, reason.AuthTooOld},
		"it has no scopes":            {extauthz.Demand{Scopes: []string{"a"}}, extauthz.ClassMatch{}, reason.ScopeInsufficient},
		"matched by its domain":       {extauthz.Demand{}, extauthz.ClassMatch{Issuers: []string{trustDomain}}, reason.OK},
		"matched by its ID":           {extauthz.Demand{}, extauthz.ClassMatch{Claims: map[string][]string{"sub": {"x", sub}}}, reason.OK},
		"not matched by another ID":   {extauthz.Demand{}, extauthz.ClassMatch{Claims: map[string][]string{"sub": {"x"}}}, reason.ClassUnknown},
		"not matched by other claims": {extauthz.Demand{}, extauthz.ClassMatch{Claims: map[string][]string{"aud": {""}}}, reason.ClassUnknown},
	} {
		r := newMixedRig(t, everyCarrier(extauthz.Class{Name: "w", Match: tc.match, Demand: tc.demand}), nil)
		if got := ask(r, cert); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
	for name, tc := range map[string]struct {
		kind    cache.Kinds
		value   string
		want    reason.Reason
		another reason.Reason // what another certificate of the same workload meets
	}{
		"subject":     {cache.User, sub, reason.SubjectRevoked, reason.SubjectRevoked},
		"session":     {cache.Session, sub, reason.SessionRevoked, reason.SessionRevoked},
		"binding key": {cache.BindingKey, cert.X5T, reason.BindingKeyRevoked, reason.OK},
		"token hash":  {cache.TokenHash, cert.X5T, reason.TokenRevoked, reason.OK},
		"serial":      {cache.Token, cert.Cert.SerialNumber.Text(16), reason.TokenRevoked, reason.OK},
		"domain":      {cache.Issuer, trustDomain, reason.IssuerRevoked, reason.IssuerRevoked},
	} {
		r := newMixedRig(t, everyCarrier(extauthz.Class{Name: "w"}), nil)
		r.Index.Apply(1, r.now, []cache.Event{{
			Op: cache.OpRevoke, Kinds: tc.kind, Key: cache.KeyOf(tc.kind, trustDomain, tc.value), Value: tc.value,
			Before: r.now, Until: r.now.Add(time.Hour),
		}})
		if got := ask(r, cert); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
		if got := ask(r, other); got != tc.another {
			t.Errorf("%s: another certificate: %v, want %v", name, got, tc.another)
		}
	}
	r := newMixedRig(t, everyCarrier(extauthz.Class{Name: "w"}), nil)
	r.now = cert.Cert.NotAfter.Add(time.Minute)
	r.Sync.Advance(2, r.now)
	if got := ask(r, cert); got != reason.TokenExpired {
		t.Errorf("after its end: %v", got)
	}
	// A certificate outlives what is kept of a revocation.
	c := everyCarrier(extauthz.Class{Name: "w"})
	c.MaxKept = time.Hour
	if got := ask(newMixedRig(t, c, nil), cert); got != reason.LifetimeTooLong {
		t.Errorf("a day long, kept for an hour: %v", got)
	}
}

// TestCertificateFromXFCC: the element must have the certificate itself, since
// a session has an end.
func TestCertificateFromXFCC(t *testing.T) {
	cert := extauthztest.NewCertificate(t, "batch")
	sum := sha256.Sum256(cert.Cert.Raw)
	hash := "Hash=" + hex.EncodeToString(sum[:])
	c := everyCarrier(extauthz.Class{Name: "w"})
	c.XFCC = true
	r := newMixedRig(t, c, nil)
	for xfcc, want := range map[string]reason.Reason{
		hash + `;Cert="` + cert.PEM + `"`:                                             reason.OK,
		"Hash=" + strings.Repeat("0", 64) + "," + hash + `;Cert="` + cert.PEM + `"`:   reason.OK,
		hash + `;Cert="` + cert.PEM + `";URI=spiffe://cluster.local/ns/prod/sa/batch`: reason.OK,
		hash + `;Cert="` + cert.PEM + `";URI=spiffe://cluster.local/ns/prod/sa/admin`: reason.BindingMismatch,
		hash + `;URI=spiffe://cluster.local/ns/prod/sa/batch`:                         reason.CredentialMissing,
		hash:             reason.CredentialMissing,
		"":               reason.CredentialMissing,
		hash + `;Cert="`: reason.BindingMismatch,
	} {
		d, _ := r.answer(get("/", "x-forwarded-client-cert", xfcc))
		if d.Reason != want {
			t.Errorf("%.90s: %v, want %v", xfcc, d.Reason, want)
		}
	}
	req := get("/")
	req.Certificate = cert.PEM // of the proxy's own neighbour: not the source
	if d, _ := r.answer(req); d.Reason != reason.CredentialMissing {
		t.Errorf("source.certificate under xfcc: %v", d.Reason)
	}
}

// TestAPIKeySessions: class rules end keys that are old, and those whose age
// nobody knows; a key may live for as long as the file says, whatever is kept
// of other revocations.
func TestAPIKeySessions(t *testing.T) {
	now := time.Now()
	year := token.APIKey{ID: "year", Client: "reports", Scope: "a b", Created: now.Add(-100 * time.Hour), Expires: now.Add(8000 * time.Hour)}
	bare := token.APIKey{ID: "bare", Client: "reports"}
	for name, tc := range map[string]struct {
		demand     extauthz.Demand
		year, bare reason.Reason
	}{
		"no rule":     {extauthz.Demand{}, reason.OK, reason.OK},
		"age":         {extauthz.Demand{MaxAge: 99 * time.Hour}, reason.TokenTooOld, reason.TokenTooOld},
		"young":       {extauthz.Demand{MaxAge: 101 * time.Hour}, reason.OK, reason.TokenTooOld},
		"life":        {extauthz.Demand{MaxLifetime: 8000 * time.Hour}, reason.LifetimeTooLong, reason.LifetimeTooLong},
		"long life":   {extauthz.Demand{MaxLifetime: 9000 * time.Hour}, reason.OK, reason.LifetimeTooLong},
		"session age": {extauthz.Demand{AbsoluteTimeout: 99 * time.Hour}, reason.SessionExpired, reason.SessionExpired},
		"scope":       {extauthz.Demand{Scopes: []string{"b"}}, reason.OK, reason.ScopeInsufficient},
		"a proof":     {extauthz.Demand{Binding: proof.MTLS}, reason.BindingMissing, reason.BindingMissing},
		"a login":     {extauthz.Demand{MaxAuthAge: time.Hour}, reason.AuthTooOld, reason.AuthTooOld},
	} {
		c := everyCarrier(extauthz.Class{Name: "keys", Demand: tc.demand})
		c.MaxKept = 720 * time.Hour
		r := newMixedRig(t, c, map[string]token.APIKey{"y": year, "b": bare})
		for raw, want := range map[string]reason.Reason{"y": tc.year, "b": tc.bare} {
			if d, _ := r.answer(get("/", "x-api-key", raw)); d.Reason != want {
				t.Errorf("%s, %s: %v, want %v", name, raw, d.Reason, want)
			}
		}
	}
	r := newMixedRig(t, everyCarrier(extauthz.Class{Name: "keys"}), map[string]token.APIKey{"y": year, "b": bare})
	r.Index.Apply(1, r.now, []cache.Event{{
		Op: cache.OpRevoke, Kinds: cache.Client, Key: cache.KeyOf(cache.Client, token.APIKeys, "reports"), Value: "reports",
		Before: year.Created.Add(-time.Hour), Until: r.now.Add(time.Hour),
	}})
	if d, _ := r.answer(get("/", "x-api-key", "y")); d.Reason != reason.OK {
		t.Errorf("a key made after its client was withdrawn: %v", d.Reason)
	}
	if d, _ := r.answer(get("/", "x-api-key", "b")); d.Reason != reason.ClientRevoked {
		t.Errorf("a key of no known date: %v", d.Reason)
	}
}

// TestRenewedCredentials: a key that was exchanged under its id and a
// certificate that was rotated are as old as they say, whatever was seen of
// their session before.
func TestRenewedCredentials(t *testing.T) {
	c := everyCarrier(extauthz.Class{Name: "any", Demand: extauthz.Demand{AbsoluteTimeout: 10 * time.Hour}})
	keys := map[string]token.APIKey{}
	r := newMixedRig(t, c, keys)
	for created, want := range map[time.Duration]reason.Reason{-11 * time.Hour: reason.SessionExpired, -time.Minute: reason.OK} {
		keys["k"] = token.APIKey{ID: "one", Client: "reports", Created: r.now.Add(created)}
		if d, _ := r.answer(get("/", "x-api-key", "k")); d.Reason != want {
			t.Errorf("created %v ago: %v, want %v", -created, d.Reason, want)
		}
	}
	cert := extauthztest.NewCertificate(t, "batch") // an hour old
	ask := func() reason.Reason {
		d, _ := r.answer(&extauthz.Request{Method: "GET", Path: "/", Host: "api.example", Certificate: cert.PEM})
		return d.Reason
	}
	r.now = r.now.Add(9*time.Hour + 30*time.Minute)
	r.Sync.Advance(2, r.now)
	if got := ask(); got != reason.SessionExpired {
		t.Errorf("an old certificate: %v", got)
	}
	r.now = r.now.Add(-time.Hour)
	r.Sync.Advance(3, r.now)
	if got := ask(); got != reason.SessionExpired { // the clock never steps back
		t.Errorf("the same: %v", got)
	}
}

// TestAskedAuthTime: the issuer of an opaque token says when its session last
// authenticated, which may be after the token was issued (Keycloak).
func TestAskedAuthTime(t *testing.T) {
	now := time.Now().Unix()
	r := newRig(t, extauthz.Config{Classes: []extauthz.Class{{Name: "any", Demand: extauthz.Demand{MaxAuthAge: 5 * time.Minute, AbsoluteTimeout: time.Hour}}}})
	tokens, err := token.New(token.Config{
		Issuers: []token.Issuer{{Name: idp, Audiences: []string{"a"}, Opaque: true}}, Keys: keys{},
		Opaque: token.Opaque{Issuer: idp, Introspect: func(string) (*jose.Object, reason.Reason) {
			claims, err := jose.ParseObject(fmt.Appendf(nil, `{"active":true,"aud":"a","sub":"u","iat":%d,"exp":%d,"auth_time":%d}`, now-1200, now+600, now-60))
			if err != nil {
				t.Error(err)
			}
			return claims, reason.OK
		}},
		Classify: r.Policy.Classify,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Tokens = tokens
	if d, _ := r.answer(bearer("opaque")); d.Reason != reason.OK {
		t.Errorf("opaque: %v", d.Reason)
	}
	r = newRig(t, extauthz.Config{Classes: []extauthz.Class{{Name: "any", Demand: extauthz.Demand{MaxAuthAge: 5 * time.Minute}}}})
	jwt := r.issuer.Token(r.now, extauthztest.Claims{"iat": r.now.Unix() - 200, "auth_time": r.now.Unix() - 60})
	if d, _ := r.answer(bearer(jwt)); d.Reason != reason.AuthTooOld {
		t.Errorf("a token that says so of itself: %v", d.Reason)
	}
}

// TestReplayBeforeScope: a proof that was used is a replay, whatever else is
// wrong with the request (contract §6: binding before scope).
func TestReplayBeforeScope(t *testing.T) {
	r := newRig(t, extauthz.Config{
		Classes: []extauthz.Class{{Name: "any"}},
		Routes:  []extauthz.Route{{Name: "pay", Match: []extauthz.RouteMatch{{Methods: []string{"GET"}, Paths: []string{"/pay"}}}, Demand: extauthz.Demand{Scopes: []string{"pay"}}}},
	})
	alice := extauthztest.NewProver(t, "ES256")
	tok := r.issuer.Token(r.now, extauthztest.DPoPBound(alice.JKT))
	good := alice.Proof("GET", "https://api.example/x", tok, r.now, extauthztest.Claims{"jti": "one"})
	if d, _ := r.answer(get("/x", "authorization", "DPoP "+tok, "dpop", good)); d.Reason != reason.OK {
		t.Fatalf("%v", d.Reason)
	}
	again := alice.Proof("GET", "https://api.example/pay", tok, r.now, extauthztest.Claims{"jti": "one"})
	if d, _ := r.answer(get("/pay", "authorization", "DPoP "+tok, "dpop", again)); d.Reason != reason.DPoPReplayed {
		t.Errorf("%v", d.Reason)
	}
	fresh := alice.Proof("GET", "https://api.example/pay", tok, r.now)
	if d, _ := r.answer(get("/pay", "authorization", "DPoP "+tok, "dpop", fresh)); d.Reason != reason.ScopeInsufficient {
		t.Errorf("%v", d.Reason)
	}
}

// TestClaimFirst: where the feed can not say whether a proof is new, nothing is
// used up: the client may try again with it.
func TestClaimFirst(t *testing.T) {
	r := newRig(t, extauthz.Config{})
	alice := extauthztest.NewProver(t, "ES256")
	tok := r.issuer.Token(r.now, extauthztest.DPoPBound(alice.JKT))
	req := get("/x", "authorization", "DPoP "+tok, "dpop", alice.Proof("GET", "https://api.example/x", tok, r.now))
	answer := reason.FeedStale
	r.Claim = func([16]byte, time.Time) reason.Reason { return answer }
	for _, want := range []reason.Reason{reason.FeedStale, reason.FeedStale, reason.OK, reason.DPoPReplayed} {
		if want == reason.OK {
			answer = reason.OK
		}
		if d, _ := r.answer(req); d.Reason != want {
			t.Errorf("%v, want %v", d.Reason, want)
		}
	}
}
