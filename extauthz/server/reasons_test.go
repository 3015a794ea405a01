package server_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/proof"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/server"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

const idp, dark = "https://idp.example", "https://dark.example"

// world is a whole server over real gRPC, with faults to switch on.
type world struct {
	issuer *extauthztest.Issuer
	set    *jose.KeySet
	index  *cache.Index
	sync   *cache.Sync
	nonces *proof.Nonces
	panics bool
	full   bool
	envoy  *extauthztest.Envoy
	now    time.Time
}

func (w *world) KeySet(issuer string) (*jose.KeySet, bool) {
	if w.panics {
		panic("a fault of ours")
	}
	return w.set, issuer == idp
}

func (w *world) Wanted(string) {}

func newWorld(t *testing.T, unix bool, nonces *proof.Nonces) *world {
	t.Helper()
	w := &world{nonces: nonces, issuer: extauthztest.NewIssuer(t, idp, "ES256", "RS256"), index: cache.NewIndex(), sync: &cache.Sync{}, now: time.Now()}
	var err error
	if w.set, err = jose.ParseKeySet(w.issuer.JWKS()); err != nil {
		t.Fatal(err)
	}
	policy, err := extauthz.NewPolicy(extauthz.Config{
		FeedMaxAge: 10 * time.Second,
		Headers:    extauthz.HeaderNames{Subject: "x-holdfast-subject", Session: "x-holdfast-session", Class: "x-holdfast-class", Remove: []string{"dpop"}},
		Classes: []extauthz.Class{
			{Name: "people", Match: extauthz.ClassMatch{Clients: []string{extauthztest.Client}}, Demand: extauthz.Demand{
				MaxLifetime: time.Hour, MaxAge: 10 * time.Minute, AbsoluteTimeout: 12 * time.Hour,
			}},
		},
		Routes: []extauthz.Route{
			{Name: "health", Match: []extauthz.RouteMatch{{Paths: []string{"/healthz"}}}, Anonymous: true},
			{Name: "transfer", Match: []extauthz.RouteMatch{{Paths: []string{"/transfer/*"}}}, Demand: extauthz.Demand{MaxAuthAge: 5 * time.Minute, ACR: []string{"aal2", "aal3"}}},
			{Name: "vault", Match: []extauthz.RouteMatch{{Paths: []string{"/vault"}}}, Demand: extauthz.Demand{Binding: proof.MTLS}},
			{Name: "payments", Match: []extauthz.RouteMatch{{Paths: []string{"/payments"}}}, Demand: extauthz.Demand{Scopes: []string{"payments"}}},
			{Name: "closed", Match: []extauthz.RouteMatch{{Paths: []string{"/closed"}}}, Demand: extauthz.Demand{OnFeedStale: extauthz.StaleDeny}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	one := token.Issuer{Audiences: []string{extauthztest.Audience}, Algorithms: []string{"ES256"}, Skew: 30 * time.Second}
	lit, unlit := one, one
	lit.Name, unlit.Name = idp, dark
	tokens, err := token.New(token.Config{
		Issuers: []token.Issuer{lit, unlit}, Keys: w, Classify: policy.Classify,
		Acquire: func() bool { return !w.full }, Release: func() {},
	})
	if err != nil {
		t.Fatal(err)
	}
	dpop, err := proof.NewDPoP(proof.DPoPConfig{MaxAge: time.Minute, FutureSkew: 5 * time.Second, NonceRequired: w.nonces != nil})
	if err != nil {
		t.Fatal(err)
	}
	replay, err := cache.NewReplay(cache.ReplayConfig{})
	if err != nil {
		t.Fatal(err)
	}
	decider := server.NewDecider(&extauthz.Checker{DPoP: dpop, Nonces: w.nonces, Replay: replay, Policy: policy, Tokens: tokens, Index: w.index, Sync: w.sync, Clock: &extauthz.Clock{}, Certificates: proof.NewCertificates(),
		Listed: func(issuer, uri string, index uint64) (valid, known bool) {
			return index == 0, issuer == idp && uri == idp+"/list"
		},
	}, nil)
	srv, err := server.New(server.Config{
		Check: decider.Check, Overloaded: decider.Overloaded,
		OnPanic: func(any, []byte) []byte { return decider.Fault() },
	})
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:0"
	if unix {
		address = "unix://" + t.TempDir() + "/check.sock"
	}
	listener, err := server.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, srv, listener)
	if !unix {
		address = listener.Addr().String()
	}
	if w.envoy, err = extauthztest.Dial(address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.envoy.Close() })
	w.live()
	return w
}

func serve(t *testing.T, srv *server.Server, listener net.Listener) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(listener) }()
	t.Cleanup(func() {
		srv.Drain(10 * time.Second)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func (w *world) live() { w.sync.Mend(); w.sync.Advance(w.sync.Number()+1, time.Now()) }

func (w *world) revoke(kind cache.Kinds, value string) {
	issuer := idp
	if !kind.InIssuer() {
		issuer = ""
	}
	w.index.Apply(w.index.Applied()+1, w.now, []cache.Event{{
		Op: cache.OpRevoke, Kinds: kind, Key: cache.KeyOf(kind, issuer, value), Issuer: issuer, Value: value,
		Before: w.now, Until: w.now.Add(time.Hour),
	}})
}

func (w *world) ask(t *testing.T, r extauthztest.Request) *extauthztest.Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	a, err := w.envoy.Check(ctx, r)
	if err != nil {
		t.Fatalf("a check ended in a gRPC error, which a proxy that fails open allows: %v", err)
	}
	return a
}

func request(path, authorization string, more ...[2]string) extauthztest.Request {
	r := extauthztest.Request{Path: path, Headers: more}
	if authorization != "" {
		r.Headers = append(r.Headers, [2]string{"authorization", authorization})
	}
	return r
}

// listed is the claim of a token that stands in a status list.
func listed(index int, uri string) extauthztest.Claims {
	return extauthztest.Claims{"status": map[string]any{"status_list": map[string]any{"idx": index, "uri": uri}}}
}

// TestEveryReason asks for each reason through gRPC, in both header encodings,
// and holds the whole answer to contract §6.
func TestEveryReason(t *testing.T) {
	type C = extauthztest.Claims
	mine, other := extauthztest.NewCertificate(t, "alice"), extauthztest.NewCertificate(t, "mallory")
	bound := extauthztest.CertificateBound(mine.X5T)
	ago := func(w *world, d time.Duration) int64 { return w.now.Add(-d).Unix() }
	bearer := func(parts ...extauthztest.Part) func(*world) extauthztest.Request {
		return func(w *world) extauthztest.Request { return request("/x", "Bearer "+w.issuer.Token(w.now, parts...)) }
	}
	at := func(path string, claims C) func(*world) extauthztest.Request {
		return func(w *world) extauthztest.Request { return request(path, "Bearer "+w.issuer.Token(w.now, claims)) }
	}
	revoked := func(kind cache.Kinds, value string, claims C) func(*world) extauthztest.Request {
		return func(w *world) extauthztest.Request {
			w.revoke(kind, value)
			return request("/x", "Bearer "+w.issuer.Token(w.now, claims))
		}
	}
	with := func(cert *extauthztest.Certificate, f func(*world) extauthztest.Request) func(*world) extauthztest.Request {
		return func(w *world) extauthztest.Request { r := f(w); r.Cert = cert.Cert; return r }
	}
	stale := func(path string) func(*world) extauthztest.Request {
		return func(w *world) extauthztest.Request { w.sync.Break("a gap"); return at(path, nil)(w) }
	}
	const url, dpopError = "https://api.example/x", `DPoP error="invalid_dpop_proof", algs="` + proof.DPoPAlgorithms + `"`
	prover := extauthztest.NewProver(t, "ES256")
	proven := func(make func(p *extauthztest.Prover, tok string, now time.Time) string) func(*world) extauthztest.Request {
		return func(w *world) extauthztest.Request {
			tok := w.issuer.Token(w.now, extauthztest.DPoPBound(prover.JKT))
			return request("/x", "DPoP "+tok, [2]string{"dpop", make(prover, tok, w.now)})
		}
	}
	const stepUp = `Bearer error="insufficient_user_authentication", max_age=300, acr_values="aal2 aal3"`

	cases := map[reason.Reason]struct {
		req       func(*world) extauthztest.Request
		challenge string // "" = the scheme and code of the table
	}{
		reason.OK:        {with(mine, bearer(bound)), ""},
		reason.Anonymous: {func(*world) extauthztest.Request { return request("/healthz", "") }, ""},

		reason.CredentialAmbiguous: {func(w *world) extauthztest.Request {
			tok := w.issuer.Token(w.now)
			return request("/x", "Bearer "+tok, [2]string{"authorization", "Bearer " + tok})
		}, ""},
		reason.PathAmbiguous:     {at("/a/../b", nil), ""},
		reason.RequestMalformed:  {func(w *world) extauthztest.Request { r := bearer()(w); r.Host = "a b"; return r }, ""},
		reason.CredentialMissing: {func(*world) extauthztest.Request { return request("/x", "") }, "Bearer"},

		reason.TokenMalformed:   {func(*world) extauthztest.Request { return request("/x", "Bearer x.y.z") }, ""},
		reason.TokenTooLarge:    {func(*world) extauthztest.Request { return request("/x", "Bearer "+strings.Repeat("a", 9000)) }, ""},
		reason.AlgorithmRefused: {bearer(extauthztest.Key("rs256-1")), ""},
		reason.TypeRefused:      {bearer(extauthztest.Header{"typ": "JWT"}), ""},
		reason.IssuerUnknown:    {bearer(C{"iss": idp + "/"}), ""},
		reason.KeyUnknown:       {bearer(extauthztest.Header{"kid": "gone"}), ""},
		reason.SignatureInvalid: {func(w *world) extauthztest.Request {
			return request("/x", "Bearer "+extauthztest.Forge(w.issuer.Token(w.now)))
		}, ""},
		reason.AudienceMismatch: {bearer(C{"aud": "https://api.example2"}), ""},
		reason.ClaimsInvalid:    {bearer(C{"sub": extauthztest.Absent, "sid": extauthztest.Absent}), ""},
		reason.TokenExpired: {func(w *world) extauthztest.Request {
			return request("/x", "Bearer "+w.issuer.Token(w.now.Add(-time.Hour)))
		}, ""},
		reason.TokenNotYetValid: {func(w *world) extauthztest.Request {
			return request("/x", "Bearer "+w.issuer.Token(w.now, C{"nbf": w.now.Add(time.Minute).Unix()}))
		}, ""},
		reason.ClassUnknown: {bearer(C{"client_id": "nobody"}), ""},
		reason.LifetimeTooLong: {func(w *world) extauthztest.Request {
			return at("/x", C{"exp": w.now.Add(2 * time.Hour).Unix()})(w)
		}, ""},
		reason.TokenTooOld: {func(w *world) extauthztest.Request {
			return at("/x", C{"iat": ago(w, 11*time.Minute)})(w)
		}, ""},
		reason.SessionExpired: {func(w *world) extauthztest.Request {
			return at("/x", C{"auth_time": ago(w, 13*time.Hour)})(w)
		}, ""},
		reason.BindingMissing:     {at("/vault", nil), ""},
		reason.BindingMismatch:    {with(other, bearer(bound)), ""},
		reason.BindingUnsupported: {bearer(C{"cnf": map[string]any{"jwk": map[string]any{}}}), ""},

		reason.TokenRevoked:      {revoked(cache.Token, "j-9", C{"jti": "j-9"}), ""},
		reason.SessionRevoked:    {revoked(cache.Session, "s-9", C{"sid": "s-9"}), ""},
		reason.SubjectRevoked:    {revoked(cache.User, "u-9", C{"sub": "u-9"}), ""},
		reason.ClientRevoked:     {revoked(cache.Client, extauthztest.Client, nil), ""},
		reason.TenantRevoked:     {revoked(cache.Tenant, "t-9", C{"tenant": "t-9"}), ""},
		reason.IssuerRevoked:     {revoked(cache.Issuer, idp, nil), ""},
		reason.SigningKeyRevoked: {revoked(cache.SigningKey, "es256-1", nil), ""},
		reason.BindingKeyRevoked: {with(mine, revoked(cache.BindingKey, mine.X5T, bound)), ""},
		reason.DeviceRevoked:     {revoked(cache.Device, "d-9", C{"device_id": "d-9"}), ""},
		reason.StatusInvalid:     {bearer(listed(1, idp+"/list")), ""},

		reason.DPoPMissing: {func(w *world) extauthztest.Request {
			return request("/x", "DPoP "+w.issuer.Token(w.now, C{"cnf": map[string]any{"jkt": mine.X5T}}))
		}, dpopError},
		reason.DPoPInvalid: {proven(func(p *extauthztest.Prover, tok string, now time.Time) string {
			return extauthztest.Forge(p.Proof("GET", url, tok, now))
		}), dpopError},
		reason.DPoPMismatch: {proven(func(p *extauthztest.Prover, tok string, now time.Time) string { return p.Proof("POST", url, tok, now) }), dpopError},
		reason.DPoPExpired: {proven(func(p *extauthztest.Prover, tok string, now time.Time) string {
			return p.Proof("GET", url, tok, now.Add(-2*time.Minute))
		}), dpopError},
		reason.DPoPReplayed: {func(w *world) extauthztest.Request {
			req := proven(func(p *extauthztest.Prover, tok string, now time.Time) string { return p.Proof("GET", url, tok, now) })(w)
			if a := w.ask(t, req); a.Reason() != "ok" {
				t.Errorf("first use: %v", a)
			}
			return req
		}, dpopError},
		reason.DPoPNonceRequired: {proven(func(p *extauthztest.Prover, tok string, now time.Time) string { return p.Proof("GET", url, tok, now) }),
			`DPoP error="use_dpop_nonce", algs="` + proof.DPoPAlgorithms + `"`},

		reason.AuthTooOld: {func(w *world) extauthztest.Request {
			return at("/transfer/1", C{"auth_time": ago(w, 6*time.Minute)})(w)
		}, stepUp},
		reason.ACRInsufficient:   {at("/transfer/1", C{"acr": "aal1"}), stepUp},
		reason.ScopeInsufficient: {at("/payments", nil), `Bearer error="insufficient_scope", scope="payments"`},

		reason.FeedStale:         {stale("/x"), ""},
		reason.KeysUnavailable:   {bearer(C{"iss": dark}), ""},
		reason.StatusUnavailable: {bearer(listed(0, idp+"/other")), ""},
		reason.NotReady:          {func(w *world) extauthztest.Request { *w.sync = cache.Sync{}; return bearer()(w) }, ""},
		reason.RouteUnknown:      {func(w *world) extauthztest.Request { r := bearer()(w); r.Route = "nope"; return r }, ""},
		reason.Overloaded:        {func(w *world) extauthztest.Request { w.full = true; return bearer()(w) }, ""},
		reason.Internal:          {func(w *world) extauthztest.Request { w.panics = true; return bearer()(w) }, ""},
	}
	for _, r := range reason.All() {
		tc, ok := cases[r]
		if !ok {
			t.Errorf("no request ends in %v", r)
			continue
		}
		for _, mapMode := range []bool{false, true} {
			name := r.String() + "/raw"
			if mapMode {
				name = r.String() + "/map"
			}
			t.Run(name, func(t *testing.T) {
				var nonces *proof.Nonces
				if r == reason.DPoPNonceRequired {
					nonces = &proof.Nonces{}
					nonces.SetKeys(proof.NonceKey{Key: [32]byte{1}, Start: time.Now().Add(-time.Hour)}, proof.NonceKey{})
				}
				w := newWorld(t, mapMode, nonces)
				req := tc.req(w)
				req.MapMode = mapMode
				a := w.ask(t, req)
				check(t, a, r, tc.challenge)
				if nonce := a.Header("dpop-nonce"); (r == reason.DPoPNonceRequired) != (nonce != "" && nonces.Accept(nonce, time.Now())) {
					t.Errorf("DPoP-Nonce is %q", nonce)
				}
			})
		}
	}
}

// check holds one answer to the table.
func check(t *testing.T, a *extauthztest.Answer, want reason.Reason, challenge string) {
	t.Helper()
	verdicts := map[reason.Verdict]string{reason.Allow: extauthztest.VerdictOK, reason.Deny: extauthztest.VerdictDenied, reason.Unable: extauthztest.VerdictError}
	codes := map[int]int32{200: 0, 400: 7, 401: 16, 403: 7, 503: 14}
	if a.Reason() != want.String() || a.Verdict != verdicts[want.Verdict()] || a.Status != want.Status() || a.Code != codes[want.Status()] {
		t.Fatalf("answer %v, want %v", a, want)
	}
	for key, value := range map[string]any{"decision": want.Verdict().String(), "reason": want.String(), "enforced": true} {
		if a.Metadata[key] != value {
			t.Errorf("metadata %s is %v, want %v", key, a.Metadata[key], value)
		}
	}
	for _, key := range []string{"decision_id", "class", "route"} {
		if text, ok := a.Metadata[key].(string); !ok || key == "decision_id" && text == "" {
			t.Errorf("metadata %s is %#v", key, a.Metadata[key])
		}
	}
	if want.Verdict() == reason.Allow {
		if !slices.Contains(a.Removed, "dpop") {
			t.Errorf("removed %v", a.Removed)
		}
		return
	}
	var challenges []string
	switch {
	case challenge != "":
		challenges = []string{challenge}
	case want.Status() != 503:
		challenges = []string{`Bearer error="` + want.Code() + `"`}
	}
	if diff := cmp.Diff(challenges, a.Challenges); diff != "" {
		t.Errorf("challenges (-want +got):\n%s", diff)
	}
	code := want.Code()
	if want == reason.CredentialMissing {
		code = "invalid_token"
	}
	id, _ := a.Metadata["decision_id"].(string)
	if body := `{"error":"` + code + `","decision_id":"` + id + `"}`; a.Body != body {
		t.Errorf("body %s, want %s", a.Body, body)
	}
	retry := ""
	if want.Status() == 503 {
		retry = "1"
	}
	if a.Header("cache-control") != "no-store" || a.Header("retry-after") != retry || a.Header("content-type") != "application/json" {
		t.Errorf("headers %v", a.Set)
	}
	if outside := a.Body + strings.Join(a.Challenges, ""); strings.Contains(outside, want.String()) && want.String() != want.Code() {
		t.Errorf("the client reads the reason: %s", outside)
	}
}

// TestStaleAsDenial: 503 as a denial, which a proxy that fails open keeps.
func TestStaleAsDenial(t *testing.T) {
	w := newWorld(t, false, nil)
	w.sync.Break("a gap")
	a := w.ask(t, request("/closed", "Bearer "+w.issuer.Token(w.now)))
	if a.Verdict != extauthztest.VerdictDenied || a.Status != 503 || a.Code != 14 || a.Reason() != "feed_stale" || a.Decision() != "deny" {
		t.Errorf("answer %v", a)
	}
}

// TestUpstreamHeaders: what reaches the upstream of an allowed request.
func TestUpstreamHeaders(t *testing.T) {
	w := newWorld(t, false, nil)
	a := w.ask(t, request("/x", "Bearer "+w.issuer.Token(w.now, extauthztest.Claims{"sub": "ali\r\nce, é"}),
		[2]string{"x-holdfast-subject", "root"}, [2]string{"x_holdfast_subject", "root"}, [2]string{"x-holdfast-role", "admin"}))
	want := map[string]string{"x-holdfast-subject": "ali%0D%0Ace%2C%20%C3%A9", "x-holdfast-session": extauthztest.Session, "x-holdfast-class": "people"}
	for name, value := range want {
		if got := a.Header(name); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	slices.Sort(a.Removed)
	if diff := cmp.Diff([]string{"dpop", "x-holdfast-role", "x_holdfast_subject"}, a.Removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
}

// TestNothingIsLeftOver: an answer holds nothing of the one before, whose
// memory it uses again.
func TestNothingIsLeftOver(t *testing.T) {
	w := newWorld(t, false, nil)
	for range 50 {
		if a := w.ask(t, request("/x", "Bearer "+w.issuer.Token(w.now))); a.Header("x-holdfast-subject") != extauthztest.Subject {
			t.Fatalf("a known session: %v", a)
		}
		a := w.ask(t, request("/healthz", ""))
		if len(a.Set) != 0 || a.Metadata["class"] != "" || a.Reason() != "anonymous" {
			t.Fatalf("an anonymous answer after it: %v", a)
		}
		a = w.ask(t, request("/x", ""))
		if a.Reason() != "credential_missing" || a.Metadata["class"] != "" || a.Metadata["route"] != "" || a.Header("x-holdfast-subject") != "" {
			t.Fatalf("a denial after it: %v", a)
		}
	}
}
