package extauthz_test

import (
	"encoding/json"
	"maps"
	"strconv"
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
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

const algs = `algs="ES256 ES384 EdDSA Ed25519 PS256 RS256"`

// situations are the requests of the samples of WWW-Authenticate. Our text has
// no realm and no error_description, and names the algorithms of DPoP beside
// every error; what else is not the sample's says so.
var situations = map[string]struct {
	demand  extauthz.Demand
	request func(*rig) *extauthz.Request
	status  int
	answer  []string
	unlike  string // what the sample has besides, and why we do not
}{
	"wire-6750-none": {extauthz.Demand{}, func(*rig) *extauthz.Request { return get("/x") }, 401, []string{"Bearer"}, ""},
	"wire-6750-expired": {extauthz.Demand{}, func(r *rig) *extauthz.Request {
		return bearer(r.issuer.Token(r.now.Add(-time.Hour)))
	}, 401, []string{`Bearer error="invalid_token"`}, ""},
	"wire-9470-acr": {extauthz.Demand{ACR: []string{"myACR"}}, claims(nil), 401,
		[]string{`Bearer error="insufficient_user_authentication", acr_values="myACR"`}, ""},
	"wire-9470-age": {extauthz.Demand{MaxAuthAge: 5 * time.Second}, claims(extauthztest.Claims{"auth_time": 1}), 401,
		[]string{`Bearer error="insufficient_user_authentication", max_age=5`}, ""},
	"wire-dpop-none":  {extauthz.Demand{Binding: proof.DPoP}, func(*rig) *extauthz.Request { return get("/x") }, 401, []string{"DPoP " + algs}, ""},
	"wire-dpop-multi": {extauthz.Demand{Binding: proof.DPoP | proof.MTLS}, func(*rig) *extauthz.Request { return get("/x") }, 401, []string{"Bearer", "DPoP " + algs}, ""},
	"wire-dpop-badbearer": {extauthz.Demand{Binding: proof.DPoP | proof.MTLS}, func(*rig) *extauthz.Request {
		return get("/x", "authorization", "Bearer INVALID_TOKEN")
	}, 401, []string{`Bearer error="invalid_token"`}, "a second challenge, DPoP: contract §6 has one, of the scheme that was used"},
	"wire-dpop-ambiguous": {extauthz.Demand{Binding: proof.DPoP | proof.MTLS}, func(*rig) *extauthz.Request {
		const opaque = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
		return get("/x", "authorization", "Bearer "+opaque, "authorization", "DPoP "+opaque)
	}, 400, []string{`Bearer error="invalid_request"`}, "a second challenge, DPoP: contract §6 has one"},
	"wire-dpop-nonce": {extauthz.Demand{}, func(r *rig) *extauthz.Request {
		nonces := &proof.Nonces{}
		nonces.SetKeys(proof.NonceKey{Key: [32]byte{1}, Start: r.now.Add(-time.Hour)}, proof.NonceKey{})
		r.Nonces = nonces
		dpop, err := proof.NewDPoP(proof.DPoPConfig{NonceRequired: true})
		if err != nil {
			r.t.Fatal(err)
		}
		r.DPoP = dpop
		alice := extauthztest.NewProver(r.t, "ES256")
		tok := r.issuer.Token(r.now, extauthztest.DPoPBound(alice.JKT))
		return get("/x", "authorization", "DPoP "+tok, "dpop", alice.Proof("GET", dpopURL, tok, r.now))
	}, 401, []string{`DPoP error="use_dpop_nonce", ` + algs}, ""},
}

// challenged compares scheme, code and parameters with a sample of the RFC, and
// the whole with our own text.
func (v *vector) challenged(t *testing.T) {
	s, known := situations[v.ID]
	if !known {
		t.Fatal("nobody says which request this answers")
	}
	e := v.expect(t)
	r := newRig(t, extauthz.Config{Routes: []extauthz.Route{{Name: "all", Match: []extauthz.RouteMatch{{}}, Demand: s.demand}}})
	_, res := r.answer(s.request(r))
	got, sample := challenges(res), e.Headers["WWW-Authenticate"]
	if res.Status != e.Status || res.Status != s.status {
		t.Errorf("status %d, the sample has %d", res.Status, e.Status)
	}
	if diff := cmp.Diff(s.answer, got); diff != "" {
		t.Errorf("challenge (-want +got):\n%s", diff)
	}
	whole := strings.Join(got, ", ")
	if scheme, _, _ := strings.Cut(sample, " "); !strings.HasPrefix(whole, strings.TrimSuffix(scheme, ",")) {
		t.Errorf("%s; the sample begins with %s", whole, scheme)
	}
	for _, name := range []string{"error", "max_age", "acr_values"} {
		if param(whole, name) != param(sample, name) {
			t.Errorf("%s is %q, in the sample %q", name, param(whole, name), param(sample, name))
		}
	}
	if strings.Contains(sample, "DPoP") != strings.Contains(whole, "DPoP") && s.unlike == "" {
		t.Errorf("%s; the sample is %s", whole, sample)
	}
	for _, never := range []string{"realm", "error_description", "INVALID_TOKEN"} {
		if strings.Contains(whole, never) {
			t.Errorf("%s in %s", never, whole)
		}
	}
	if _, wanted := e.Headers["DPoP-Nonce"]; wanted != (len(headerOf(res, "dpop-nonce")) == 1) {
		t.Errorf("DPoP-Nonce: %q", headerOf(res, "dpop-nonce"))
	}
	if diff := cmp.Diff([]string{"no-store"}, headerOf(res, "cache-control")); diff != "" {
		t.Errorf("cache-control (-want +got):\n%s", diff)
	}
}

// requested plays a request as it stands, with an opaque token.
func (v *vector) requested(t *testing.T) {
	e := v.expect(t)
	body := []byte(`{"active":false}`)
	if v.Introspection != nil {
		// The sample says no more than it needs to.
		body = merged(t, v.Introspection, `{"aud":"a","sub":"u","iat":1800000000,"exp":1800000300}`)
	}
	r := rigAt(t, extauthz.Config{}, idp, "a", 1_800_000_000, says(t, body))
	d, res := r.answer(get("/x", "authorization", v.Headers["authorization"]))
	if res.Status != e.Status || d.Reason.Code() != e.OAuth || param(strings.Join(challenges(res), ", "), "error") != e.OAuth {
		t.Errorf("%v: %d %v", d.Reason, res.Status, challenges(res))
	}
	want := map[string]reason.Reason{"dpop-gen-bound-as-bearer": reason.BindingMissing, "auth-joined-two": reason.CredentialAmbiguous}[v.ID]
	if d.Reason != want {
		t.Errorf("%v, want %v", d.Reason, want)
	}
}

// decoded reads the token of RFC 9449 figure 9, whose key was never published.
func (v *vector) decoded(t *testing.T) {
	parsed, err := jose.Parse(v.Token)
	if err != nil {
		t.Fatal(err)
	}
	var want extauthztest.Claims
	if err := json.Unmarshal(v.expect(t).Claims, &want); err != nil {
		t.Fatal(err)
	}
	if len(parsed.Claims.Members()) != len(want) {
		t.Errorf("%d claims, want %d", len(parsed.Claims.Members()), len(want))
	}
	if sub, _ := parsed.Claims.Get("sub"); sub.Raw() != `"someone@example.com"` {
		t.Errorf("sub %s", sub.Raw())
	}
	r := rigAt(t, extauthz.Config{}, "https://server.example.com", "a", 1_562_262_616, nil)
	var s token.Session
	for what, tc := range map[string]struct {
		raw  string
		want reason.Reason
	}{
		"as it is":            {v.Token, reason.KeyUnknown},
		"by a key of ours":    {r.issuer.Sign([]byte(`{"alg":"ES256"}`), []byte(v.expect(t).Claims)), reason.ClaimsInvalid}, // no aud
		"with aud too":        {r.issuer.Sign([]byte(`{"alg":"ES256"}`), merged(t, v.expect(t).Claims, `{"aud":"a"}`)), reason.TypeRefused},
		"with typ as well":    {r.issuer.Sign([]byte(`{"alg":"ES256","typ":"at+jwt"}`), merged(t, v.expect(t).Claims, `{"aud":"a"}`)), reason.ClaimsInvalid}, // no iat
		"with iat to the end": {r.issuer.Sign([]byte(`{"alg":"ES256","typ":"at+jwt"}`), merged(t, v.expect(t).Claims, `{"aud":"a","iat":1562262611}`)), reason.OK},
	} {
		if got := r.Tokens.Verify(tc.raw, r.now, &s); got != tc.want {
			t.Errorf("%s: %v, want %v", what, got, tc.want)
		} else if got == reason.OK && s.Confirm.JKT != jkt {
			t.Errorf("%s: %+v", what, s.Confirm)
		}
	}
}

// claimed plays the token of RFC 9470, 6.1, at the second when its login is too
// old and the one before.
func (v *vector) claimed(t *testing.T) {
	var e map[string]string
	if err := json.Unmarshal(v.Expect, &e); err != nil {
		t.Fatal(err)
	}
	aud, _ := v.Claims["aud"].(string)
	iss, _ := v.Claims["iss"].(string)
	delete(v.Header, "kid") // ours signs it
	for _, tc := range []struct {
		said   string
		now    int64
		demand extauthz.Demand
		want   reason.Reason
	}{
		{e["now=1646340203,max_age=5"], 1646340203, extauthz.Demand{MaxAuthAge: 5 * time.Second}, reason.OK},
		{e["now=1646340204,max_age=5"], 1646340204, extauthz.Demand{MaxAuthAge: 5 * time.Second}, reason.AuthTooOld},
		{e["require acr myACR"], 1646340204, extauthz.Demand{ACR: []string{"myACR"}}, reason.OK},
		{"step-up", 1646340204, extauthz.Demand{ACR: []string{"myacr"}}, reason.ACRInsufficient},
	} {
		r := rigAt(t, extauthz.Config{Classes: []extauthz.Class{{Name: "any", Demand: tc.demand}}}, iss, aud, tc.now, nil)
		d, _ := r.answer(bearer(r.issuer.Token(r.now, v.Header, v.Claims)))
		if d.Reason != tc.want || (d.Reason == reason.OK) != (tc.said == "pass") {
			t.Errorf("at %d: %v, want %v (%s)", tc.now, d.Reason, tc.want, tc.said)
		}
	}
}

func (v *vector) steppedUp(t *testing.T) {
	e := v.expect(t)
	r := rigAt(t, extauthz.Config{Classes: []extauthz.Class{{Name: "any", Demand: extauthz.Demand{
		MaxAuthAge: time.Duration(v.Policy.MaxAge) * time.Second, ACR: v.Policy.ACRValues,
	}}}}, "https://as.example.com", "https://api.example.com", v.Now, nil)
	d, res := r.answer(bearer(r.issuer.Token(r.now, v.Claims)))
	whole := strings.Join(challenges(res), ", ")
	if res.Status != e.Status || param(whole, "error") != e.Error {
		t.Errorf("%v: %d %s", d.Reason, res.Status, whole)
	}
	for _, name := range []string{"max_age", "acr_values"} {
		if param(whole, name) != param(e.Params, name) {
			t.Errorf("%s of %s; want %s", name, whole, e.Params)
		}
	}
}

// revoked withdraws what an event names, as a receiver will, and plays the
// token. An event that names a user's session withdraws that session.
func (v *vector) revoked(t *testing.T) {
	type format struct {
		Iss, Sub, ID          string
		User, Session, Tenant *struct{ Iss, Sub, ID string }
	}
	var s format
	if err := json.Unmarshal(v.Event.SubID, &s); err != nil {
		t.Fatal(err)
	}
	iss, _ := v.Claims["iss"].(string)
	kind, issuer, value := cache.User, s.Iss, s.Sub
	switch {
	case s.Session != nil:
		kind, issuer, value = cache.Session, iss, s.Session.ID
	case s.Tenant != nil:
		kind, issuer, value = cache.Tenant, iss, s.Tenant.ID
	}
	r := rigAt(t, extauthz.Config{}, iss, "https://api.example.com", 1_800_000_000, nil)
	tok := r.issuer.Token(r.now, v.Claims)
	if d, _ := r.answer(bearer(tok)); d.Reason != reason.OK {
		t.Fatalf("before: %v", d.Reason)
	}
	r.Index.Apply(1, r.now, []cache.Event{{
		Op: cache.OpRevoke, Kinds: kind, Key: cache.KeyOf(kind, issuer, value), Issuer: issuer, Value: value,
		Before: time.Unix(v.Event.Timestamp, 0), Until: r.now.Add(time.Hour),
	}})
	d, res := r.answer(bearer(tok))
	if want := v.expect(t).Decision; res.Verdict.String() != want {
		t.Errorf("%v, want %s", d.Reason, want)
	}
	// A login after the event passes, but for the session itself.
	later := r.issuer.Token(r.now, v.Claims, extauthztest.Claims{"auth_time": v.Event.Timestamp + 1, "iat": v.Event.Timestamp + 1, "sid": "s2"})
	if d, _ := r.answer(bearer(later)); d.Reason != reason.OK {
		t.Errorf("a later login: %v", d.Reason)
	}
}

// introspected takes the samples for what an issuer says of an opaque token.
// Two lack what we ask for: aud (a token that may be for somebody else is none
// for us), iat (how long its revocation has to be kept), and a thumbprint
// without stray bits.
func (v *vector) introspected(t *testing.T) {
	var body struct {
		Iss string
		Exp int64
		Aud string
	}
	if err := json.Unmarshal(v.Body, &body); err != nil {
		t.Fatal(err)
	}
	if body.Iss == "" {
		body.Iss, body.Exp = idp, 1_800_000_000
	}
	ask := func(doc []byte, aud string) reason.Reason {
		r := rigAt(t, extauthz.Config{}, body.Iss, aud, body.Exp-60, says(t, doc))
		d, res := r.answer(bearer("2YotnFZFEjr1zCsicMWpAA"))
		if d.Reason != reason.OK && (res.Status != 401 || param(strings.Join(challenges(res), ", "), "error") != "invalid_token") {
			t.Errorf("%d %v", res.Status, challenges(res))
		}
		return d.Reason
	}
	iat := strconv.FormatInt(body.Exp-60, 10)
	want := map[string]struct{ asItIs, withAud reason.Reason }{
		"introspect-7662-active":   {reason.OK, reason.OK},
		"introspect-7662-inactive": {reason.TokenRevoked, reason.TokenRevoked},
		"introspect-9449":          {reason.ClaimsInvalid, reason.BindingMissing}, // needs a proof by this key
		"introspect-8705":          {reason.ClaimsInvalid, reason.ClaimsInvalid},
	}[v.ID]
	if body.Aud == "" {
		body.Aud = "https://api.example"
	}
	if got := ask(v.Body, body.Aud); got != want.asItIs {
		t.Errorf("as it is: %v, want %v", got, want.asItIs)
	}
	if got := ask(merged(t, v.Body, `{"aud":"`+body.Aud+`","iat":`+iat+`}`), body.Aud); got != want.withAud {
		t.Errorf("with aud: %v, want %v", got, want.withAud)
	}
	if v.ID == "introspect-9449" { // RFC 9449, 6.2
		if got := ask(merged(t, v.Body, `{"aud":"a","iat":`+iat+`,"token_type":"DPoP"}`), "a"); got != reason.BindingMissing {
			t.Errorf("as Bearer: %v", got)
		}
	}
	if v.ID == "introspect-8705" { // needs a certificate
		if got := ask(merged(t, v.Body, `{"aud":"a","iat":`+iat+`,"cnf":{"x5t#S256":"`+jkt+`"}}`), "a"); got != reason.BindingMissing {
			t.Errorf("without a certificate: %v", got)
		}
	}
}

// cookie plays what a browser sends back of a cookie that it has accepted. That
// it refuses others is its own business; what we can see of the prefix is the
// name, and only the name that is configured is read.
func (v *vector) cookie(t *testing.T) {
	pair, _, _ := strings.Cut(v.Value, ";")
	name, _, _ := strings.Cut(pair, "=")
	ours := map[string]string{"__host-sid": "__Host-SID", "__secure-sid": "__Secure-SID"}[strings.ToLower(name)]
	r := newRig(t, extauthz.Config{Carriers: []extauthz.Carrier{{Kind: extauthz.CredentialCookie, Name: ours}}})
	tok := r.issuer.Token(r.now)
	d, _ := r.answer(get("/x", "cookie", name+"="+tok))
	switch want := v.expect(t).Accepted; {
	case name != ours && d.Reason != reason.CredentialMissing:
		t.Errorf("%s is taken for %s: %v", name, ours, d.Reason)
	case want && d.Reason != reason.OK:
		t.Errorf("%v", d.Reason)
	}
	// A look-alike beside the true one changes nothing; a second true one does.
	if d, _ := r.answer(get("/x", "cookie", strings.ToUpper(ours)+"=x; "+ours+"="+tok)); d.Reason != reason.OK {
		t.Errorf("beside a look-alike: %v", d.Reason)
	}
	if d, _ := r.answer(get("/x", "cookie", ours+"=x; "+ours+"="+tok)); d.Reason != reason.CredentialAmbiguous {
		t.Errorf("twice: %v", d.Reason)
	}
}

// confirmed plays the token of RFC 8705, 3.1. Its thumbprint has bits behind
// the last byte, so that it can be that of no certificate: it is refused as a
// claim, and never taken for a bearer token.
func (v *vector) confirmed(t *testing.T) {
	r := rigAt(t, extauthz.Config{}, "https://server.example.com", "a", 1493726400-60, nil)
	more := extauthztest.Claims{"aud": "a", "iat": 1493722800, "auth_time": extauthztest.Absent}
	cert := extauthztest.NewCertificate(t, "ty")
	for name, certificate := range map[string]string{"no certificate": "", "a certificate": cert.PEM} {
		req := bearer(r.issuer.Token(r.now, v.Claims, more))
		req.Certificate = certificate
		if d, res := r.answer(req); d.Reason != reason.ClaimsInvalid || res.Status != 401 {
			t.Errorf("%s: %v", name, d.Reason)
		}
	}
	// The same, where the last character has no such bits.
	spelled := v.expect(t).X5T
	canonical := maps.Clone(v.Claims)
	canonical["cnf"] = map[string]any{"x5t#S256": spelled[:42] + "0"}
	if d, _ := r.answer(bearer(r.issuer.Token(r.now, canonical, more))); d.Reason != reason.BindingMissing || d.Session.Confirm.X5T != spelled[:42]+"0" {
		t.Errorf("without stray bits: %v, %+v", d.Reason, d.Session.Confirm)
	}
}

// merged adds members to a JSON object.
func merged(t *testing.T, doc []byte, more string) []byte {
	t.Helper()
	all := map[string]json.RawMessage{}
	for _, one := range [][]byte{doc, []byte(more)} {
		if err := json.Unmarshal(one, &all); err != nil {
			t.Fatal(err)
		}
	}
	out, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
